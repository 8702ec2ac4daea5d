"""Poses with Ultralytics' own predictor, a frame at a time; and the export of its network to ONNX.

`models_parity` and `zoo` run this file with the Python of an environment of its own: Ultralytics is under the AGPL, and
nothing of it comes near phoenix_ray.

    python ultralytics_practice.py REQUEST RESULT

REQUEST is a JSON file: `network` (path of a .pt or .onnx file), `export` (path of the .onnx file to write, or empty),
`frames` (an .npz file of RGB frames, by number) or `pictures` (paths), `workers` (processes), `threads` (of each
process; 0 for what torch takes). RESULT is a JSON file; `points` (frames, 17, 2), `scores` and `person` are in
RESULT.npz.
"""

import importlib.metadata
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import types
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

POINTS = 17

# The model of this process. A pool has no other way to give its tasks what a process was prepared with.
_model: Any = None


def import_ultralytics() -> Any:
    """Return Ultralytics' class; where torchvision does not fit torch, its suppression is Ultralytics' own in torch."""
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ.setdefault("YOLO_CONFIG_DIR", tempfile.mkdtemp(prefix="ultralytics-"))
    try:
        import torchvision
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        from ultralytics.utils.nms import TorchNMS

        torchvision = types.ModuleType("torchvision")
        vars(torchvision)["ops"] = types.SimpleNamespace(nms=TorchNMS.nms)
        sys.modules["torchvision"] = torchvision
    from ultralytics import YOLO

    return YOLO


def export(network: str, target: str) -> None:
    """Write a network as ONNX: any batch, any size."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = shutil.copy(network, scratch)
        exported = import_ultralytics()(copy).export(format="onnx", dynamic=True, opset=17, simplify=False)
        shutil.copy(exported, target)


def prepare(network: str, threads: int, everybody_ready: Any) -> None:
    """Load the model, run it once, and wait for the other processes, so that no start-up is measured."""
    import torch

    global _model
    if threads:
        torch.set_num_threads(threads)
    _model = import_ultralytics()(network)
    find_pose(np.zeros((260, 210, 3), np.uint8))
    everybody_ready.wait()


def measure(frames: str, pictures: list[str]) -> dict[str, Any]:
    """Return the poses of an archive's frames, or of pictures if it has no name, and when it began and ended."""
    import cv2

    began = time.monotonic()
    if frames:
        with np.load(frames) as archive:
            found = [find_pose(np.ascontiguousarray(archive[name][:, :, ::-1])) for name in pictures]
    else:
        found = [find_pose(cv2.imread(path)) for path in pictures]
    return {"found": found, "began": began, "ended": time.monotonic()}


def find_pose(picture: Any) -> Any:
    """Return x, y, score of each point of the first person, (17, 3), and the person's score; None for nobody."""
    result = _model.predict(picture, verbose=False, device="cpu")[0]
    if not len(result.boxes):
        return None
    return result.keypoints.data[0].numpy(), float(result.boxes.conf[0])


def main(request_file: str, result_file: str) -> None:
    """Run the request and write its result."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    if request["export"]:
        export(request["network"], request["export"])
    workers, frames, pictures = request["workers"], request.get("frames", ""), request.get("pictures", [])
    if frames:
        with np.load(frames) as archive:
            pictures = list(archive.files)
    # A fork of a process in which torch has exported a network waits for ever for threads that it does not have.
    context = multiprocessing.get_context("spawn")
    everybody_ready = context.Barrier(workers)
    cuts = [len(pictures) * worker // workers for worker in range(workers + 1)]
    shares = [pictures[first:last] for first, last in zip(cuts, cuts[1:])]  # noqa: B905, RUF007 - any Python will do
    prepared = (request["network"], request["threads"], everybody_ready)
    with ProcessPoolExecutor(workers, context, prepare, prepared) as pool:
        answers = list(pool.map(measure, [frames] * workers, shares))
    found = [pose for answer in answers for pose in answer["found"]]
    points = np.full((len(found), POINTS, 3), np.nan, np.float32)
    person = np.full(len(found), np.nan, np.float32)
    for row, pose in enumerate(found):
        if pose is not None:
            points[row], person[row] = pose
    np.savez(result_file + ".npz", points=points[:, :, :2], scores=points[:, :, 2], person=person)
    seconds = max(answer["ended"] for answer in answers) - min(answer["began"] for answer in answers)
    packages = ("ultralytics", "torch", "numpy", "opencv-python-headless")
    versions = {name: importlib.metadata.version(name) for name in packages}
    result = {"frames": len(found), "steady_seconds": seconds, "versions": versions}
    Path(result_file).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
