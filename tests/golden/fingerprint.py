"""Fingerprints of the golden frames' landmarks: the same on every x86-64 processor.

    python -m tests.golden.fingerprint ENGINE 468|478|lite|heavy|pose [all|few]

prints the fingerprint of an engine's landmarks and scores. `tests/models/test_portability.py` runs it in processes
whose libraries have AVX-512 disabled, `make portability` on an emulated processor.
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np
import skimage.data

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import LandmarkBatch
from tests.golden.astronaut import LEFT_HAND, NOBODY, PAN, RIGHT_HAND, VIEWS, render

# All golden frames, and few enough for an emulated processor: pose and face, each hand, nobody.
FRAMES = {"all": VIEWS, "few": (PAN[0], LEFT_HAND[0], RIGHT_HAND[0], NOBODY[0])}
# What runs: Holistic by face points, with the lite or the heavy pose network; Pose alone.
VARIANTS: dict[str, dict[str, object]] = {
    "468": {"face_points": 468},
    "478": {"face_points": 478},
    "lite": {"complexity": 0},
    "heavy": {"complexity": 2},
    "pose": {"name": "blazepose"},
}
# Frames and variant → fingerprint; `test_golden_parity` shows that the landmarks behind it are MediaPipe's.
EXPECTED = {
    ("all", "468"): "f1e8b94975d1bb98502807f82c3d46d7",
    ("all", "478"): "78ac69c24cb59e1ff876341bfb0c991c",
    ("all", "lite"): "73daab7cc47ca52aa7ccbcd5764492d4",
    ("all", "heavy"): "2accd85f5cc9135059e18993415966d9",
    ("all", "pose"): "f6eaf49de15029a5f2d5d8a40cd6868a",
    ("few", "468"): "2615fea51a4d4b30b583b4894e144043",
    ("few", "478"): "15f0162df9e07e387e444c569081c6b9",
}


def fingerprint(batch: LandmarkBatch) -> str:
    """Return 32 hexadecimal digits that change with any bit of a landmark or score."""
    digest = hashlib.blake2b(digest_size=16)
    for name, values in (*sorted(batch.points.items()), *sorted(batch.scores.items())):
        digest.update(f"{name} {values.shape}".encode())
        # Processors disagree on the sign of NaN, which says nothing.
        digest.update(np.where(np.isnan(values), np.float32(np.nan), values).astype("<f4").tobytes())
    return digest.hexdigest()


def estimate(engine: str, variant: str, frames: str = "all") -> LandmarkBatch:
    """Return what an engine finds on the CPU in the golden frames."""
    picture = skimage.data.astronaut()
    model = registry.create(ModelSettings.model_validate({"engine": engine, "device": "cpu", **VARIANTS[variant]}))
    batch = model.estimate([render(picture, view) for view in FRAMES[frames]])
    model.close()
    return batch


if __name__ == "__main__":
    print(fingerprint(estimate(*sys.argv[1:])))
