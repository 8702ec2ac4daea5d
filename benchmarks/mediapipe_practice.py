"""Landmarks with MediaPipe 0.10.21 as people commonly do it today: a pool of processes, each with its own Holistic.

`contestants` runs this file with the Python of an environment of its own, so it imports only mediapipe, OpenCV and
numpy.

    python mediapipe_practice.py REQUEST RESULT

REQUEST is a JSON file: `tasks` (lists of pictures' paths; a process takes one after the other), `workers`, `options` of
Holistic, `reset` ("never", before each "task" or each "picture"), and optionally `heavy`, the path of the network that
`model_complexity=2` needs. The landmarks are written to RESULT.pickle, the measurements to RESULT.
"""

import importlib.metadata
import itertools
import json
import multiprocessing
import pickle
import platform
import resource
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

# Attribute of Holistic's result → number of points.
PARTS = {
    "pose_landmarks": 33,
    "left_hand_landmarks": 21,
    "right_hand_landmarks": 21,
    "face_landmarks": 468,
}
PACKAGES = ("mediapipe", "numpy", "opencv-contrib-python", "opencv-python", "opencv-python-headless")

# The model of this process. A pool has no other way to give its tasks what a process was prepared with.
_holistic: Any = None


def prepare(options: dict[str, Any], warm_up: str, everybody_ready: Any) -> None:
    """Load the model, run it once, and wait for the other processes, so that no start-up is measured."""
    import mediapipe

    global _holistic
    _holistic = mediapipe.solutions.holistic.Holistic(**options)
    find_landmarks([warm_up])
    everybody_ready.wait()


def measure(pictures: list[str], reset: str) -> dict[str, Any]:
    """Return the landmarks of a task's pictures, when it began and ended, and the process's peak memory."""
    began = time.monotonic()
    if reset == "task":
        _holistic.reset()
    found = find_landmarks(pictures, stateless=reset == "picture")
    ended = time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    in_mb = peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
    return {"found": found, "began": began, "ended": ended, "peak_memory_mb": in_mb}


def find_landmarks(pictures: list[str], stateless: bool = False) -> list[dict[str, Any]]:
    """Return for each picture: part → float32 (points, 3), None if the part was not found."""
    import cv2

    rows = []
    for path in pictures:
        if stateless:
            _holistic.reset()
        picture = cv2.imread(path)
        if picture is None:
            raise ValueError(f"OpenCV cannot read {path}")
        result = _holistic.process(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        rows.append({part: to_array(getattr(result, part), points) for part, points in PARTS.items()})
    return rows


def to_array(landmarks: Any, points: int) -> Any:
    """Return MediaPipe's list of landmarks as float32 (points, 3), None for None."""
    import numpy as np

    if landmarks is None:
        return None
    values = ((point.x, point.y, point.z) for point in landmarks.landmark)
    return np.fromiter(values, dtype=np.dtype((np.float32, 3)), count=points)


def share_out(pictures: list[str], workers: int) -> list[list[str]]:
    """Return consecutive pictures for each process, in shares whose sizes differ by at most one."""
    cuts = [len(pictures) * worker // workers for worker in range(workers + 1)]
    return [pictures[first:last] for first, last in itertools.pairwise(cuts)]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute."""
    packages = importlib.metadata.distributions()
    installed = {package.metadata["Name"]: package.version for package in packages}
    return {"python": platform.python_version(), **{name: installed[name] for name in PACKAGES if name in installed}}


def place_heavy_network(file: Path) -> None:
    """Copy the heavy pose network to where MediaPipe looks for it; its wheel lacks it, and it would be downloaded."""
    import mediapipe

    place = Path(mediapipe.__file__).parent / "modules" / "pose_landmark" / "pose_landmark_heavy.tflite"
    if not place.exists():
        shutil.copy(file, place)


def main(request_file: str, result_file: str) -> None:
    """Run the request and write its result."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    tasks, options = request["tasks"], request["options"]
    if "heavy" in request:
        place_heavy_network(Path(request["heavy"]))
    workers = min(request["workers"], len(tasks))
    everybody_ready = multiprocessing.Barrier(workers)
    # Unlike multiprocessing.Pool, it ends with an error if a process cannot be prepared.
    with ProcessPoolExecutor(workers, None, prepare, (options, tasks[0][0], everybody_ready)) as pool:
        answers = list(pool.map(measure, tasks, [request["reset"]] * len(tasks)))
    found = [row for answer in answers for row in answer["found"]]
    with Path(result_file + ".pickle").open("wb") as file:
        pickle.dump(found, file)
    result = {
        "frames": len(found),
        "steady_seconds": max(answer["ended"] for answer in answers) - min(answer["began"] for answer in answers),
        "peak_memory_mb": max(answer["peak_memory_mb"] for answer in answers),
        "found": {part: sum(row[part] is not None for row in found) for part in PARTS},
        "versions": versions(),
    }
    Path(result_file).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
