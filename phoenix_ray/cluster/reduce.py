"""The reduce step: compaction tasks as Ray tasks, published by whoever calls.

`reduce_all` waits for all of them (end of a run, `phoenix-ray compact`); a `BackgroundReduce` lets them run beside the
actors, so that a long run never piles up partitions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayTaskError

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.compaction import Compacted, compact
from phoenix_ray.dataset.compaction_plan import CompactionTask, plan_compaction
from phoenix_ray.dataset.encoding import DamagedFile
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.publication import publish
from phoenix_ray.dataset.storage import Storage, open_storage
from phoenix_ray.dataset.survey import Survey, take_survey
from phoenix_ray.dataset.videos import read_entries
from phoenix_ray.errors import PhoenixRayError


def _compact(task: CompactionTask, settings: OutputSettings) -> Compacted:
    return compact(open_storage(settings.path), task, settings)


_COMPACT = ray.remote(max_retries=3)(_compact)


def plan_tasks(storage: Storage, survey: Survey, settings: OutputSettings) -> list[CompactionTask]:
    """Return the data files that are to be written for all videos that were whole when the dataset was surveyed."""
    identity = survey.identity
    return plan_compaction(survey, lambda name: read_entries(storage, identity, name), settings.target_file_mb * 1e6)


def reduce_all(
    storage: Storage, survey: Survey, settings: OutputSettings, announce: Callable[[str], None]
) -> list[DamagedFile]:
    """Compact every whole video and publish the result; return the files whose rows proved to be damaged."""
    tasks = plan_tasks(storage, survey, settings)
    if not tasks:
        return []
    announce(f"Compacting {sum(len(task.videos) for task in tasks):,} videos into {len(tasks)} files")
    return _publish(storage, survey.identity, [_COMPACT.remote(task, settings) for task in tasks])


class BackgroundReduce:
    """Compacts beside the actors whenever enough partitions lie open.

    Args:
        storage: The dataset.
        identity: Its identity.
        settings: `compact_every` says how many partitions are enough.
    """

    def __init__(self, storage: Storage, identity: DatasetIdentity, settings: OutputSettings) -> None:
        self._storage = storage
        self._identity = identity
        self._settings = settings
        self._compacted_at = 0
        self._running: list[Any] = []
        self._damaged: list[DamagedFile] = []

    def tick(self, partitions: int) -> None:
        """Start when `partitions`, the number committed so far, has grown enough; publish when all tasks are done."""
        if self._running:
            done, _ = ray.wait(self._running, num_returns=len(self._running), timeout=0)
            if len(done) == len(self._running):
                self._damaged += _publish(self._storage, self._identity, self._running)
                self._running = []
        elif self._settings.compact and partitions - self._compacted_at >= self._settings.compact_every:
            self._compacted_at = partitions
            tasks = plan_tasks(self._storage, take_survey(self._storage, self._identity), self._settings)
            # The actors hold all CPUs; these tasks are short and run in between.
            self._running = [_COMPACT.options(num_cpus=0).remote(task, self._settings) for task in tasks]

    def finish(self) -> list[DamagedFile]:
        """Wait for tasks that run, publish them, and return the files that proved to be damaged since the start."""
        if self._running:
            self._damaged += _publish(self._storage, self._identity, self._running)
            self._running = []
        return self._damaged


def _publish(storage: Storage, identity: DatasetIdentity, tasks: list[Any]) -> list[DamagedFile]:
    """Wait for tasks and publish their results; what went wrong in one is raised as it was raised there."""
    try:
        results: list[Compacted] = ray.get(tasks)
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, PhoenixRayError) else error from None
    publish(storage, identity, results)
    return [damaged for result in results for damaged in result.damaged]
