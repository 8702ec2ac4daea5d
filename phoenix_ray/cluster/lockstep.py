"""Steps through several videos together: the next frame of each goes through a tracking model in one batch.

A tracking model needs the frames of a video one after the other, so a batch can only have frames of different videos. A
worker computes up to `batch_size` shards at once, each in a thread of its own with `estimation.track_frames`, and their
calls meet here. Who is in a batch depends on the clock; no landmark does, since a `TrackingModel` gives each video the
same bits in any company.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import DeviceLostError
from phoenix_ray.layouts import Layout
from phoenix_ray.models.base import LandmarkBatch, TrackingModel

# How long a batch waits for a video whose next frame is not decoded yet. Some times what a batch takes on a GPU, so
# that batches are full where decoding keeps up; and a video on a disk that hangs does not stop the others.
PATIENCE_SECONDS = 0.2


class _Call:
    """A frame that waits for its batch, and then what came of it."""

    def __init__(self, image: NDArray[np.uint8], state: NDArray[np.float32]) -> None:
        self.image = image
        self.state = state
        self.result: tuple[LandmarkBatch, NDArray[np.float32]] | None = None
        self.error: BaseException | None = None

    @property
    def is_over(self) -> bool:
        return self.result is not None or self.error is not None


class Lockstep:
    """A `TrackingModel` that threads share, each with the frames of one video.

    Args:
        model: What computes the batches; one thread at a time calls it.
        patience: Seconds that a batch waits for those who take part.
    """

    def __init__(self, model: TrackingModel, patience: float = PATIENCE_SECONDS) -> None:
        self._model = model
        self._patience = patience
        self._changed = threading.Condition()
        self._members = 0
        self._waiting: list[_Call] = []
        self._is_busy = False

    @property
    def layout(self) -> Layout:
        """The model's layout."""
        return self._model.layout

    @property
    def batch_size(self) -> int:
        """The most videos that take part in a batch."""
        return self._model.batch_size

    @property
    def state_size(self) -> int:
        """Numbers in a state."""
        return self._model.state_size

    @contextmanager
    def taking_part(self) -> Iterator[None]:
        """Announce the frames of a video: until the block ends, batches wait for this thread's next frame."""
        with self._changed:
            self._members += 1
        try:
            yield
        finally:
            with self._changed:
                self._members -= 1
                self._changed.notify_all()

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        """Return what the model's `track` does, for one image.

        Raises:
            BaseException: What the model raised for this image. A batch that fails is tried again image by image,
                unless the device is lost.
        """
        (image,) = images
        call = _Call(image, states[0])
        deadline = time.monotonic() + self._patience
        with self._changed:
            self._waiting.append(call)
            while not call.is_over:
                left = deadline - time.monotonic()
                if self._is_busy:
                    self._changed.wait()
                elif left <= 0 or len(self._waiting) >= min(self._members, self.batch_size):
                    self._step()
                else:
                    self._changed.wait(left)
        if call.result is None:
            raise call.error or RuntimeError("a step ended without a result")
        return call.result

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        """Return what the model's `estimate` does."""
        return self._model.estimate(images)

    def close(self) -> None:
        """Close the model."""
        self._model.close()

    def _step(self) -> None:
        """Compute those who wait, at most a batch, without the lock that the caller holds."""
        calls = self._waiting[: self.batch_size]
        del self._waiting[: self.batch_size]
        self._is_busy = True
        self._changed.release()
        try:
            self._compute(calls)
        finally:
            self._changed.acquire()
            self._is_busy = False
            self._changed.notify_all()

    def _compute(self, calls: list[_Call]) -> None:
        try:
            batch, states = self._model.track([call.image for call in calls], np.stack([call.state for call in calls]))
            for row, call in enumerate(calls):
                call.result = _row(batch, row), states[row : row + 1]
        except DeviceLostError as error:
            # No video is to blame, and none could be computed alone.
            for call in calls:
                call.error = error
        except Exception as error:
            if len(calls) == 1:
                calls[0].error = error
                return
            # Only the video to blame is to see the error.
            for call in calls:
                self._compute([call])
        except BaseException as error:
            for call in calls:
                call.error = error


def _row(batch: LandmarkBatch, row: int) -> LandmarkBatch:
    """Return one frame of a batch; what the batch reports goes with its first."""
    return LandmarkBatch(
        {part: points[row : row + 1] for part, points in batch.points.items()},
        {part: scores[row : row + 1] for part, scores in batch.scores.items()},
        batch.events if row == 0 else (),
        {head: values[row : row + 1] for head, values in batch.heads.items()},
    )
