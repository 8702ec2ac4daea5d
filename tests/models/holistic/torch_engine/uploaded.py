"""Frames where torch can crop them, without an engine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from phoenix_ray.models.holistic.torch_engine.crops import DeviceCropper
from phoenix_ray.models.holistic.torch_engine.queues import HostQueue
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames, FrameUploader, pack


def upload_frames(images: Sequence[NDArray[np.uint8]], count: int | None = None) -> DeviceFrames:
    """Return images on the CPU, the last again until there are `count`."""
    packed = pack(images, count or len(images))
    pixels = torch.empty(packed.bytes, dtype=torch.uint8)
    FrameUploader(HostQueue()).copy(packed.images, pixels)
    return DeviceFrames(pixels, torch.from_numpy(packed.table))


def cropper_of(images: Sequence[NDArray[np.uint8]], count: int | None = None) -> DeviceCropper:
    """Return what crops them."""
    frames = upload_frames(images, count)
    return DeviceCropper(frames.pixels.reshape(-1, 3), frames.table)
