"""The actors of a run: created at once, taken in as they become ready, replaced when they die, let go when idle.

The driver alone decides about retries, so Ray restarts and retries nothing here. `cluster.pool_size` decides how many
actors there are.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError

from phoenix_ray.cluster.chains import shards_at_once
from phoenix_ray.cluster.shards import Assignment, Trouble, WorkerId
from phoenix_ray.cluster.worker import ShardWorker, WorkerInfo
from phoenix_ray.cluster.worker_plan import WorkerPlan
from phoenix_ray.config import Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.errors import ClusterError, PhoenixRayError
from phoenix_ray.models import registry

# Actors that die while they start (no memory, another version of the package) are created this often before the run
# stops, provided none has ever started.
MAX_FAILED_STARTS = 3
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
        self._left_out = 0
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

    def __len__(self) -> int:
        """Actors, ready or not."""
        return len(self._members)

    def grow(self, count: int) -> int:
        """Create actors until there are `count`, and return how many were created.

        Those that were left out count: others in their place would not start either.
        """
        missing = max(0, count - len(self._members) - self._left_out)
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
            self._left_out += 1
            return f"A worker could not start and is left out: {error.cause}"
        except RayActorError as error:
            self._failed_starts += not _lost_its_node(error)
            if self._failed_starts >= MAX_FAILED_STARTS and not self._ever_started:
                raise ClusterError(
                    f"Workers die while they start, {self._failed_starts} of {self._failed_starts}. "
                    f"{_cause_of_failed_start(error)}"
                ) from None
            self.replace(worker)
            return f"A worker died while it started and is replaced. {_missing_module(error) or _cause_of_death(error)}"
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

    def let_go(self, count: int, idle: Collection[WorkerId]) -> list[WorkerId]:
        """Kill up to `count` actors that have nothing to do, and return those that were ready.

        Those that wait for a place or still start go first; then those on nodes with the fewest others at work, so that
        whole nodes become free.
        """
        for reference, worker in list(self._starting.items())[::-1][:count]:
            del self._starting[reference]
            self._kill(self._members.pop(worker).handle)
            count -= 1
        nodes = {worker: member.info.node_id for worker, member in self._members.items() if member.info}
        at_work = Counter(node for worker, node in nodes.items() if worker not in idle)
        chosen = sorted(idle, key=lambda worker: (at_work[nodes[worker]], nodes[worker]))[:count]
        for worker in chosen:
            self._kill(self._members.pop(worker).handle)
        return chosen

    def explain(self, worker: WorkerId, error: Exception) -> Trouble:
        """Return what is to blame for the loss of a worker.

        An actor whose process died on a living node may have been killed by its shard. The loss of an actor that cannot
        be reached, or whose node left, is the infrastructure's.
        """
        info = self._members[worker].info
        node = info.node if info else ""
        if isinstance(error, ActorDiedError) and info and not _lost_its_node(error) and _is_alive(info.node_id):
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


def memory_limit(setting: int | Literal["auto"], warm_mb: float) -> float:
    """Return the MB a worker may hold, by `cluster.recycle_memory_mb` and by what it held after its first shard."""
    if setting == "auto":
        return max(GROWTH_FACTOR * warm_mb, warm_mb + LEAST_GROWTH_MB)
    return setting or math.inf


def _is_alive(node_id: str) -> bool:
    return any(node["NodeID"] == node_id and node["Alive"] for node in ray.nodes())


def _lost_its_node(error: RayActorError) -> bool:
    """Whether Ray says that an actor ended with its node, which may still be listed as alive for a moment."""
    return error.preempted or "its node has died" in str(error)


def _cause_of_death(error: RayActorError) -> str:
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
