"""Poses with rtmlib's RTMPose on whole pictures, as its users write it: a pool of processes, a picture at a time.

`zoo` runs this file with the Python of an environment of its own, so it imports nothing of phoenix_ray.

    python rtmlib_practice.py REQUEST RESULT

REQUEST is a JSON file: `network` (path of an .onnx file), `size` (width and height of its input), `pictures` (paths),
`workers` (processes), `threads` (of each process; 0 for what onnxruntime takes, as rtmlib lets it). RESULT is a JSON
file.
"""

import functools
import importlib.metadata
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

# The model of this process. A pool has no other way to give its tasks what a process was prepared with.
_model: Any = None


def prepare(network: str, size: tuple[int, int], threads: int, warm_up: str, everybody_ready: Any) -> None:
    """Load the model, run it once, and wait for the other processes, so that no start-up is measured."""
    import cv2
    import onnxruntime
    from rtmlib.tools.pose_estimation.rtmpose import RTMPose

    global _model
    if threads:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        onnxruntime.InferenceSession = functools.partial(onnxruntime.InferenceSession, sess_options=options)
        cv2.setNumThreads(threads)
    _model = RTMPose(network, model_input_size=tuple(size), backend="onnxruntime", device="cpu")
    find_poses([warm_up])
    everybody_ready.wait()


def measure(pictures: list[str]) -> dict[str, Any]:
    """Return how many poses were found, and when it began and ended."""
    began = time.monotonic()
    found = find_poses(pictures)
    return {"found": len(found), "began": began, "ended": time.monotonic()}


def find_poses(pictures: list[str]) -> list[Any]:
    """Return points and scores for each picture."""
    import cv2

    return [_model(cv2.imread(path)) for path in pictures]


def main(request_file: str, result_file: str) -> None:
    """Run the request and write its result."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    pictures, workers = request["pictures"], request["workers"]
    everybody_ready = multiprocessing.Barrier(workers)
    cuts = [len(pictures) * worker // workers for worker in range(workers + 1)]
    shares = [pictures[first:last] for first, last in zip(cuts, cuts[1:])]  # noqa: B905, RUF007 - any Python will do
    prepared = (request["network"], request["size"], request["threads"], pictures[0], everybody_ready)
    with ProcessPoolExecutor(workers, None, prepare, prepared) as pool:
        answers = list(pool.map(measure, shares))
    seconds = max(answer["ended"] for answer in answers) - min(answer["began"] for answer in answers)
    packages = ("rtmlib", "onnxruntime", "numpy", "opencv-python-headless")
    result = {
        "frames": sum(answer["found"] for answer in answers),
        "steady_seconds": seconds,
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }
    Path(result_file).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
