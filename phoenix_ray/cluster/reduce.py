"""The reduce step: compaction tasks, run by Ray where they are large, published by the caller.

`reduce_all` waits for all of them (end of a run, `phoenix-ray compact`); `BackgroundReduce` runs them beside the
actors, so that a long run never piles up partitions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import ray
from ray.exceptions import RayTaskError

from phoenix_ray.cluster.worker_plan import environment_options
from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.compaction import Compacted, compact_videos
from phoenix_ray.dataset.compaction_plan import CompactionTask, plan_compaction
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.lease import LeaseLostError
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.parquet import DamagedFile
from phoenix_ray.dataset.publication import publish
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.survey import Survey, take_survey
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.errors import OutputError, PhoenixRayError
from phoenix_ray.text import counted

# The driver itself compacts up to this much, in a second or less: processes for it take longer to start.
SMALL_BYTES = 16e6
# Tasks of a background compaction that run at once. They reserve no CPU, so Ray would start a process for each, and
# each may take a GB.
TASKS_BESIDE_ACTORS = 2
# How often a background compaction checks whether it is still wanted.
LOOK_SECONDS = 0.5
# How often a compaction is planned anew where another driver was faster.
_ROUNDS = 5


def _compact(task: CompactionTask, settings: OutputSettings) -> Compacted:
    return compact_videos(open_storage(settings.path), task, settings)


_COMPACT = ray.remote(max_retries=3)(_compact)


def plan_tasks(
    storage: Storage, survey: Survey, settings: OutputSettings, convert: bool = True
) -> list[CompactionTask]:
    """Return the data files to write for all videos that were whole when the dataset was surveyed.

    With `convert`, also those in place of files of earlier versions.
    """
    identity, target_bytes = survey.identity, settings.target_file_mb * 1e6
    return plan_compaction(survey, lambda name: read_entries(storage, identity, name), target_bytes, convert)


def reduce_all(
    storage: Storage,
    survey: Survey,
    settings: OutputSettings,
    say: Callable[[str], None],
    confirm: Callable[[], None] = lambda: None,
) -> list[DamagedFile]:
    """Compact every whole video and publish the result; return the files whose rows proved to be damaged.

    Where another driver was faster, the rest is planned anew, a few times.

    Args:
        storage: The dataset.
        survey: What lies in it.
        settings: Say how large files and row groups are.
        say: Receives a line before each compaction.
        confirm: Called before each publication; raises where this driver must publish no more (`Lease.confirm`).
    """
    damaged: list[DamagedFile] = []
    for _ in range(_ROUNDS):
        tasks = plan_tasks(storage, survey, settings)
        if not tasks:
            break
        merged = [task for task in tasks if not task.converts]
        if merged:
            count = sum(task.video_count for task in merged)
            say(f"Compacting {counted(count, 'video')} into {counted(len(merged), 'file')}")
        if len(merged) < len(tasks):
            say(f"Writing {counted(len(tasks) - len(merged), 'data file')} of an earlier version in the present form")
        if sum(task.bytes for task in tasks) <= SMALL_BYTES:
            results = [compact_videos(storage, task, settings) for task in tasks]
        else:
            results = _compact_on_nodes(tasks, settings)
        confirm()
        published = publish(storage, survey.identity, results).names
        damaged += _damaged_in(results)
        unconverted = [file for result in results for file in result.unconverted]
        for file in unconverted:
            say(f"{file.name} stays as it is: {file.reason}. `phoenix-ray check --repair` takes out what is damaged.")
        written = [result.data_file.name for result in results if result.data_file]
        if len(written) + len(unconverted) == len(results) and published.issuperset(written):
            break
        survey = take_survey(storage, survey.identity)
    return damaged


class BackgroundReduce:
    """Compacts beside the actors whenever enough partitions are open; leaving its context ends that.

    Listing, planning and publishing take seconds in a large dataset, so they run in a thread, while the driver goes on
    handing out shards.

    Args:
        storage: The dataset.
        identity: Its identity.
        settings: `compact_every` says how many partitions are enough.
        confirm: Called before each publication; raises where this driver must publish no more (`Lease.confirm`).
        say: Receives a line when a compaction finds no room; it is tried again later.
    """

    def __init__(
        self,
        storage: Storage,
        identity: DatasetIdentity,
        settings: OutputSettings,
        confirm: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._storage = storage
        self._identity = identity
        self._settings = settings
        self._confirm = confirm
        self._say = say
        self._compacted_at = 0
        self._thread = ThreadPoolExecutor(1, "compaction")
        self._running: Future[list[DamagedFile]] | None = None
        self._abandoned = Event()
        self._damaged: list[DamagedFile] = []

    def __enter__(self) -> BackgroundReduce:
        return self

    def __exit__(self, *_: object) -> None:
        """Give up what is not yet being published: the next run does it."""
        self._abandoned.set()
        self._thread.shutdown()

    def start_when_due(self, partitions: int) -> None:
        """Called by the driver's loop; starts a compaction when enough partitions were committed and none is running.

        Raises:
            PhoenixRayError: The last compaction has failed.
        """
        if self._running:
            if self._running.done():
                self.finish()
        elif self._settings.compact and partitions - self._compacted_at >= self._settings.compact_every:
            self._compacted_at = partitions
            self._running = self._thread.submit(self._compact_and_publish)

    def finish(self) -> list[DamagedFile]:
        """Wait for a running compaction, and return the files that proved to be damaged since the start."""
        if self._running:
            running, self._running = self._running, None
            try:
                self._damaged += running.result()
            except LeaseLostError:
                raise
            except OutputError as error:
                self._say(f"A compaction beside the workers has failed, and is tried again later: {error}")
        return self._damaged

    def _compact_and_publish(self) -> list[DamagedFile]:
        survey = take_survey(self._storage, self._identity)
        # Files of earlier versions can wait for the end, when the actors leave the CPUs.
        tasks = plan_tasks(self._storage, survey, self._settings, convert=False)
        # The actors reserve all CPUs; these tasks run in between.
        results = _compact_without_cpus(tasks, self._settings, self._abandoned.is_set)
        if results:
            self._confirm()
            publish(self._storage, self._identity, results)
        return _damaged_in(results)


def _compact_on_nodes(tasks: Sequence[CompactionTask], settings: OutputSettings) -> list[Compacted]:
    """Compact wherever a CPU is free; where no node has a CPU any more, do the rest without."""
    references = [_COMPACT.remote(task, settings) for task in tasks]
    while True:
        done, waiting = ray.wait(references, num_returns=len(references), timeout=LOOK_SECONDS)
        if not waiting:
            return _results(references)
        # An autoscaler may have removed all nodes, and a head without CPUs would let the tasks wait for ever.
        if ray.cluster_resources().get("CPU", 0.0) < 1:
            for reference in waiting:
                ray.cancel(reference, force=True)
            left = [task for reference, task in zip(references, tasks, strict=True) if reference in waiting]
            return [*_results(done), *_compact_without_cpus(left, settings)]


def _compact_without_cpus(
    tasks: Sequence[CompactionTask], settings: OutputSettings, is_abandoned: Callable[[], bool] = lambda: False
) -> list[Compacted]:
    """Compact with tasks that reserve no CPU, a few at once; return nothing where that is given up meanwhile."""
    waiting, running = deque(tasks), list[Any]()
    results: list[Compacted] = []
    while waiting or running:
        if is_abandoned():
            return []
        while waiting and len(running) < TASKS_BESIDE_ACTORS:
            running.append(_COMPACT.options(num_cpus=0, **environment_options()).remote(waiting.popleft(), settings))
        done, running = ray.wait(running, timeout=LOOK_SECONDS)
        results += _results(done)
    return results


def _results(references: list[Any]) -> list[Compacted]:
    """Wait for tasks and return their results; an error of the package is raised as the task raised it."""
    try:
        results: list[Compacted] = ray.get(references)
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, PhoenixRayError) else error from None
    return results


def _damaged_in(results: list[Compacted]) -> list[DamagedFile]:
    return [damaged for result in results for damaged in result.damaged]
