"""SimCC: each coordinate is a classification over the bins of an axis (RTMPose, RTMW, DWPose)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.onnx.decoders.points import DecodedPoints
from phoenix_ray.models.onnx.manifest import SimccDecoder


def decode_simcc(x: NDArray[np.float32], y: NDArray[np.float32], decoder: SimccDecoder) -> DecodedPoints:
    """Return the place of the highest bin on each axis; NaN where its score is not above 0, as MMPose drops it.

    Args:
        x: float32 (N, points, width * split_ratio).
        y: float32 (N, points, height * split_ratio).
        decoder: Split ratio and rule of the score.
    """
    best = np.stack([x.max(axis=2), y.max(axis=2)])
    scores = best.min(axis=0) if decoder.score == "min" else best.mean(axis=0, dtype=np.float32)
    xy = np.stack([x.argmax(axis=2), y.argmax(axis=2)], axis=2) / np.float32(decoder.split_ratio)
    xy = np.where((scores > 0)[:, :, np.newaxis], xy, np.nan)
    return DecodedPoints(xy.astype(np.float32), scores.astype(np.float32))
