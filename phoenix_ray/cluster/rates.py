"""How fast a worker is on frames of a source: what `phoenix-ray plan --measure` measures.

A Ray task that reserves what a worker would runs on a node of the cluster. It takes some shards, spread over the plan,
and does with their first frames what a worker does, one step after the other: decode, estimate, encode the rows. It
writes nothing to the output.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import ray

from phoenix_ray.cluster.auto import PATIENCE_SECONDS
from phoenix_ray.cluster.chains import shards_at_once
from phoenix_ray.cluster.session import result_of_task
from phoenix_ray.cluster.shard_queue import Shards
from phoenix_ray.cluster.worker_plan import WorkerPlan
from phoenix_ray.config import DecodeSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.partitions import write_partition
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import ClusterError, SourceError
from phoenix_ray.estimation import Estimate, estimate_frames, first_state, track_frames
from phoenix_ray.models import registry
from phoenix_ray.models.base import PoseModel, TrackingModel
from phoenix_ray.sources.base import Frame
from phoenix_ray.sources.frames import read_frames

# How long to measure, after the model is loaded; a shard that has begun is finished.
SECONDS = 10.0
# Shards to take frames from at most, and frames of each; fewer where many videos are followed at once.
SHARDS, FRAMES, FRAMES_FOLLOWED = 48, 128, 16
# Of decoded pictures at a time.
_PICTURE_BYTES = 256e6


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step takes for a frame.

    Attributes:
        seconds: Wall time.
        cpu_seconds: Processor time of all threads together.
    """

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Rates:
    """What a worker takes for a frame, measured while it was alone on its node.

    Attributes:
        node: Name of the machine.
        kernels: What computed (`models.provenance.describe_kernels`).
        frames: Frames that were measured.
        videos: Videos that they come from.
        decode: To read and decode a frame.
        model: To find its landmarks; in mode tracking with several videos at once.
        rows: To encode its row.
        chain_seconds: In mode tracking, the seconds of the model for a frame of one video alone; else 0.
        read_bytes: Bytes that were read for a frame; 0 where the system does not say.
        written_bytes: Bytes of its row.
    """

    node: str
    kernels: str
    frames: int
    videos: int
    decode: Cost
    model: Cost
    rows: Cost
    chain_seconds: float
    read_bytes: float
    written_bytes: float

    @property
    def processor_share(self) -> float:
        """Share of the model's time for which its process was on a processor, 0 to 1; of several threads at most 1."""
        return min(1.0, self.model.cpu_seconds / self.model.seconds) if self.model.seconds else 1.0


def measure_on_a_node(
    settings: Settings, identity: DatasetIdentity, shards: Shards, plan: WorkerPlan, start_seconds: float
) -> Rates:
    """Return the rates of a worker of the cluster on shards of a plan.

    Args:
        settings: The run's settings, with every `auto` decided; Ray has started.
        identity: That of the dataset.
        shards: What is to be computed; at least one.
        plan: What a worker reserves.
        start_seconds: How long a run would wait for its first worker.

    Raises:
        ClusterError: No node had room for a worker in time.
        PhoenixRayError: The model cannot be loaded there, or no frame can be read.
    """
    sample = spread_sample(shards, max(SHARDS, shards_at_once(registry.facts(settings.model))))
    reference = _MEASURE.options(**plan.task_options()).remote(sample, settings, identity)
    patience = start_seconds + PATIENCE_SECONDS
    try:
        measured: Rates = result_of_task(reference, patience)
    except TimeoutError:
        raise ClusterError(
            f"Nothing was measured: no node had {plan.cpus:g} CPU and {plan.gpus:g} GPU free and was done within "
            f"{patience:g} s. Try again when the cluster is less busy, or plan without --measure."
        ) from None
    return measured


def spread_sample(shards: Shards, count: int) -> list[Shard]:
    """Return up to `count` shards, evenly spread over the plan, long and short ones taking turns."""
    chosen = list(islice(shards, 0, None, max(1, len(shards) // count)))[:count]
    # Shards come by length. The first ones must stand for all if time runs out.
    middle = (len(chosen) + 1) // 2
    pairs = zip(chosen[:middle], [*chosen[middle:], None], strict=False)
    return [shard for pair in pairs for shard in pair if shard is not None]


def measure_rates(
    shards: Sequence[Shard], settings: Settings, identity: DatasetIdentity, seconds: float = SECONDS
) -> Rates:
    """Return the rates of this process on some shards, of which the first are taken until the time is over.

    Raises:
        ModelError: The model cannot be loaded here.
        SourceError: No frame can be read.
    """
    model = registry.create(settings.model)
    steps = _Steps(settings, identity, model)
    at_once = shards_at_once(registry.facts(settings.model))
    try:
        end = 0.0
        for start in range(0, len(shards), at_once):
            if end and time.perf_counter() > end:
                break
            group = steps.decode_all(shards[start : start + at_once], FRAMES if at_once == 1 else FRAMES_FOLLOWED)
            if not group:
                continue
            if not end:
                # The first call of a model compiles and allocates.
                steps.estimate(group, counts=False)
                end = time.perf_counter() + seconds
            steps.estimate(group)
        return steps.rates()
    finally:
        model.close()


_MEASURE = ray.remote(max_calls=1, max_retries=0)(measure_rates)


class _Step:
    """Adds up what a step takes."""

    def __init__(self) -> None:
        self.frames = 0
        self._seconds = 0.0
        self._cpu_seconds = 0.0

    @contextmanager
    def taking(self) -> Iterator[None]:
        began, cpu = time.perf_counter(), time.process_time()
        yield
        self._seconds += time.perf_counter() - began
        self._cpu_seconds += time.process_time() - cpu

    def cost(self) -> Cost:
        frames = max(1, self.frames)
        return Cost(self._seconds / frames, self._cpu_seconds / frames)


Group = list[tuple[Shard, list[Frame]]]


class _Steps:
    """The steps of a worker, with what each takes."""

    def __init__(self, settings: Settings, identity: DatasetIdentity, model: PoseModel) -> None:
        self._settings = settings
        self._identity = identity
        self._model = model
        self._decode, self._estimate, self._alone, self._rows = _Step(), _Step(), _Step(), _Step()
        self._videos: set[tuple[str, str]] = set()
        self._read_bytes = 0
        self._written_bytes = 0

    def decode_all(self, shards: Sequence[Shard], most: int) -> Group:
        """Decode the first frames of some shards; those that cannot be read are left out."""
        group: Group = []
        for shard in shards:
            read = _bytes_read()
            with suppress(SourceError):
                with self._decode.taking():
                    frames = _first_frames(shard, most, self._settings.decode, _PICTURE_BYTES / len(shards))
                self._decode.frames += len(frames)
                if any(frame.image is not None for frame in frames):
                    group.append((Shard(shard.video, shard.first, shard.first + len(frames)), frames))
                    self._videos.add(shard.key[:2])
            self._read_bytes += _bytes_read() - read
        return group

    def estimate(self, group: Group, counts: bool = True) -> None:
        """Find the landmarks of the frames, and encode the rows; without `counts` only to warm up."""
        alone, together, rows = (self._alone, self._estimate, self._rows) if counts else (_Step(), _Step(), _Step())
        for shard, frames in group[:1] if isinstance(self._model, TrackingModel) else group:
            step = alone if isinstance(self._model, TrackingModel) else together
            with step.taking():
                estimate = self._landmarks(shard, frames)
            step.frames += len(frames)
            with rows.taking():
                written = write_partition(_NOWHERE, self._identity, self._settings.output, shard, estimate)
            rows.frames += len(frames)
            self._written_bytes += written.bytes if counts else 0
        if isinstance(self._model, TrackingModel):
            with together.taking():
                together.frames += _follow(self._model, [frames for _, frames in group])

    def _landmarks(self, shard: Shard, frames: list[Frame]) -> Estimate:
        model = self._model
        if isinstance(model, TrackingModel):
            return track_frames(model, iter(frames), shard.first, shard.last, first_state(model))
        return estimate_frames(model, iter(frames), shard.first, shard.last)

    def rates(self) -> Rates:
        if not self._estimate.frames:
            raise SourceError("Nothing could be measured: no frame of the shards that were tried can be read.")
        return Rates(
            node=platform.node(),
            kernels=registry.kernels(self._settings.model),
            frames=self._decode.frames,
            videos=len(self._videos),
            decode=self._decode.cost(),
            model=self._estimate.cost(),
            rows=self._rows.cost(),
            chain_seconds=self._alone.cost().seconds,
            read_bytes=self._read_bytes / self._decode.frames,
            written_bytes=self._written_bytes / self._rows.frames,
        )


def _follow(model: TrackingModel, videos: Sequence[list[Frame]]) -> int:
    """Step through some videos together, as `lockstep` does; return how many frames that were."""
    images = [[frame.image for frame in frames if frame.image is not None] for frames in videos]
    states = np.stack([first_state(model)] * len(images))
    done = 0
    for number in range(max(map(len, images))):
        here = [index for index, pictures in enumerate(images) if number < len(pictures)]
        _, states[here] = model.track([images[index][number] for index in here], states[here])
        done += len(here)
    return done


def _first_frames(shard: Shard, most: int, decode: DecodeSettings, most_bytes: float) -> list[Frame]:
    last = min(shard.last, shard.first + most)
    frames: list[Frame] = []
    held = 0.0
    with closing(read_frames(shard.video, shard.first, last, decode)) as read:
        for frame in read:
            frames.append(frame)
            held += frame.image.nbytes if frame.image is not None else 0
            if held > most_bytes:
                break
    return frames


def _bytes_read() -> int:
    """Return how many bytes this process has read from files; 0 where the system does not say."""
    try:
        fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(fields["rchar"])
    except (OSError, KeyError, ValueError):
        return 0


class _Nowhere:
    """The part of a storage that a partition needs: takes it and forgets it."""

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        """Forget a file."""


_NOWHERE = cast("Storage", _Nowhere())
