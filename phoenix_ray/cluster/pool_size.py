"""How many actors a run has: it follows the cluster, says what is missing, and ends the run where no worker comes.

Actors that wait for a place are what makes an autoscaler bring nodes, and idle ones are what keeps nodes from going. So
on an autoscaling cluster the number also follows the work that is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import ray

from phoenix_ray.cluster.actors import ActorPool
from phoenix_ray.cluster.autoscaler import Cluster
from phoenix_ray.cluster.status import format_seconds
from phoenix_ray.cluster.worker_plan import WorkerPlan, shortage, workers_wanted
from phoenix_ray.config import ClusterSettings
from phoenix_ray.errors import ClusterError
from phoenix_ray.text import counted

# How often to look whether the cluster has grown.
LOOK_SECONDS = 5.0
# Workers kept beyond the shards that are left: one can take a copy of the slowest shard, or the place of a lost worker.
SPARE_WORKERS = 1


class PoolSize:
    """Keeps the number of actors in step with the cluster; the driver's loop calls `update`.

    Args:
        settings: What was asked for.
        plan: What that came to when the run began.
        pool: The actors.
        look: Returns the nodes as they are now.
        say: Receives a line about a wait for nodes, a shortage or growth.
        now: The present, on the driver's clock.

    Attributes:
        waits_for_nodes: Whether there is no worker, and no node that could hold one.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        plan: WorkerPlan,
        pool: ActorPool,
        look: Callable[[], Cluster],
        say: Callable[[str], None],
        now: float,
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._pool = pool
        self._look = look
        self._say = say
        self._began = self._last_ready = self._last_look = now
        self._start_is_over = False
        self._cluster = look()
        # Nodes that come do not shorten the time: their workers still have to load the model.
        self._patience = self._cluster.start_seconds(settings)
        self._awaited_nodes = self._cluster.awaits_nodes
        self.waits_for_nodes = False
        self._note_wait()

    @property
    def wanted(self) -> int:
        """How many actors there are to be."""
        return self._plan.count

    def update(self, now: float, open_shards: int) -> None:
        """Report a shortage of workers once, and create more when the cluster has room and `open_shards` need them.

        Raises:
            ClusterError: There has been no worker for too long.
        """
        ready = len(self._pool.ready)
        looks = now - self._last_look > LOOK_SECONDS
        if looks:
            self._last_look = now
            self._cluster = self._look()
        if not ready:
            self._note_wait()
            self._check_patience(now)
        else:
            self.waits_for_nodes = False
            self._last_ready = now
            if not self._start_is_over:
                self._check_start(ready, waited=now - self._began)
                return
        if looks and (self._start_is_over or self._awaited_nodes):
            self._grow(open_shards)

    def surplus(self, open_shards: int) -> int:
        """Return how many actors an autoscaling cluster holds for nothing, now that so many shards are left."""
        return max(0, len(self._pool) - open_shards - SPARE_WORKERS) if self._cluster.autoscales else 0

    def _note_wait(self) -> None:
        before, self.waits_for_nodes = self.waits_for_nodes, not self._plan.capacity(self._cluster.resources)
        if self.waits_for_nodes and not before:
            name, seconds = self._limit()
            self._say(
                f"Waiting for nodes: the cluster has {_amounts(self._cluster.resources)}, too little for a worker. The "
                f"run waits up to {format_seconds(seconds)} (cluster.{name})."
            )

    def _limit(self) -> tuple[str, float]:
        """Return the setting that says how long the run may be without a worker, and its seconds."""
        limits = {"start_seconds": self._patience, "stall_seconds": self._settings.stall_seconds}
        # Workers that were lost need the time to start again, whatever a shard may take.
        name = max(limits, key=lambda name: limits[name]) if self._start_is_over else "start_seconds"
        return name, limits[name]

    def _check_patience(self, now: float) -> None:
        name, seconds = self._limit()
        if now - self._last_ready > seconds:
            no_nodes = " No node that could hold one has come: `ray status` on the head says why."
            raise ClusterError(
                f"No worker for {now - self._last_ready:.0f} s (cluster.{name}). Asked for {self._plan}; the cluster "
                f"has {_amounts(ray.cluster_resources())}, free are {_amounts(ray.available_resources())}."
                f"{no_nodes if self.waits_for_nodes else ''} What is committed is kept; the same run goes on from "
                "there."
            )

    def _check_start(self, ready: int, waited: float) -> None:
        """End the start once all workers are there; report a shortage when the cluster is full or the wait is over."""
        cluster = self._cluster = self._look()
        if cluster.autoscales and self._settings.num_workers == "auto":
            # The number was a guess at what the autoscaler may bring.
            self._start_is_over = True
            return
        is_full = ready >= self._plan.capacity(cluster.resources) and not cluster.autoscales
        if ready >= self._plan.count or is_full or waited > self._patience:
            self._start_is_over = True
            if ready < self._plan.count:
                self._say(shortage(self._plan, ready, cluster))

    def _grow(self, open_shards: int) -> None:
        """Use nodes that joined, where the number of workers follows the cluster; replace those let go too early."""
        try:
            wanted = workers_wanted(self._settings, self._cluster, open_shards, engine_uses_gpu=self._plan.gpus > 0)
        except ClusterError:
            # Nodes have left, and those that remain hold no worker; the workers that were asked for wait for others.
            return
        if created := self._pool.grow(wanted.count):
            self._plan = replace(self._plan, count=max(self._plan.count, wanted.count))
            self._say(f"{counted(created, 'more worker')}: the cluster now has {_amounts(self._cluster.resources)}.")


def _amounts(resources: Mapping[str, float]) -> str:
    return f"{resources.get('CPU', 0):g} CPU, {resources.get('GPU', 0):g} GPU"
