"""Landmarks with Ray Data as its documentation shows batch inference: an actor pool around MediaPipe, then Parquet.

`contestants` runs this file with the Python of an environment of its own, so it imports nothing of ours.

    python ray_data_practice.py REQUEST RESULT

REQUEST is a JSON file: `pictures` (paths), `workers`, `output` (folder for Parquet). The measurements are
written to RESULT.
"""

import importlib.metadata
import json
import logging
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

# Attribute of Holistic's result → number of points.
PARTS = {"pose_landmarks": 33, "left_hand_landmarks": 21, "right_hand_landmarks": 21, "face_landmarks": 468}
PACKAGES = ("mediapipe", "numpy", "opencv-contrib-python", "pyarrow", "ray")
BATCH_SIZE = 16


class Landmarker:
    """An actor that holds a Holistic in static image mode."""

    def __init__(self) -> None:
        import mediapipe

        self._holistic = mediapipe.solutions.holistic.Holistic(static_image_mode=True, model_complexity=1)
        self._holistic.process(np.zeros((64, 64, 3), np.uint8))
        self._ready = time.time()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Add the landmarks of each picture, NaN where a part was not found."""
        import cv2

        columns: dict[str, list[Any]] = {part: [] for part in PARTS}
        for path in batch["path"]:
            picture = cv2.imread(path)
            if picture is None:
                raise ValueError(f"OpenCV cannot read {path}")
            result = self._holistic.process(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
            for part, points in PARTS.items():
                found = getattr(result, part)
                values = np.full(points * 3, np.nan, np.float32)
                if found is not None:
                    values[:] = [value for point in found.landmark for value in (point.x, point.y, point.z)]
                columns[part].append(values)
        ready = np.full(len(batch["path"]), self._ready)
        return {**batch, **{part: np.stack(rows) for part, rows in columns.items()}, "ready": ready}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute."""
    installed = {package.metadata["Name"]: package.version for package in importlib.metadata.distributions()}
    return {"python": platform.python_version(), **{name: installed[name] for name in PACKAGES if name in installed}}


def main(request_file: str, result_file: str) -> None:
    """Run the request and write its result."""
    import ray

    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    workers, output = request["workers"], request["output"]
    # One CPU more than there are actors, for Ray Data's own reading and writing tasks.
    ray.init(address="local", num_cpus=workers + 1, include_dashboard=False, logging_level=logging.ERROR)
    rows = [{"path": path, "index": index} for index, path in enumerate(request["pictures"])]
    blocks = max(2 * workers, len(rows) // (4 * BATCH_SIZE))
    dataset = ray.data.from_items(rows, override_num_blocks=blocks)
    dataset = dataset.map_batches(Landmarker, batch_size=BATCH_SIZE, concurrency=workers, num_cpus=1)
    dataset.write_parquet(output)
    ended = time.time()
    written = ray.data.read_parquet(output, columns=["index", "ready"]).to_pandas()
    result = {
        "frames": len(written),
        "steady_seconds": ended - written["ready"].min(),
        "versions": versions(),
    }
    Path(result_file).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
