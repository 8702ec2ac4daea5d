"""The work of one actor: a shard in, a committed partition out.

`ShardWorker` is a plain class that `cluster.actors` turns into a Ray actor. It loads one model, reads its frames itself
(no pixel travels through Ray unless `decode.on` says so), and answers with a small `Receipt`. It raises nothing: what
went wrong is in the receipt, so that the driver can distinguish a failed shard from a dead actor.

In mode tracking a shard begins with the state that the frames before it ended with. The driver hands it on from the
receipt of the link before; in a resumed video the worker takes it from the partition that ends there.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from ray.exceptions import RayError

from phoenix_ray.cluster.chains import shards_at_once
from phoenix_ray.cluster.lockstep import Lockstep
from phoenix_ray.cluster.remote_decoding import DecoderDiedError, read_remotely
from phoenix_ray.cluster.shards import Trouble
from phoenix_ray.config import DecodeSettings, Settings
from phoenix_ray.dataset.failures import FailureClass
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.partitions import PartitionInfo, latest_state, write_partition
from phoenix_ray.dataset.schema import FrameRecord, empty_batch
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.errors import ClusterError, DeviceLostError, OutputError, PhoenixRayError, SourceError
from phoenix_ray.estimation import Estimate, error_message, estimate_frames, first_state, track_frames
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import PoseModel, TrackingModel
from phoenix_ray.sources.base import Frame
from phoenix_ray.sources.decoding import DecodingSessions
from phoenix_ray.sources.frames import read_frames, undecoded_frames

# Video files that a worker keeps open beside those that it decodes: the next shard may go on in them.
SPARE_SESSIONS = 1
# What a tracking model remembers of a video: float32 (state_size,). None for other models, and where it is not known.
State = NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the seconds of an actor went.

    Attributes:
        decode: Waiting for decoded frames (decoding itself runs ahead in threads).
        inference: In the model; in mode tracking also waiting for the other videos of a batch.
        write: Encoding and committing partitions, while the model computes the next shard.
        idle: The model waiting for a shard.
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
        """The sum, in seconds."""
        return self.decode + self.inference + self.write + self.idle


@dataclass(frozen=True, slots=True)
class Receipt:
    """An actor's answer for one shard.

    Attributes:
        partition: The partition that it committed, None when it could not.
        trouble: Why it could not, None when it could.
        timings: Where the time went.
        peak_memory_mb: Largest resident size of the actor's process so far.
        memory_mb: Resident size of the process now.
        events: Incidents that the run should record, a line each.
        state: What a tracking model remembers after the shard, None for other models.
        reached: Where the dataset has no state to begin the shard with: the frame before which it has the nearest (0
            where it has none), so that the frames from there to the shard must come first. None otherwise.
        node: Name of the worker's machine.
    """

    partition: PartitionInfo | None
    trouble: Trouble | None
    timings: Timings
    peak_memory_mb: float
    memory_mb: float = 0.0
    events: tuple[str, ...] = ()
    state: NDArray[np.float32] | None = None
    reached: int | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """What an actor reports about itself once it is ready.

    Attributes:
        node: Name of its machine.
        process: Its process ID there.
        node_id: ID of the node in Ray.
        kernels: Processor, GPU and libraries that it computes with (`models.registry.kernels`).
    """

    node: str
    process: int
    node_id: str = ""
    kernels: str = ""


class ShardWorker:
    """Computes shards with one model: one after the other, or with a tracking model `chains.shards_at_once` together.

    As an actor it takes several calls at once: some compute, while those before them encode and commit their rows.
    """

    def __init__(self, settings: Settings, identity: DatasetIdentity) -> None:
        self._settings = settings
        self._identity = identity
        self._storage = open_storage(settings.output.path)
        self._model: PoseModel | None = None
        self._kernels = ""
        self._decode = settings.decode
        self._sessions = DecodingSessions()
        self._turns = _Turns(1)

    def ready(self) -> WorkerInfo:
        """Load the model and answer.

        Raises:
            ModelError: The model cannot be loaded here, or would find other landmarks than the dataset has.
        """
        registry.refuse_other_machine(self._settings.model, self._identity.model, find_layout(self._identity))
        model = registry.create(_with_share_of_gpu(self._settings))
        self._kernels = registry.kernels(self._settings.model)
        at_once = shards_at_once(registry.facts(self._settings.model))
        self._model = Lockstep(model) if at_once > 1 and isinstance(model, TrackingModel) else model
        self._decode = _share(self._settings.decode, at_once)
        self._sessions = DecodingSessions(at_once + SPARE_SESSIONS, self._decode.keep_mb << 20, at_once)
        self._turns = _Turns(at_once)
        return WorkerInfo(platform.node(), os.getpid(), kernels=self._kernels)

    def process(self, shard: Shard, start: State = None) -> Receipt:
        """Compute one shard and commit it; `start` is the state before it, None where that is to be looked up."""
        return self._commit(shard, start, self._estimate)

    def flag(self, shard: Shard, reason: str, start: State = None) -> Receipt:
        """Commit one shard as rows of status `failed` without reading a frame: its frames kill the process.

        They leave the state of a tracking model untouched.
        """
        return self._commit(shard, start, lambda model, shard, state: flag_shard(model, shard, reason, state))

    def _estimate(self, model: PoseModel, shard: Shard, state: State) -> Estimate:
        frames = self._read_frames(shard)
        if isinstance(model, TrackingModel) and state is not None:
            if not isinstance(model, Lockstep):
                return track_frames(model, frames, shard.first, shard.last, state)
            # The others do not wait for a video to be opened.
            began = time.perf_counter()
            opening = list(islice(frames, 1))
            waited = time.perf_counter() - began
            with model.taking_part():
                estimate = track_frames(model, chain(opening, frames), shard.first, shard.last, state)
            return replace(estimate, decode_seconds=estimate.decode_seconds + waited)
        estimate = estimate_frames(model, frames, shard.first, shard.last)
        if shard.keeps_batches(model.batch_size):
            return estimate
        return replace(estimate, events=(*estimate.events, "computed apart from other frames of their batch"))

    def _state_before(self, model: PoseModel, shard: Shard, start: State) -> State:
        """Return the state with which a shard begins; None unless the model tracks.

        Raises:
            _ChainBrokenError: The dataset does not have it.
        """
        if start is not None or not isinstance(model, TrackingModel):
            return start
        if shard.first == 0:
            return first_state(model)
        found = latest_state(self._storage, self._identity, shard.video, shard.first, model.state_size)
        if found is None or found.frame < shard.first:
            raise _ChainBrokenError(found.frame if found else 0)
        return found.numbers

    def _read_frames(self, shard: Shard) -> Iterator[Frame]:
        if self._settings.decode.on == "cpu_nodes":
            return read_remotely(shard.video, shard.first, shard.last, self._decode)
        return read_frames(shard.video, shard.first, shard.last, self._decode, self._sessions)

    def _commit(self, shard: Shard, start: State, compute: Callable[[PoseModel, Shard, State], Estimate]) -> Receipt:
        timings = Timings()
        partition: PartitionInfo | None = None
        trouble: Trouble | None = None
        events: tuple[str, ...] = ()
        state: State = None
        reached: int | None = None
        try:
            if self._model is None:
                raise ClusterError("The worker was given a shard before it was ready.")
            # Before its turn, when the frames before it have just been committed: later they may have been compacted.
            start = self._state_before(self._model, shard, start)
            with self._turns.take() as idle:
                timings = Timings(idle=idle)
                estimate = compute(self._model, shard, start)
            events, state = estimate.events, estimate.state
            written = time.perf_counter()
            partition = write_partition(
                self._storage, self._identity, self._settings.output, shard, estimate, self._kernels
            )
            timings += Timings(estimate.decode_seconds, estimate.inference_seconds, write=time.perf_counter() - written)
        except _ChainBrokenError as broken:
            reached = broken.reached
        except Exception as error:
            trouble = Trouble(
                _failure_class(error),
                error_message(error),
                traceback.format_exc(),
                platform.node(),
                fatal=isinstance(error, DecoderDiedError | DeviceLostError),
                device_lost=isinstance(error, DeviceLostError),
            )
        node = platform.node()
        return Receipt(partition, trouble, timings, peak_memory_mb(), memory_mb(), events, state, reached, node)


class _Turns:
    """Lets so many calls at a time use the model."""

    def __init__(self, at_once: int) -> None:
        self._free = threading.Semaphore(at_once)
        self._counting = threading.Lock()
        self._users = 0
        self._idle_since = time.perf_counter()

    @contextmanager
    def take(self) -> Iterator[float]:
        """Wait for a turn; yield the seconds for which no call used the model."""
        with self._free:
            with self._counting:
                idle = 0.0 if self._users else time.perf_counter() - self._idle_since
                self._users += 1
            try:
                yield idle
            finally:
                with self._counting:
                    self._users -= 1
                    self._idle_since = time.perf_counter()


def _share(settings: DecodeSettings, shards: int) -> DecodeSettings:
    """Return the part of a worker's threads and memory for frames that each of some shards has."""
    if shards == 1:
        return settings
    threads, ahead = max(1, settings.threads // shards), max(2, settings.ahead // shards)
    return settings.model_copy(update={"threads": threads, "ahead": ahead})


def _with_share_of_gpu(settings: Settings) -> ModelSettings:
    """Return the model's settings with the part of a GPU's memory that a worker may take beside the others."""
    fraction = min(settings.model.memory_fraction, 1 / settings.cluster.workers_per_gpu)
    return settings.model.model_copy(update={"memory_fraction": fraction})


class _ChainBrokenError(Exception):
    """The dataset has no state to begin a shard with; the nearest before it is that before frame `reached`."""

    def __init__(self, reached: int) -> None:
        super().__init__(reached)
        self.reached = reached


def flag_shard(model: PoseModel, shard: Shard, reason: str, state: State = None) -> Estimate:
    """Return rows of status `failed` for a shard, made of the names of its frames alone, and `state` as it was.

    Raises:
        SourceError: The video's folder cannot be listed.
    """
    records = [
        FrameRecord(frame.index, frame.name, frame.timestamp, None, None, "failed", reason)
        for frame in undecoded_frames(shard.video, shard.first, shard.last)
    ]
    return Estimate(records, empty_batch(model.layout, shard.frames), 0.0, 0.0, (), state)


def peak_memory_mb() -> float:
    """Return the largest resident size this process has had, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def memory_mb() -> float:
    """Return the resident size of this process in MB; its peak where the system does not report the size."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return peak_memory_mb()
    return pages * resource.getpagesize() / (1024 * 1024)


def _failure_class(error: Exception) -> FailureClass:
    match error:
        case MemoryError():
            return "memory"
        case DecoderDiedError() | DeviceLostError():
            return "model"
        case OutputError() | SourceError() | OSError() | RayError():
            return "infrastructure"
        case PhoenixRayError():
            return "input"
        case _:
            return "model"
