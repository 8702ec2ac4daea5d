"""The work of one actor: a shard in, a committed partition out.

`ShardWorker` is a plain class that the driver turns into a Ray actor. It holds one model, reads its frames itself (no
pixel ever travels through Ray), and answers with a small `Receipt`. It raises nothing: what went wrong is in the
receipt, so that the driver can tell a failed shard from a dead actor.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.cluster.plan import Shard
from phoenix_ray.cluster.scheduler import Trouble
from phoenix_ray.config import Settings
from phoenix_ray.dataset.failures import FailureClass
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.partitions import PartitionInfo, write_partition
from phoenix_ray.dataset.schema import FrameRecord, FrameStatus, empty_batch
from phoenix_ray.dataset.storage import open_storage
from phoenix_ray.errors import ClusterError, OutputError, PhoenixRayError, SourceError
from phoenix_ray.models import registry
from phoenix_ray.models.base import LandmarkBatch, PoseModel
from phoenix_ray.sources.base import Frame
from phoenix_ray.sources.frames import read_frames


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the seconds of an actor went.

    Attributes:
        decode: Waiting for decoded frames (decoding itself runs ahead in threads).
        inference: In the model.
        write: Encoding and committing the partition.
        idle: Waiting for a shard.
    """

    decode: float = 0.0
    inference: float = 0.0
    write: float = 0.0
    idle: float = 0.0

    def __add__(self, other: Timings) -> Timings:
        return Timings(
            self.decode + other.decode,
            self.inference + other.inference,
            self.write + other.write,
            self.idle + other.idle,
        )

    @property
    def total(self) -> float:
        """All of it, in seconds."""
        return self.decode + self.inference + self.write + self.idle


@dataclass(frozen=True, slots=True)
class Receipt:
    """An actor's answer for one shard: what it committed, or why it could not, and what happened on the way."""

    partition: PartitionInfo | None
    trouble: Trouble | None
    timings: Timings
    peak_memory_mb: float
    events: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """The landmarks of a shard.

    Attributes:
        records: One for each frame.
        rows: One row of landmarks for each record.
        timings: What decoding and inference took.
        events: What the model wants recorded (`LandmarkBatch.events`).
    """

    records: list[FrameRecord]
    rows: LandmarkBatch
    timings: Timings
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """Who an actor is, told once it is ready."""

    node: str
    process: int
    layout: str
    node_id: str = ""


class ShardWorker:
    """Holds a model and computes shards with it.

    Args:
        settings: Of the whole run.
        identity: Of the dataset that is written; stamped into each partition.
    """

    def __init__(self, settings: Settings, identity: DatasetIdentity) -> None:
        self._settings = settings
        self._identity = identity
        self._storage = open_storage(settings.output.path)
        self._model: PoseModel | None = None
        self._idle_since = time.perf_counter()

    def ready(self) -> WorkerInfo:
        """Load the model and answer.

        Raises:
            ModelError: The model cannot be loaded here.
        """
        self._model = registry.create(self._settings.model)
        self._idle_since = time.perf_counter()
        return WorkerInfo(platform.node(), os.getpid(), self._model.layout.name)

    def process(self, shard: Shard) -> Receipt:
        """Compute one shard and commit it."""
        started = time.perf_counter()
        timings = Timings(idle=started - self._idle_since)
        partition: PartitionInfo | None = None
        trouble: Trouble | None = None
        events: tuple[str, ...] = ()
        try:
            if self._model is None:
                raise ClusterError("The worker was given a shard before it was ready.")
            estimate = estimate_shard(self._model, self._settings, shard)
            events = estimate.events
            written = time.perf_counter()
            partition = write_partition(
                self._storage,
                self._model.layout,
                self._identity,
                self._settings.output,
                shard.video,
                shard.first,
                shard.last,
                estimate.records,
                estimate.rows,
            )
            timings = timings + replace(estimate.timings, write=time.perf_counter() - written)
        except Exception as error:
            trouble = Trouble(_failure_class(error), _message(error), traceback.format_exc(), platform.node())
        self._idle_since = time.perf_counter()
        return Receipt(partition, trouble, timings, peak_memory_mb(), events)


def estimate_shard(model: PoseModel, settings: Settings, shard: Shard) -> Estimate:
    """Return the landmarks of each frame of a shard.

    Batches hold the frames of one video between two multiples of the model's batch size, counted from the video's first
    frame: a frame meets the same neighbours however the video is sharded.

    Raises:
        Exception: Whatever the model raised, when not one frame of the shard got through it. A model that fails on some
            frames only gives rows of status `failed` for these.
    """
    frames = _Stopwatch(read_frames(shard.video, shard.first, shard.last, settings.decode))
    rows = empty_batch(model.layout, shard.frames)
    records: list[FrameRecord] = []
    inference = 0.0
    events: list[str] = []
    survivors, failure = 0, None
    for _, group in groupby(frames, key=lambda frame: frame.index // model.batch_size):
        members = list(group)
        images = {frame.index: frame.image for frame in members if frame.image is not None}
        before = time.perf_counter()
        found, errors = _estimate_frames(model, images)
        inference += time.perf_counter() - before
        survivors += sum(len(indices) for indices, _ in found)
        for indices, batch in found:
            events += batch.events
            _place(rows, batch, np.asarray(indices) - shard.first)
        failure = failure or next(iter(errors.values()), None)
        records.extend(_record(frame, rows, shard.first, errors.get(frame.index)) for frame in members)
    if failure is not None and survivors == 0:
        raise failure
    return Estimate(records, rows, Timings(decode=frames.seconds, inference=inference), tuple(events))


def peak_memory_mb() -> float:
    """Return the largest resident size this process has had, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


_Images = dict[int, NDArray[np.uint8]]
_Found = list[tuple[Sequence[int], LandmarkBatch]]


def _estimate_frames(model: PoseModel, images: _Images) -> tuple[_Found, dict[int, Exception]]:
    """Estimate a batch; when the model fails on it, estimate frame by frame to keep all but the culprits."""
    if not images:
        return [], {}
    try:
        return [(list(images), model.estimate(list(images.values())))], {}
    except MemoryError:
        raise
    except Exception as error:
        if len(images) == 1:
            return [], dict.fromkeys(images, error)
    found: _Found = []
    errors: dict[int, Exception] = {}
    for index, image in images.items():
        single, failed = _estimate_frames(model, {index: image})
        found += single
        errors |= failed
    return found, errors


def _place(rows: LandmarkBatch, batch: LandmarkBatch, positions: NDArray[np.intp]) -> None:
    for part, points in batch.points.items():
        rows.points[part][positions] = points
    for part, scores in batch.scores.items():
        rows.scores[part][positions] = scores


def _record(frame: Frame, rows: LandmarkBatch, first: int, error: Exception | None) -> FrameRecord:
    if frame.image is None:
        return FrameRecord(frame.index, frame.name, frame.timestamp, None, None, "unreadable", frame.error)
    height, width = frame.image.shape[:2]
    if error is not None:
        return FrameRecord(frame.index, frame.name, frame.timestamp, width, height, "failed", _message(error))
    found = any(not np.isnan(points[frame.index - first, 0, 0]) for points in rows.points.values())
    status: FrameStatus = "ok" if found else "no_person"
    return FrameRecord(frame.index, frame.name, frame.timestamp, width, height, status)


class _Stopwatch:
    """An iterator that measures how long its consumer waited for it."""

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


def _failure_class(error: Exception) -> FailureClass:
    match error:
        case MemoryError():
            return "memory"
        case OutputError() | SourceError() | OSError():
            return "infrastructure"
        case PhoenixRayError():
            return "input"
        case _:
            return "model"


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, PhoenixRayError) else f"{type(error).__name__}: {error}"
