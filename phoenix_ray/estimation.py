"""Turns the frames of a video into landmarks.

Workers call `estimate_frames` or, in mode tracking, `track_frames` for each shard, and `phoenix-ray verify --recompute`
calls them without a cluster, so the two cannot differ. They write nothing, and know neither Ray nor an output.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.schema import FrameRecord, FrameStatus, empty_batch
from phoenix_ray.errors import DeviceLostError, PhoenixRayError
from phoenix_ray.models.base import LandmarkBatch, OverlappingModel, PendingBatch, PoseModel, TrackingModel, is_found
from phoenix_ray.sources.base import Frame


@dataclass(frozen=True, slots=True)
class Estimate:
    """The landmarks of a range of frames.

    Attributes:
        records: What is stored of each frame beside its landmarks.
        rows: One row of landmarks for each record.
        decode_seconds: Time spent waiting for decoded frames; decoding itself runs ahead in threads.
        inference_seconds: Time spent in the model.
        events: Events that the model reports (`LandmarkBatch.events`).
        state: What a `TrackingModel` remembers of the video after the last frame: float32 (state_size,). None for other
            models.
    """

    records: list[FrameRecord]
    rows: LandmarkBatch
    decode_seconds: float
    inference_seconds: float
    events: tuple[str, ...]
    state: NDArray[np.float32] | None = None


def estimate_frames(model: PoseModel, frames: Iterator[Frame], first: int, last: int) -> Estimate:
    """Return the landmarks of frames `first` to `last - 1` of a video, which `frames` yields in order.

    Batches are cut at multiples of the model's batch size, counted from the video's first frame, so a frame shares its
    batch with the same neighbours however the video is split into shards.

    Raises:
        Exception: Whatever the model raised, if it failed on every frame. If it failed on some frames only, their rows
            have status `failed`.
    """
    watched = _Stopwatch(frames)
    rows = empty_batch(model.layout, last - first)
    records: list[FrameRecord] = []
    inference = 0.0
    events: list[str] = []
    survivors, failure = 0, None
    for step in _compute_batches(model, groupby(watched, key=lambda frame: frame.index // model.batch_size)):
        inference += step.seconds
        survivors += sum(len(indices) for indices, _ in step.found)
        for indices, batch in step.found:
            events += batch.events
            _place(rows, batch, np.asarray(indices) - first)
        failure = failure or next(iter(step.errors.values()), None)
        records.extend(_record(frame, rows, first, step.errors.get(frame.index)) for frame in step.members)
    if failure is not None and survivors == 0:
        raise failure
    return Estimate(records, rows, watched.seconds, inference, tuple(events))


def first_state(model: TrackingModel) -> NDArray[np.float32]:
    """Return what a model remembers before a video's first frame: float32 (state_size,), all NaN."""
    return np.full(model.state_size, np.nan, np.float32)


def track_frames(
    model: TrackingModel, frames: Iterator[Frame], first: int, last: int, state: NDArray[np.float32]
) -> Estimate:
    """Return the landmarks of frames `first` to `last - 1` of a video, which `frames` yields in order.

    A frame without an image, or on which the model fails, leaves the state as it was: the next frame follows the one
    before. So a frame that is left out later, because it is known to fail, changes no other frame.

    Args:
        model: The model.
        frames: The frames.
        first: First frame.
        last: End of the frames, exclusive.
        state: float32 (state_size,): the state after frame `first - 1`; `first_state` where that is before the video.

    Raises:
        Exception: As `estimate_frames`.
    """
    watched = _Stopwatch(frames)
    rows = empty_batch(model.layout, last - first)
    records: list[FrameRecord] = []
    inference = 0.0
    events: list[str] = []
    survivors, failure = 0, None
    states = np.asarray(state, np.float32).reshape(1, model.state_size)
    for frame in watched:
        error = None
        if frame.image is not None:
            before = time.perf_counter()
            try:
                batch, states = model.track([frame.image], states)
                events += batch.events
                _place(rows, batch, np.array([frame.index - first]))
                survivors += 1
            except _OF_THE_MACHINE:
                raise
            except Exception as raised:
                error = raised
                failure = failure or raised
            inference += time.perf_counter() - before
        records.append(_record(frame, rows, first, error))
    if failure is not None and survivors == 0:
        raise failure
    return Estimate(records, rows, watched.seconds, inference, tuple(events), states[0].copy())


def error_message(error: Exception) -> str:
    """Return the text to record of an exception. Our own messages are whole sentences; others need their type."""
    return str(error) if isinstance(error, PhoenixRayError) else f"{type(error).__name__}: {error}"


_Images = dict[int, NDArray[np.uint8]]
_Found = list[tuple[Sequence[int], LandmarkBatch]]
# Errors that are not the batch's: each frame alone would fail too.
_OF_THE_MACHINE = (MemoryError, DeviceLostError)


@dataclass(slots=True)
class _Step:
    """A batch on its way through the model.

    Attributes:
        members: Its frames, those without an image included.
        images: Frame → image.
        pending: What the model has begun; None where it begins nothing ahead, or failed to.
        error: Why it failed to.
        found: Landmarks, once computed, with the frames that they belong to.
        errors: Frame → why the model failed on it.
        seconds: Time spent in the model.
    """

    members: list[Frame]
    images: _Images
    pending: PendingBatch | None = None
    error: Exception | None = None
    found: _Found = field(default_factory=list)
    errors: dict[int, Exception] = field(default_factory=dict)
    seconds: float = 0.0


def _compute_batches(model: PoseModel, groups: Iterable[tuple[int, Iterator[Frame]]]) -> Iterator[_Step]:
    """Yield the batches in order, computed; an `OverlappingModel` has begun the next by then."""
    ahead = 1 if isinstance(model, OverlappingModel) else 0
    under_way: deque[_Step] = deque()
    try:
        for _, group in groups:
            members = list(group)
            step = _Step(members, {frame.index: frame.image for frame in members if frame.image is not None})
            under_way.append(step)
            _begin(model, step)
            if len(under_way) > ahead:
                _finish(model, under_way[0])
                yield under_way.popleft()
        while under_way:
            _finish(model, under_way[0])
            yield under_way.popleft()
    finally:
        for step in under_way:
            if step.pending is not None:
                step.pending.abandon()


def _begin(model: PoseModel, step: _Step) -> None:
    if not step.images or not isinstance(model, OverlappingModel):
        return
    before = time.perf_counter()
    try:
        step.pending = model.begin(list(step.images.values()))
    except _OF_THE_MACHINE:
        raise
    except Exception as error:
        step.error = error
    step.seconds += time.perf_counter() - before


def _finish(model: PoseModel, step: _Step) -> None:
    if not step.images:
        return
    before = time.perf_counter()
    step.found, step.errors = _estimate_batch(model, step)
    step.seconds += time.perf_counter() - before


def _estimate_batch(model: PoseModel, step: _Step) -> tuple[_Found, dict[int, Exception]]:
    """Estimate a batch. If the model fails on it, estimate each frame alone, so that only the culprits are lost."""
    images = step.images
    try:
        if step.error is not None:
            raise step.error
        batch = step.pending.result() if step.pending else model.estimate(list(images.values()))
        return [(list(images), batch)], {}
    except _OF_THE_MACHINE:
        raise
    except Exception as error:
        if len(images) == 1:
            return [], dict.fromkeys(images, error)
    found: _Found = []
    errors: dict[int, Exception] = {}
    for index, image in images.items():
        single, failed = _estimate_batch(model, _Step([], {index: image}))
        found += single
        errors |= failed
    return found, errors


def _place(rows: LandmarkBatch, batch: LandmarkBatch, positions: NDArray[np.intp]) -> None:
    for part, points in batch.points.items():
        rows.points[part][positions] = points
    for part, scores in batch.scores.items():
        rows.scores[part][positions] = scores
    for head, values in batch.heads.items():
        rows.heads[head][positions] = values


def _record(frame: Frame, rows: LandmarkBatch, first: int, error: Exception | None) -> FrameRecord:
    if frame.image is None:
        return FrameRecord(frame.index, frame.name, frame.timestamp, None, None, "unreadable", frame.error)
    height, width = frame.image.shape[:2]
    if error is not None:
        return FrameRecord(frame.index, frame.name, frame.timestamp, width, height, "failed", error_message(error))
    row = frame.index - first
    found = any(is_found(points[row : row + 1])[0] for points in rows.points.values())
    status: FrameStatus = "ok" if found else "no_person"
    return FrameRecord(frame.index, frame.name, frame.timestamp, width, height, status)


class _Stopwatch:
    """An iterator that measures how long its consumer waits for it."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self.seconds = 0.0

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        before = time.perf_counter()
        try:
            return next(self._frames)
        finally:
            self.seconds += time.perf_counter() - before
