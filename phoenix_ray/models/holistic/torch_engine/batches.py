"""Batches under way: staged, copied, computed and brought back, with the next one begun before the last is over.

While a device computes a batch, the host stages the next and the device copies its frames in another queue. Two places
for batches are enough for that: whatever a batch waits for on the way lies in its place, and only what is computed
between lies in memory that all batches share.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from phoenix_ray.models.holistic.torch_engine.pipelines import BatchPipeline
from phoenix_ray.models.holistic.torch_engine.programs import Programs
from phoenix_ray.models.holistic.torch_engine.queues import DeviceQueue, Mark
from phoenix_ray.models.holistic.torch_engine.uploading import (
    DeviceFrames,
    FrameUploader,
    PackedFrames,
    capacity_for,
    pack,
)

PLACES = 2


@dataclass(frozen=True, slots=True)
class BatchWork:
    """What a batch computes.

    Attributes:
        count: Frames on the device, those that fill it up included.
        together: Frames of a full batch, which its memory is made for.
        tracks: Whether states go in and come out.
        smooth: Whether to smooth the pose, in tracking mode.
        detect: Whether the detector has to run, in tracking mode.
    """

    count: int
    together: int
    tracks: bool = False
    smooth: bool = False
    detect: bool = True


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Tensors on a device that a batch is computed from.

    Attributes:
        pixels: uint8 (capacity,).
        table: int64 (3 * batch size,); of N frames the first 3 N numbers count, as (3, N).
        states: float32 (batch size, state_size).
    """

    pixels: torch.Tensor
    table: torch.Tensor
    states: torch.Tensor

    def frames(self, count: int, pixels: int | None = None) -> DeviceFrames:
        """Return the frames, with the first `pixels` bytes or the whole buffer."""
        return DeviceFrames(self.pixels[:pixels], self.table[: 3 * count].view(3, count))

    def take_over(self, other: _Inputs, count: int, pixels: int) -> None:
        """Copy a batch of so many frames and bytes from `other`."""
        self.pixels[:pixels].copy_(other.pixels[:pixels])
        self.table[: 3 * count].copy_(other.table[: 3 * count])
        self.states[:count].copy_(other.states[:count])


@dataclass(slots=True)
class _Place:
    """Where a batch lies on its way to the device and back.

    Attributes:
        table: int64 (3 * batch size,) on the host.
        states: float32 (batch size, state_size) on the host.
        rows: float32 (batch size, numbers of a row) on the host: the result.
        inputs: On the device; None before the first batch.
        done: Behind the batch in the device's queue; None while the place is free.
    """

    table: torch.Tensor
    states: torch.Tensor
    rows: torch.Tensor
    inputs: _Inputs | None = None
    done: Mark | None = None


@dataclass(slots=True)
class BegunBatch:
    """A batch that was given to the device.

    Attributes:
        events: What the run should record of its launch.
    """

    _place: _Place
    _count: int
    events: tuple[str, ...] = ()
    _is_over: bool = field(default=False)

    def rows(self) -> NDArray[np.float32]:
        """Wait for the device and return the rows, float32 (frames, numbers of a row). Call it once.

        Raises:
            RuntimeError: The device failed, or the batch is over.
        """
        if self._is_over:
            raise RuntimeError("the batch is over: its rows were taken, or it was abandoned")
        try:
            self._wait()
            rows: NDArray[np.float32] = self._place.rows[: self._count].numpy().copy()
            return rows
        finally:
            self._end()

    def abandon(self) -> None:
        """Make room for other batches: the rows are not wanted. Harmless once they were taken."""
        if not self._is_over:
            try:
                with suppress(RuntimeError):
                    self._wait()
            finally:
                self._end()

    def _wait(self) -> None:
        if self._place.done is not None:
            self._place.done.synchronize()

    def _end(self) -> None:
        self._is_over = True
        self._place.done = None


class Batches:
    """Takes batches of a model to its device.

    Args:
        pipeline: Computes them.
        queue: The device's queue.
        device: Where the pipeline takes frames and leaves rows.
        batch_size: Frames of the largest batch.
        columns: Numbers of a row of landmarks.
        state_size: Numbers of a state; 0 without tracking.
        captures: Whether to capture batches as programs.
    """

    def __init__(
        self,
        pipeline: BatchPipeline,
        queue: DeviceQueue,
        device: torch.device,
        *,
        batch_size: int,
        columns: int,
        state_size: int = 0,
        captures: bool = False,
    ) -> None:
        self._pipeline = pipeline
        self._queue = queue
        self._device = device
        self._batch_size = batch_size
        self._numbers = columns + state_size
        self._state_size = state_size
        self._programs = Programs(queue) if captures else None
        self._uploader = FrameUploader(queue)
        self._places: list[_Place] = []
        self._capacity = 0
        self._fixed: _Inputs | None = None
        self._results: torch.Tensor | None = None

    def begin(
        self, images: Sequence[NDArray[np.uint8]], work: BatchWork, states: NDArray[np.float32] | None = None
    ) -> BegunBatch:
        """Give a batch to the device, and return without waiting for it.

        Args:
            images: RGB, each uint8 (height, width, 3), at least one and at most `work.count`.
            work: What to compute.
            states: float32 (N, state_size), if the work tracks.

        Raises:
            RuntimeError: The device failed, or two batches are under way already.
        """
        packed = pack(images, work.count)
        place = self._free_place()
        try:
            self._reserve(place, capacity_for(packed.images, work.together))
            self._upload(place, packed, states)
            rows = self._compute(place, packed.bytes, work)
            place.rows[: len(images)].copy_(rows[: len(images)], non_blocking=True)
            place.done = self._queue.mark()
        except BaseException:
            # Copies from and to the place may be under way.
            with suppress(RuntimeError):
                self._queue.wait()
            place.done = None
            raise
        return BegunBatch(place, len(images), self._programs.take_events() if self._programs else ())

    def release(self) -> None:
        """Give all memory back that is only kept for later batches. Batches under way are computed before."""
        with suppress(RuntimeError):
            self._queue.wait()
        if self._programs:
            self._programs.forget()
        self._fixed = self._results = None
        for place in self._places:
            place.inputs = None
        self._capacity = 0
        self._uploader.close()
        self._queue.give_memory_back()

    def close(self) -> None:
        """Free everything, the pipeline included. Batches under way are computed before; their rows can be taken."""
        with suppress(RuntimeError):
            self._queue.wait()
        del self._pipeline
        self._places.clear()
        self.release()

    def _free_place(self) -> _Place:
        for place in self._places:
            if place.done is None:
                return place
        if len(self._places) == PLACES:
            raise RuntimeError(f"{PLACES} batches are under way: take the rows of one, or abandon it, before the next")
        host = self._queue.host_memory
        place = _Place(
            host(3 * self._batch_size, dtype=torch.int64),
            host(self._batch_size, self._state_size, dtype=torch.float32),
            host(self._batch_size, self._numbers, dtype=torch.float32),
        )
        self._places.append(place)
        return place

    def _reserve(self, place: _Place, capacity: int) -> None:
        """Make sure that a place, and what programs read from, hold so many bytes of pixels."""
        if capacity > self._capacity:
            self._queue.wait()
            if self._programs:
                self._programs.forget()
            self._fixed = None
            self._capacity = capacity
        if place.inputs is None or len(place.inputs.pixels) < self._capacity:
            place.inputs = None
            place.inputs = self._make_inputs()
            # Both queues use it, and it may be memory that work in one of them still reads.
            self._queue.wait()

    def _make_inputs(self) -> _Inputs:
        return _Inputs(
            torch.empty(self._capacity, dtype=torch.uint8, device=self._device),
            torch.empty(3 * self._batch_size, dtype=torch.int64, device=self._device),
            torch.empty((self._batch_size, self._state_size), dtype=torch.float32, device=self._device),
        )

    def _upload(self, place: _Place, packed: PackedFrames, states: NDArray[np.float32] | None) -> None:
        inputs = place.inputs
        assert inputs is not None
        numbers = packed.table.size
        place.table.numpy()[:numbers] = packed.table.reshape(-1)
        with self._queue.copying():
            self._uploader.copy(packed.images, inputs.pixels)
            inputs.table[:numbers].copy_(place.table[:numbers], non_blocking=True)
            if states is not None:
                place.states.numpy()[: len(states)] = states
                place.states.numpy()[len(states) :] = np.nan
                inputs.states.copy_(place.states, non_blocking=True)

    def _compute(self, place: _Place, pixels: int, work: BatchWork) -> torch.Tensor:
        """Launch the work and return its rows on the device, float32 (count, numbers)."""
        inputs = place.inputs
        assert inputs is not None
        if self._programs is None or not self._programs.are_captured:
            return self._launch(inputs, work, pixels)
        if self._fixed is None:
            self._fixed = self._make_inputs()
            self._results = torch.empty((self._batch_size, self._numbers), dtype=torch.float32, device=self._device)
        fixed, results = self._fixed, self._results
        assert results is not None
        fixed.take_over(inputs, work.count, pixels)
        self._programs.run((work.count, work.detect), lambda: self._write(fixed, work, results))
        return results[: work.count]

    def _write(self, inputs: _Inputs, work: BatchWork, results: torch.Tensor) -> None:
        results[: work.count].copy_(self._launch(inputs, work))

    def _launch(self, inputs: _Inputs, work: BatchWork, pixels: int | None = None) -> torch.Tensor:
        frames = inputs.frames(work.count, pixels)
        if not work.tracks:
            return self._pipeline.estimate(frames)
        states = inputs.states[: work.count]
        return self._pipeline.track(frames, states, smooth=work.smooth, detect=work.detect)
