"""The job with faults: `run_disturbed` is `phoenix-ray run` in a process whose workers and storage meet `faults`.

What is replaced are names in the job's modules, so that everything else is the code of a real run.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import ray
from numpy.typing import NDArray

from phoenix_ray import cli
from phoenix_ray.cluster.lockstep import Lockstep
from phoenix_ray.cluster.worker import ShardWorker, WorkerInfo
from phoenix_ray.config import OutputSettings, Settings
from phoenix_ray.dataset.compaction import Compacted, compact_videos
from phoenix_ray.dataset.compaction_plan import CompactionTask
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.object_storage import ObjectStorage
from phoenix_ray.dataset.storage import LocalStorage, Storage, _Temporary
from phoenix_ray.errors import OutputError
from phoenix_ray.models.base import LandmarkBatch, PoseModel, TrackingModel
from phoenix_ray.object_stores import is_object_store, open_bucket
from phoenix_ray.sources.decode import EncodedPicture
from tests.chaos.faults import Faults, Point, Process
from tests.chaos.hosts import enter

# Slow enough that a run can be disturbed half-way, fast enough that hundreds of runs can.
SECONDS_PER_FRAME = 0.004
# Trouble of the storage is over sooner here than it may be in earnest, and nodes come and go faster.
BACKOFF_SECONDS = 0.1
LOOK_SECONDS = 1.0


class DisturbedFolder(LocalStorage):
    """A folder whose verbs meet faults."""

    def __init__(self, root: str, process: Process) -> None:
        super().__init__(root)
        self._faults = Faults(root, process)

    def create(self, name: str, content: bytes) -> bool:
        with self._explained("write", name):
            self._faults.meet("create", name)
        made = super().create(name, content)
        self._faults.meet("created", name)
        return made

    def _name_new(self, name: str, temporary: _Temporary) -> bool:
        self._faults.meet("rename", name)
        return super()._name_new(name, temporary)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        with super().writing(name) as stream:
            self._faults.meet("write", name)
            yield stream
            self._faults.meet("rename", name)
        self._faults.meet("written", name)

    def delete(self, name: str) -> None:
        with self._explained("delete", name):
            self._faults.meet("delete", name)
        super().delete(name)
        self._faults.meet("deleted", name)


class DisturbedBucket(ObjectStorage):
    """A bucket whose verbs meet faults. An object is there at once, so `write` and `rename` come before the request."""

    def __init__(self, root: str, process: Process) -> None:
        super().__init__(open_bucket(root))
        self._faults = Faults(root, process)

    def create(self, name: str, content: bytes) -> bool:
        self._meet("write", "create", name)
        self._meet("write", "rename", name)
        made = super().create(name, content)
        self._faults.meet("created", name)
        return made

    def write(self, name: str, content: bytes | pa.Buffer) -> None:
        self._meet("write", "write", name)
        self._meet("write", "rename", name)
        super().write(name, content)
        self._faults.meet("written", name)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        with super().writing(name) as stream:
            self._meet("write", "write", name)
            yield stream
            self._meet("write", "rename", name)
        self._faults.meet("written", name)

    def delete(self, name: str) -> None:
        self._meet("delete", "delete", name)
        super().delete(name)
        self._faults.meet("deleted", name)

    def _meet(self, verb: str, point: Point, name: str) -> None:
        try:
            self._faults.meet(point, name)
        except OSError as error:
            # What a quota that is used up, or a store that fails, comes to.
            raise OutputError(f"Cannot {verb} {self.root}/{name}: {error.strerror}.") from None


def open_disturbed(path: str, process: Process) -> Storage:
    return DisturbedBucket(path, process) if is_object_store(path) else DisturbedFolder(path, process)


class DisturbedModel:
    """A model that takes its time, and meets faults at frames that its pictures name."""

    def __init__(self, model: PoseModel, faults: Faults) -> None:
        self._model = model
        self._faults = faults
        self.layout = model.layout
        self.batch_size = model.batch_size

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        for image in images:
            time.sleep(SECONDS_PER_FRAME)
            self._faults.meet("inference", frame_name(image))
        return self._model.estimate(images)

    def close(self) -> None:
        self._model.close()


class DisturbedTracker(DisturbedModel):
    """The same of a tracking model."""

    def __init__(self, model: TrackingModel, faults: Faults) -> None:
        super().__init__(model, faults)
        self._tracker = model
        self.state_size = model.state_size

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        for image in images:
            time.sleep(SECONDS_PER_FRAME)
            self._faults.meet("inference", frame_name(image))
        return self._tracker.track(images, states)


class DisturbedWorker(ShardWorker):
    """A worker that meets faults in decoding, inference and writing."""

    def __init__(self, settings: Settings, identity: DatasetIdentity) -> None:
        super().__init__(settings, identity)
        self._faults = Faults(settings.output.path, "worker")
        self._storage: Storage = open_disturbed(settings.output.path, "worker")

        decode = EncodedPicture.decode

        def decode_disturbed(encoded: EncodedPicture) -> NDArray[np.uint8]:
            picture = decode(encoded)
            self._faults.meet("decode", frame_name(picture))
            return picture

        patch("phoenix_ray.sources.decode.EncodedPicture.decode", decode_disturbed).start()

    def ready(self) -> WorkerInfo:
        self._faults.meet("ready", "")
        info = super().ready()
        assert self._model is not None
        if isinstance(self._model, Lockstep):
            self._model._model = DisturbedTracker(self._model._model, self._faults)
        else:
            self._model = DisturbedModel(self._model, self._faults)
        return replace(info, node_id=ray.get_runtime_context().get_node_id())


def frame_name(picture: NDArray[np.uint8]) -> str:
    """Return `<video>/<frame>`, which the first pixel says."""
    return f"{picture[0, 0, 0]}/{picture[0, 0, 1]}"


def compact_disturbed(task: CompactionTask, settings: OutputSettings) -> Compacted:
    return compact_videos(open_disturbed(settings.path, "compaction"), task, settings)


def run_disturbed(words: Sequence[str], log: str, host: str, environment: Mapping[str, str]) -> None:
    """Be `phoenix-ray run` with these words on a host, "" for this machine, and meet the faults of its output.

    A server of forks keeps the environment in which it was started, so a run brings its own.
    """
    os.environ |= environment
    if host:
        enter(host)
    with Path(log).open("ab", buffering=0) as stream:
        os.dup2(stream.fileno(), sys.stdout.fileno())
        os.dup2(stream.fileno(), sys.stderr.fileno())
    patch("phoenix_ray.cluster.actors.ShardActor", ray.remote(DisturbedWorker)).start()
    patch("phoenix_ray.cluster.reduce._COMPACT", ray.remote(max_retries=3)(compact_disturbed)).start()
    patch("phoenix_ray.cluster.reduce.SMALL_BYTES", 0).start()
    patch("phoenix_ray.cluster.claim.open_storage", lambda path: open_disturbed(path, "driver")).start()
    patch("phoenix_ray.cluster.backoff.BACKOFF_SECONDS", BACKOFF_SECONDS).start()
    patch("phoenix_ray.cluster.pool_size.LOOK_SECONDS", LOOK_SECONDS).start()
    cli.main(["run", *words])
