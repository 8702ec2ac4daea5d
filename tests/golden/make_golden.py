"""Record what MediaPipe 0.10.21 finds in the frames of `astronaut`, reset before each.

It writes `astronaut_holistic.npz`, and `astronaut_complexity.npz` for the lite and the heavy pose network. Run it in
the reference environment, from the root of the repository; it leaves the files as they are where nothing changed:

    make reference
    .venv-reference/bin/python -m tests.golden.make_golden
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import skimage.data
from numpy.typing import NDArray

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.mediapipe_reference import MediapipeHolistic
from tests.golden import GOLDEN, GOLDEN_COMPLEXITY, PARTS
from tests.golden.astronaut import VIEWS, render


def main() -> None:
    picture = skimage.data.astronaut()
    frames = [render(picture, view) for view in VIEWS]
    found = {face_points: estimate(frames, face_points=face_points) for face_points in (468, 478)}
    for part in PARTS:
        np.testing.assert_array_equal(found[468].points[part], found[478].points[part])
    arrays: dict[str, Any] = {
        "frame_crc32": np.array([zlib.crc32(frame.tobytes()) for frame in frames], np.uint32),
        **{part: found[468].points[part] for part in PARTS},
        **{f"face_{face_points}": batch.points["face"] for face_points, batch in found.items()},
    }
    np.savez_compressed(GOLDEN, **arrays)
    others = {complexity: estimate(frames, complexity=complexity) for complexity in (0, 2)}
    for complexity, batch in {1: found[468], **others}.items():
        # Pose in static mode gives Holistic's pose, so it needs no file of its own.
        for part, points in estimate(frames, name="blazepose", complexity=complexity).points.items():
            np.testing.assert_array_equal(points, batch.points[part])
    parts: dict[str, Any] = {
        f"{part}_{complexity}": points for complexity, batch in others.items() for part, points in batch.points.items()
    }
    np.savez_compressed(GOLDEN_COMPLEXITY, **parts)
    for part in (*PARTS, "face"):
        print(f"{part}: in {found[468].present(part).sum()} of {len(frames)} frames")
    for file in (GOLDEN, GOLDEN_COMPLEXITY):
        print(f"{file}: {file.stat().st_size} bytes")


def estimate(frames: list[NDArray[np.uint8]], **settings: Any) -> LandmarkBatch:
    model = MediapipeHolistic(ModelSettings(engine="mediapipe", **settings))
    batch = model.estimate(frames)
    model.close()
    return batch


if __name__ == "__main__":
    main()
