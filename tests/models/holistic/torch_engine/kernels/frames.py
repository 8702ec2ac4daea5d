"""Frames for tests of kernels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames

# Bytes beyond the last frame, as a buffer of fixed capacity has them.
UNUSED = 1000


def random_frames(random: np.random.Generator, sizes: Sequence[tuple[int, int]]) -> list[NDArray[np.uint8]]:
    """Return RGB frames of these heights and widths."""
    return [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def on_device(frames: Sequence[NDArray[np.uint8]], device_name: str) -> DeviceFrames:
    """Return frames as kernels take them."""
    heights, widths = np.array([frame.shape[:2] for frame in frames], dtype=np.int64).T
    starts = np.cumsum(heights * widths) - heights * widths
    pixels = np.concatenate([*(frame.reshape(-1) for frame in frames), np.full(UNUSED, 77, np.uint8)])
    table = np.stack([starts, widths, heights])
    return DeviceFrames(torch.from_numpy(pixels).to(device_name), torch.from_numpy(table).to(device_name))
