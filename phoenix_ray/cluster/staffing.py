"""Whether a run has the workers it asked for: told when there are fewer, taken in when the cluster grows.

Called by the driver's loop; the actors themselves are the pool's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import ray

from phoenix_ray.cluster.actors import ActorPool
from phoenix_ray.cluster.resources import WorkerPlan, plan_workers, shortage
from phoenix_ray.config import ClusterSettings
from phoenix_ray.errors import ClusterError

# How often to look whether the cluster has grown.
LOOK_SECONDS = 5.0


class Staffing:
    """Watches the number of workers.

    Args:
        settings: What was asked for.
        plan: What that came to when the run began.
        pool: The actors.
        tell: Told of a shortage and of growth.
        now: The present.
    """

    def __init__(
        self, settings: ClusterSettings, plan: WorkerPlan, pool: ActorPool, tell: Callable[[str], None], now: float
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._pool = pool
        self._tell = tell
        self._began = self._seen = self._looked = now
        self._start_judged = False

    def watch(self, now: float, open_shards: int) -> None:
        """Tell once of too few workers, and create more when the cluster has room and `open_shards` need them.

        Raises:
            ClusterError: There has been no worker for too long.
        """
        ready = len(self._pool.ready)
        if not ready:
            self._wait(now)
            return
        self._seen = now
        if not self._start_judged:
            self._judge_start(ready, waited=now - self._began)
        elif now - self._looked > LOOK_SECONDS:
            self._looked = now
            self._grow(open_shards)

    def _wait(self, now: float) -> None:
        limits = {name: getattr(self._settings, name) for name in ("start_seconds", "stall_seconds")}
        # Workers that were lost need the time to start again, whatever a shard may take.
        name = max(limits, key=lambda name: limits[name]) if self._start_judged else "start_seconds"
        if now - self._seen > limits[name]:
            raise ClusterError(
                f"No worker for {now - self._seen:.0f} s (cluster.{name}). Asked for {self._plan}; the cluster "
                f"has {_amounts(ray.cluster_resources())}, free are {_amounts(ray.available_resources())}. What is "
                "committed is kept; the same command goes on from there."
            )

    def _judge_start(self, ready: int, waited: float) -> None:
        """Look no further once all are there; tell of a shortage when the cluster is full or the wait is over."""
        resources = ray.cluster_resources()
        if ready >= self._plan.capacity(resources) or waited > self._settings.start_seconds:
            self._start_judged = True
            if ready < self._plan.count:
                self._tell(shortage(self._plan, ready, resources))

    def _grow(self, open_shards: int) -> None:
        """Take in nodes that joined, where the number of workers follows the cluster."""
        if self._settings.num_workers != "auto":
            return
        resources = ray.cluster_resources()
        try:
            planned = plan_workers(self._settings, resources, engine_uses_gpu=self._plan.gpus > 0)
        except ClusterError:
            # Nodes have left, and those that remain hold no worker; the ones that were asked for wait for others.
            return
        if created := self._pool.grow(min(planned.count, open_shards)):
            self._plan = replace(self._plan, count=planned.count)
            self._tell(f"{created} more workers: the cluster now has {_amounts(resources)}.")


def _amounts(resources: Mapping[str, float]) -> str:
    return f"{resources.get('CPU', 0):g} CPU, {resources.get('GPU', 0):g} GPU"
