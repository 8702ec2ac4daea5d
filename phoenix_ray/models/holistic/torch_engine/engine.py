"""The engine for GPUs: Holistic's networks and crops on a device, all frames of a batch at once.

A batch's frames go to the device in one copy and its landmarks come back in another; nothing is read back in between,
so the device never waits for Python, and Python begins the next batch meanwhile. Networks see the same number of crops
whatever is found, and batches come in a few sizes: a frame's landmarks do not depend on what its neighbours show, and
each size is captured and tuned once.

It runs on any device that torch supports. On a CPU `litert_engine` is faster; there, this engine is for tests.
docs/engines.md has what a precision costs in pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch, PendingBatch
from phoenix_ray.models.holistic.batching import batch_size, padded_count
from phoenix_ray.models.holistic.kernel_choice import kernels_of
from phoenix_ray.models.holistic.networks import face_points_of, layout_of
from phoenix_ray.models.holistic.torch_engine.batches import Batches, BatchWork, BegunBatch
from phoenix_ray.models.holistic.torch_engine.device import (
    choose_device,
    device_errors,
    is_out_of_memory,
    limit_memory,
    misleading_environment,
    numerics,
)
from phoenix_ray.models.holistic.torch_engine.pipelines import make_pipeline
from phoenix_ray.models.holistic.torch_engine.queues import CudaQueue, HostQueue
from phoenix_ray.models.holistic.torch_engine.rows import RowColumns
from phoenix_ray.models.holistic.tracking import Memory

# How the events begin that say that a batch did not fit into memory.
OUT_OF_MEMORY = "out of memory"

_log = logging.getLogger(__name__)


class HolisticTorch:
    """MediaPipe Holistic, or Pose alone, in torch; a `PoseModel` that takes a batch before the last is over.

    Args:
        settings: All of `ModelSettings` but `engine` is used.
        weights: Folder of the `.tflite` files that `networks` names.

    Raises:
        ModelError: A file of weights is missing or damaged, this machine lacks the device or its kernels, the device
            cannot compute what the settings ask for, or the environment would make it compute something else.
    """

    def __init__(self, settings: ModelSettings, weights: Path) -> None:
        device = choose_device(settings.device)
        if device.type == "mps" and face_points_of(settings) == 478:
            raise ModelError(
                "model.device=mps has no double precision, which model.face_points=478 needs between its layers. Use "
                "model.face_points=468, or model.device=cpu."
            )
        torch.set_num_threads(settings.threads)
        limit_memory(device, settings.memory_fraction)
        self.layout = layout_of(settings)
        self.batch_size = batch_size(settings)
        self._columns = RowColumns.of(self.layout)
        self._precision = settings.precision
        self._notices = misleading_environment(settings.precision) if device.type == "cuda" else ()
        # Apple's GPUs lack the double precision that crops and geometry need, so only the networks run there.
        data_device = torch.device("cpu") if device.type == "mps" else device
        self._batches = Batches(
            make_pipeline(settings, weights, device, data_device),
            CudaQueue(device) if device.type == "cuda" else HostQueue(),
            data_device,
            batch_size=self.batch_size,
            columns=self._columns.count,
            state_size=self._numbers_of_state(settings),
            captures=device.type == "cuda" and kernels_of(settings, device.type) == "triton",
        )

    @staticmethod
    def _numbers_of_state(settings: ModelSettings) -> int:  # noqa: ARG004 - for the tracking model
        return 0

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        """Return the landmarks of RGB images, each uint8 (height, width, 3); sizes may differ.

        Where memory is too small, the frames go through in halves, quarters and so on, and the result's `events` say
        so.

        Raises:
            torch.OutOfMemoryError: Memory is too small for a single frame.
            DeviceLostError: This process cannot use its GPU any more.
        """
        with self._computing():
            return self._in_parts(images, self.batch_size, [])

    def begin(self, images: Sequence[NDArray[np.uint8]]) -> PendingBatch:
        """Give a batch of at most `batch_size` images to the device, and return before it is computed.

        Two batches can be under way at a time. Other arguments and errors are those of `estimate`; a batch for which
        memory is too small is computed here, in parts.
        """
        with self._computing():
            begun = self._begin_if_it_fits(images, self.batch_size) if images else None
            if begun is not None:
                return _Pending(begun, self._columns, self._take_notices(begun.events))
            together, events = self.batch_size, list[str]()
            if images:
                together = len(images) // 2
                events.append(_halved(len(images), together))
            return _Finished(self._in_parts(images, together, events))

    def close(self) -> None:
        """Free the networks, and the memory that torch keeps on the device and for copies to it."""
        self._batches.close()

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with device_errors(), torch.inference_mode(), numerics(self._precision):
            yield

    def _in_parts(self, images: Sequence[NDArray[np.uint8]], together: int, events: list[str]) -> LandmarkBatch:
        """Return the landmarks of images, `together` at a time or fewer, with `events` and those that come up."""
        table = np.empty((len(images), self._columns.count), dtype=np.float32)
        first = 0
        while first < len(images):
            some = images[first : first + together]
            begun = self._begin_if_it_fits(some, together)
            if begun is None:
                together = len(some) // 2
                events.append(_halved(len(some), together))
                continue
            events += begun.events
            table[first : first + len(some)] = begun.rows()
            first += len(some)
        return self._columns.split(table, self._take_notices(tuple(events)))

    def _begin_if_it_fits(self, images: Sequence[NDArray[np.uint8]], together: int) -> BegunBatch | None:
        """Give a batch to the device; return None where memory is too small for so many.

        Args:
            images: Up to `together` images.
            together: Frames of a full batch; smaller batches are padded to fractions of it.
        """
        try:
            return self._batches.begin(images, BatchWork(padded_count(len(images), together), together))
        except (MemoryError, RuntimeError) as error:
            if len(images) == 1 or not is_out_of_memory(error):
                raise
        # Memory can be given back only here, after the exception and the tensors of its traceback are gone.
        self._batches.release()
        return None

    def _take_notices(self, events: tuple[str, ...]) -> tuple[str, ...]:
        """Return events, the first time with what is to be reported of the environment."""
        notices, self._notices = self._notices, ()
        return (*notices, *events)


class HolisticTorchTracking(HolisticTorch):
    """MediaPipe Holistic in tracking mode in torch; a `TrackingModel`.

    Every batch is padded to `batch_size` videos: on a GPU, a video's landmarks must not depend on how many others are
    tracked beside it.

    Args:
        settings: All of `ModelSettings` but `name` and `engine` is used.
        weights: Folder of the `.tflite` files.

    Raises:
        ModelError: What `HolisticTorch` raises.
    """

    def __init__(self, settings: ModelSettings, weights: Path) -> None:
        super().__init__(settings, weights)
        self._face_points = face_points_of(settings)
        self.state_size = self._numbers_of_state(settings)
        self._smooth = settings.smooth_landmarks

    @staticmethod
    def _numbers_of_state(settings: ModelSettings) -> int:
        return Memory.numbers(face_points_of(settings))

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        """Return the landmarks of the next frame of each of N videos, and their states after it.

        Args:
            images: RGB images, each uint8 (height, width, 3), at most `batch_size`; sizes may differ.
            states: float32 (N, state_size).

        Raises:
            MemoryError: Memory is too small for a batch.
            DeviceLostError: This process cannot use its GPU any more.
        """
        with self._computing():
            detect = not Memory.from_rows(states, self._face_points).body_roi.has_area().all()
            work = BatchWork(self.batch_size, self.batch_size, tracks=True, smooth=self._smooth, detect=bool(detect))
            try:
                begun = self._batches.begin(images, work, states)
                table = begun.rows()
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                # Half a batch would be other bits on a GPU, and a frame left out would change all after it.
                raise MemoryError(
                    f"{self.batch_size} videos at once do not fit into the device's memory: begin a dataset with a "
                    "smaller model.batch_size."
                ) from error
        events, count = self._take_notices(begun.events), self._columns.count
        return self._columns.split(table[:, :count], events), table[:, count:].copy()


def _halved(count: int, together: int) -> str:
    event = f"{OUT_OF_MEMORY} with {count} frames at once: went on with {together}"
    _log.warning("model.engine=torch ran %s", event)
    return event


@dataclass(frozen=True, slots=True)
class _Pending:
    """A batch on the device; a `PendingBatch`."""

    begun: BegunBatch
    columns: RowColumns
    events: tuple[str, ...]

    def result(self) -> LandmarkBatch:
        with device_errors():
            return self.columns.split(self.begun.rows(), self.events)

    def abandon(self) -> None:
        self.begun.abandon()


@dataclass(frozen=True, slots=True)
class _Finished:
    """A batch that was computed at once; a `PendingBatch`."""

    batch: LandmarkBatch

    def result(self) -> LandmarkBatch:
        return self.batch

    def abandon(self) -> None:
        """Return: it takes no room on the device."""
