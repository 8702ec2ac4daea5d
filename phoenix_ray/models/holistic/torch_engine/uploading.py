"""Brings the frames of a batch to a device, through a little page-locked memory of fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from phoenix_ray.models.holistic.crop_transforms import within_limits
from phoenix_ray.models.holistic.torch_engine.queues import DeviceQueue, Mark

# Page-locked memory for pixels: two pieces, of which one is filled while the other is copied to the device. Copies of
# some megabytes reach the full speed of a bus; and a worker's page-locked memory does not grow with its frames.
PIECE_BYTES, PIECES = 16 << 20, 2
# The least bytes of a buffer for pixels, and into how many steps its growth by a factor of two is divided.
LEAST_CAPACITY, STEPS_PER_DOUBLING = 1 << 20, 4


class DeviceFrames(NamedTuple):
    """N frames on a device.

    Attributes:
        pixels: uint8 (capacity,): RGB, frame after frame, row after row; what follows the last frame is not read.
        table: int64 (3, N): first pixel (three bytes each), width and height of each frame.
    """

    pixels: torch.Tensor
    table: torch.Tensor


class PackedFrames(NamedTuple):
    """Frames of a batch as they will lie on the device.

    Attributes:
        images: RGB, each uint8 (height, width, 3).
        table: int64 (3, N), that of `DeviceFrames`; the last image fills up the rest of a padded batch.
        bytes: Bytes of all images.
    """

    images: list[NDArray[np.uint8]]
    table: NDArray[np.int64]
    bytes: int


def pack(images: Sequence[NDArray[np.uint8]], count: int) -> PackedFrames:
    """Return where each image will lie.

    Args:
        images: RGB, each uint8 (height, width, 3), at least one; sizes may differ.
        count: Frames of the batch, at least as many as images.
    """
    kept = [within_limits(image) for image in images]
    shapes = np.array([image.shape[:2] for image in kept], dtype=np.int64)
    pixels = shapes.prod(axis=1)
    ends = np.cumsum(pixels)
    table = np.stack([ends - pixels, shapes[:, 1], shapes[:, 0]])
    return PackedFrames(kept, np.pad(table, ((0, 0), (0, count - len(kept))), mode="edge"), 3 * int(ends[-1]))


def capacity_for(images: Sequence[NDArray[np.uint8]], together: int) -> int:
    """Return the bytes of a buffer that holds a full batch of frames as large as the largest of these.

    A captured program reads from a buffer that never moves, so a larger batch needs another program. Capacities are for
    full batches, and go in steps of a quarter of a power of two: videos of one frame size keep one buffer from the
    first batch on, and it is at most a quarter larger than they need.
    """
    needed = max(LEAST_CAPACITY, together * max(image.nbytes for image in images))
    step = (1 << needed.bit_length() - 1) // STEPS_PER_DOUBLING
    return -(-needed // step) * step


class FrameUploader:
    """Copies pixels into a buffer on a device. It waits only for its own earlier copies, not for what is computed.

    Args:
        queue: The device's queue.
    """

    def __init__(self, queue: DeviceQueue) -> None:
        self._queue = queue
        self._pieces: list[torch.Tensor] = []
        self._copied: list[Mark | None] = [None] * PIECES
        self._next = 0

    def copy(self, images: Sequence[NDArray[np.uint8]], target: torch.Tensor) -> None:
        """Copy images into `target`, uint8 (capacity,) on the device, one after the other.

        Call it within `queue.copying()`. When it returns, the images may change.
        """
        if not self._queue.is_asynchronous:
            _fill(target.numpy(), images)
            return
        if not self._pieces:
            self._pieces = [self._queue.host_memory(PIECE_BYTES, dtype=torch.uint8) for _ in range(PIECES)]
        at, filled = 0, 0
        for image in images:
            rest = np.ascontiguousarray(image).reshape(-1)
            while len(rest):
                if filled == 0:
                    self._wait_for_piece()
                some = rest[: PIECE_BYTES - filled]
                self._pieces[self._next].numpy()[filled : filled + len(some)] = some
                filled += len(some)
                rest = rest[len(some) :]
                if filled == PIECE_BYTES:
                    at, filled = self._send(target, at, filled), 0
        if filled:
            self._send(target, at, filled)

    def close(self) -> None:
        """Let go of the page-locked memory, once everything is copied."""
        self._pieces.clear()
        self._copied = [None] * PIECES

    def _wait_for_piece(self) -> None:
        if copied := self._copied[self._next]:
            copied.synchronize()
            self._copied[self._next] = None

    def _send(self, target: torch.Tensor, at: int, count: int) -> int:
        """Copy the piece's first bytes to `target` from byte `at` on; return where the next piece belongs."""
        target[at : at + count].copy_(self._pieces[self._next][:count], non_blocking=True)
        self._copied[self._next] = self._queue.mark()
        self._next = (self._next + 1) % PIECES
        return at + count


def _fill(memory: NDArray[np.uint8], images: Sequence[NDArray[np.uint8]]) -> None:
    at = 0
    for image in images:
        memory[at : at + image.size] = image.reshape(-1)
        at += image.size
