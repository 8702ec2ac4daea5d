"""The actors of a run: created all at once, taken in as they become ready, replaced when they die or grow too large.

The driver alone decides about retries, so Ray restarts and retries nothing here. `PoolSize` adds actors when the
cluster grows, and reports when there are fewer than were asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError

from phoenix_ray.cluster.chains import shards_at_once
from phoenix_ray.cluster.session import WorkerPlan, plan_workers, shortage
from phoenix_ray.cluster.shards import Assignment, Trouble, WorkerId
from phoenix_ray.cluster.worker import ShardWorker, WorkerInfo
from phoenix_ray.config import ClusterSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.errors import ClusterError, PhoenixRayError
from phoenix_ray.models import registry
from phoenix_ray.text import counted

# Actors that die while they start (no memory, another version of the package) are created this often before the run
# stops, provided none has ever started.
MAX_FAILED_STARTS = 3
# How often to look whether the cluster has grown.
LOOK_SECONDS = 5.0
# With `cluster.recycle_memory_mb=auto` an actor may grow to this many times what it held after its first shard, and by
# this many MB at the least: longer videos and larger pictures take more than the first did.
GROWTH_FACTOR = 3.0
LEAST_GROWTH_MB = 1024.0


@ray.remote
class ShardActor(ShardWorker):
    """A `ShardWorker` in a process of its own, which also knows its node's name in Ray."""

    def ready(self) -> WorkerInfo:
        """Load the model and answer, with the node's ID in Ray."""
        # Arrow's own allocator keeps what each thread once took, here 20 MB more, and does not encode faster.
        pa.set_memory_pool(pa.system_memory_pool())
        return replace(super().ready(), node_id=ray.get_runtime_context().get_node_id())


@dataclass(slots=True)
class _Member:
    handle: Any
    info: WorkerInfo | None = None
    warm_mb: float | None = None


class ActorPool:
    """The actors of one run; each gets its settings and the identity of its dataset."""

    def __init__(self, plan: WorkerPlan, settings: Settings, identity: DatasetIdentity) -> None:
        self._plan = plan
        self._recycle_memory_mb = settings.cluster.recycle_memory_mb
        self._arguments = (settings, identity)
        # One call computes (in mode tracking a batch of them), the others write; `ShardWorker` sees to that.
        self._calls_at_once = shards_at_once(registry.facts(settings.model)) + settings.cluster.shards_in_flight - 1
        self._members: dict[WorkerId, _Member] = {}
        self._starting: dict[Any, WorkerId] = {}
        self._created = 0
        self._failed_starts = 0
        self._ever_started = False
        self.grow(plan.count)

    @property
    def ready(self) -> list[WorkerId]:
        """Workers that take shards."""
        return [worker for worker, member in self._members.items() if member.info]

    @property
    def starting(self) -> list[Any]:
        """References that resolve when an actor is ready; pass each that did to `take_in`."""
        return list(self._starting)

    def grow(self, count: int) -> int:
        """Create actors until there are `count`, and return how many were created."""
        missing = max(0, count - len(self._members))
        for _ in range(missing):
            self._create()
        return missing

    def info(self, worker: WorkerId) -> WorkerInfo | None:
        """Return what a worker reported about itself; None before it is ready."""
        return self._members[worker].info

    def take_in(self, reference: Any) -> WorkerInfo | str:
        """Return an actor whose start has resolved, now ready, or a message that says why it did not start.

        An actor that died while it started is replaced. An actor whose node cannot load the model is not, as long as
        others can.

        Raises:
            PhoenixRayError: The model cannot be loaded, and no actor has started yet that could.
            ClusterError: Actors die while they start, again and again.
        """
        worker = self._starting.pop(reference)
        try:
            info: WorkerInfo = ray.get(reference)
        except RayTaskError as error:
            if not self._ever_started:
                raise error.cause if isinstance(error.cause, PhoenixRayError) else error from None
            self._kill(self._members.pop(worker).handle)
            return f"A worker could not start and is left out: {error.cause}"
        except RayActorError as error:
            self._failed_starts += 1
            if self._failed_starts >= MAX_FAILED_STARTS and not self._ever_started:
                raise ClusterError(
                    f"Workers die while they start, {self._failed_starts} of {self._failed_starts}. "
                    f"{_cause_of_failed_start(error)}"
                ) from None
            self.replace(worker)
            return f"A worker died while it started and is replaced. {_missing_module(error) or _first_line(error)}"
        self._ever_started = True
        self._members[worker].info = info
        return info

    def submit(self, assignment: Assignment) -> Any:
        """Queue a shard at its worker and return the reference of its receipt."""
        handle = self._members[assignment.worker].handle
        if assignment.condemned:
            return handle.flag.remote(assignment.shard, assignment.condemned.message, assignment.start)
        return handle.process.remote(assignment.shard, assignment.start)

    def has_outgrown(self, worker: WorkerId, memory_mb: float) -> bool:
        """Whether a worker that holds this much memory after a shard should be replaced before its node runs out."""
        member = self._members[worker]
        if member.warm_mb is None:
            member.warm_mb = memory_mb
        return memory_mb > memory_limit(self._recycle_memory_mb, member.warm_mb)

    def replace(self, worker: WorkerId) -> None:
        """Kill what is left of an actor and create another in its place."""
        self._kill(self._members.pop(worker).handle)
        self._create()

    def explain(self, worker: WorkerId, error: Exception) -> Trouble:
        """Return what is to blame for the loss of a worker.

        An actor whose process died on a living node may have been killed by its shard. The loss of an actor that cannot
        be reached, or whose node left, is the infrastructure's.
        """
        info = self._members[worker].info
        node = info.node if info else ""
        if isinstance(error, ActorDiedError) and info and _is_alive(info.node_id):
            return Trouble("model", f"The worker process died. {_cause_of_death(error)}", node=node, fatal=True)
        if isinstance(error, ActorUnavailableError | ActorDiedError):
            return Trouble("infrastructure", f"Node {node} was lost or could not be reached.", str(error), node)
        return Trouble("model", _first_line(error), str(error), node)

    def close(self) -> None:
        """Kill all actors and wait until their resources are free."""
        handles = [member.handle for member in self._members.values()]
        self._members.clear()
        self._starting.clear()
        for handle in handles:
            self._kill(handle)

    def _create(self) -> None:
        self._created += 1
        options = self._plan.actor_options() | {"max_concurrency": self._calls_at_once}
        handle = ShardActor.options(**options).remote(*self._arguments)  # type: ignore[attr-defined]
        self._members[self._created] = _Member(handle)
        self._starting[handle.ready.remote()] = self._created

    @staticmethod
    def _kill(handle: Any) -> None:
        with suppress(RayActorError):
            ray.kill(handle)


class PoolSize:
    """Keeps the number of actors in step with the cluster; the driver's loop calls `update`.

    Args:
        settings: What was asked for.
        plan: What that came to when the run began.
        pool: The actors.
        say: Receives a line about a shortage or about growth.
        now: The present, on the driver's clock.
    """

    def __init__(
        self, settings: ClusterSettings, plan: WorkerPlan, pool: ActorPool, say: Callable[[str], None], now: float
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._pool = pool
        self._say = say
        self._began = self._last_ready = self._last_look = now
        self._start_is_over = False

    def update(self, now: float, open_shards: int) -> None:
        """Report a shortage of workers once, and create more when the cluster has room and `open_shards` need them.

        Raises:
            ClusterError: There has been no worker for too long.
        """
        ready = len(self._pool.ready)
        if not ready:
            self._check_patience(now)
            return
        self._last_ready = now
        if not self._start_is_over:
            self._check_start(ready, waited=now - self._began)
        elif now - self._last_look > LOOK_SECONDS:
            self._last_look = now
            self._grow(open_shards)

    def _check_patience(self, now: float) -> None:
        limits = {name: getattr(self._settings, name) for name in ("start_seconds", "stall_seconds")}
        # Workers that were lost need the time to start again, whatever a shard may take.
        name = max(limits, key=lambda name: limits[name]) if self._start_is_over else "start_seconds"
        if now - self._last_ready > limits[name]:
            raise ClusterError(
                f"No worker for {now - self._last_ready:.0f} s (cluster.{name}). Asked for {self._plan}; the cluster "
                f"has {_amounts(ray.cluster_resources())}, free are {_amounts(ray.available_resources())}. What is "
                "committed is kept; the same command goes on from there."
            )

    def _check_start(self, ready: int, waited: float) -> None:
        """End the start once all workers are there; report a shortage when the cluster is full or the wait is over."""
        resources = ray.cluster_resources()
        if ready >= self._plan.capacity(resources) or waited > self._settings.start_seconds:
            self._start_is_over = True
            if ready < self._plan.count:
                self._say(shortage(self._plan, ready, resources))

    def _grow(self, open_shards: int) -> None:
        """Use nodes that joined, where the number of workers follows the cluster."""
        if self._settings.num_workers != "auto":
            return
        resources = ray.cluster_resources()
        try:
            planned = plan_workers(self._settings, resources, engine_uses_gpu=self._plan.gpus > 0)
        except ClusterError:
            # Nodes have left, and those that remain hold no worker; the workers that were asked for wait for others.
            return
        if created := self._pool.grow(min(planned.count, open_shards)):
            self._plan = replace(self._plan, count=planned.count)
            self._say(f"{counted(created, 'more worker')}: the cluster now has {_amounts(resources)}.")


def memory_limit(setting: int | Literal["auto"], warm_mb: float) -> float:
    """Return the MB a worker may hold, by `cluster.recycle_memory_mb` and by what it held after its first shard."""
    if setting == "auto":
        return max(GROWTH_FACTOR * warm_mb, warm_mb + LEAST_GROWTH_MB)
    return setting or math.inf


def _is_alive(node_id: str) -> bool:
    return any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes())


def _cause_of_death(error: ActorDiedError) -> str:
    """Return the part of Ray's message that says how a process ended; the rest guesses and speaks of actors."""
    detail = re.search(r"Worker exit detail: (.*?)(?: Some common causes|\n|$)", str(error))
    return detail[1] if detail else _first_line(error)


def _cause_of_failed_start(error: RayActorError) -> str:
    return _missing_module(error) or (
        f"Is phoenix_ray installed on every node, in this version, with enough memory for the model? Ray says: {error}"
    )


def _missing_module(error: RayActorError) -> str:
    """Return what to install, if Ray's message says that an actor's process lacks a module; else an empty text."""
    found = re.search(r"No module named '([\w.]+)'", str(error))
    if not found:
        return ""
    node = re.search(r"\(pid=\d+, ip=([\w.:]+)", str(error))
    return (
        f"The Python that started Ray on {f'node {node[1]}' if node else 'a node'} has no module '{found[1]}'. "
        "Install phoenix_ray in that environment, with the packages it needs: pip install CHECKOUT (jobs/README.md)."
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _amounts(resources: Mapping[str, float]) -> str:
    return f"{resources.get('CPU', 0):g} CPU, {resources.get('GPU', 0):g} GPU"
