"""Record what MediaPipe 0.10.21 finds in the frames of `astronaut`, reset before each: `astronaut_holistic.npz`.

Run it in the reference environment, from the root of the repository; it leaves the file as it is where nothing changed:

    make reference
    .venv-reference/bin/python -m tests.golden.make_golden
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import skimage.data

from phoenix_ray.config import ModelSettings
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.mediapipe_reference import MediapipeHolistic
from tests.golden import GOLDEN, PARTS
from tests.golden.astronaut import VIEWS, render


def main() -> None:
    picture = skimage.data.astronaut()
    frames = [render(picture, view) for view in VIEWS]
    found: dict[int, LandmarkBatch] = {}
    for face_points in (468, 478):
        model = MediapipeHolistic(ModelSettings(engine="mediapipe", face_points=face_points))
        found[face_points] = model.estimate(frames)
        model.close()
    for part in PARTS:
        np.testing.assert_array_equal(found[468].points[part], found[478].points[part])
    arrays: dict[str, Any] = {
        "frame_crc32": np.array([zlib.crc32(frame.tobytes()) for frame in frames], np.uint32),
        **{part: found[468].points[part] for part in PARTS},
        **{f"face_{face_points}": batch.points["face"] for face_points, batch in found.items()},
    }
    np.savez_compressed(GOLDEN, **arrays)
    for part in (*PARTS, "face"):
        print(f"{part}: in {found[468].present(part).sum()} of {len(frames)} frames")
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes")


if __name__ == "__main__":
    main()
