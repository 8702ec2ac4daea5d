"""The loop that keeps every actor fed until each shard is committed or given up.

No frame and no landmark passes through here: shards go out, receipts come back. Decisions are the scheduler's; this
module only turns Ray's events into its words.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import ray

from phoenix_ray.cluster.actors import ActorPool
from phoenix_ray.cluster.assignment import Assignment, WorkerId
from phoenix_ray.cluster.blame import GivenUp, Trouble
from phoenix_ray.cluster.resources import WorkerPlan
from phoenix_ray.cluster.scheduler import Scheduler
from phoenix_ray.cluster.staffing import Staffing
from phoenix_ray.cluster.stop import StopRequest
from phoenix_ray.cluster.watchdog import Watchdog
from phoenix_ray.cluster.worker import Receipt, WorkerInfo
from phoenix_ray.config import Settings
from phoenix_ray.errors import ClusterError, PhoenixRayError

# How long the loop sleeps at the most before it looks at deadlines and reports progress.
TICK_SECONDS = 0.5


class Listener(Protocol):
    """What wants to know how the run goes on (progress, failure list, compaction)."""

    def worker_ready(self, info: WorkerInfo, ready: int) -> None:
        """Take note of an actor that takes shards from now on."""

    def committed(self, assignment: Assignment, receipt: Receipt) -> None:
        """Take note of a shard that is committed."""

    def retried(self, assignment: Assignment, trouble: Trouble) -> None:
        """Take note of an attempt that failed and will be repeated."""

    def given_up(self, given_up: GivenUp) -> None:
        """Take note of a shard that goes to the failure list."""

    def doubled(self, assignment: Assignment) -> None:
        """Take note that an idle worker does a shard of another one too."""

    def outgrown(self, info: WorkerInfo, memory_mb: float) -> None:
        """Take note of a worker that gets no more shards, and is replaced, because of the memory it holds."""

    def tell(self, message: str) -> None:
        """Tell the user something that is no failure of a shard."""

    def tick(self, scheduler: Scheduler, workers: int) -> None:
        """Do what is due; called about twice a second."""


class Driver:
    """Runs the shards of a scheduler on the actors of a pool.

    Args:
        settings: Of the run.
        plan: The actors that were asked for, for messages.
        pool: The actors.
        scheduler: Which shard goes where.
        listener: Who is told.
        stop: Whether to drain.
        begin: Called when the first worker has loaded the model, before any shard is handed out.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        settings: Settings,
        plan: WorkerPlan,
        pool: ActorPool,
        scheduler: Scheduler,
        listener: Listener,
        stop: StopRequest,
        begin: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._scheduler = scheduler
        self._listener = listener
        self._stop = stop
        self._begin = begin
        self._begun = False
        self._clock = clock
        self._flying: dict[Any, Assignment] = {}
        self._failures = 0
        self._retiring: set[WorkerId] = set()
        self._staffing = Staffing(settings.cluster, plan, pool, listener.tell, clock())
        self._watchdog = Watchdog(clock())

    def run(self) -> None:
        """Return when every shard is committed or given up, or when the run was stopped and has drained.

        Raises:
            ClusterError: Not one actor started in time, or none is left.
            ModelError: The model cannot be loaded.
            PhoenixRayError: What `begin` raised; or more shards failed than `run.max_failures` allows.
        """
        drain_deadline: float | None = None
        while not self._scheduler.finished:
            now = self._clock()
            if not self._stop:
                self._feed(now)
            elif drain_deadline is None:
                drain_deadline = self._begin_drain(now)
            elif now > drain_deadline:
                self._listener.tell("The time to drain is over; shards in flight are left to the next run.")
                return
            else:
                self._scheduler.abandon_waiting()
            self._collect()
            self._replace_stalled(self._clock())
            self._recycle()
            self._look_around(self._clock())
            self._listener.tick(self._scheduler, len(self._pool.ready))

    def _feed(self, now: float) -> None:
        fed = True
        while fed:
            fed = False
            for worker in self._pool.ready:
                if worker in self._retiring:
                    continue
                if assignment := self._scheduler.next_shard(worker, now):
                    self._flying[self._pool.submit(assignment)] = assignment
                    fed = True
                    if assignment.double:
                        self._listener.doubled(assignment)

    def _collect(self) -> None:
        references = [*self._flying, *self._pool.starting]
        if not references:
            time.sleep(TICK_SECONDS)
            return
        resolved, _ = ray.wait(references, num_returns=1, timeout=TICK_SECONDS)
        if resolved:
            resolved, _ = ray.wait(references, num_returns=len(references), timeout=0)
        for reference in resolved:
            if assignment := self._flying.pop(reference, None):
                self._settle(reference, assignment)
            elif reference in self._pool.starting:
                self._take_in(reference)

    def _take_in(self, reference: Any) -> None:
        outcome = self._pool.take_in(reference)
        if isinstance(outcome, WorkerInfo):
            if not self._begun:
                self._begin()
                self._begun = True
            self._watchdog.stir(self._clock())
            self._listener.worker_ready(outcome, len(self._pool.ready))
            return
        self._listener.tell(outcome)
        if not self._pool.ready and not self._pool.starting:
            raise ClusterError(f"No worker is left. {outcome}")

    def _settle(self, reference: Any, assignment: Assignment) -> None:
        try:
            receipt: Receipt = ray.get(reference)
        except Exception as error:
            self._lose(assignment.worker, self._pool.explain(assignment.worker, error))
            return
        if assignment.worker not in self._retiring and self._pool.has_outgrown(assignment.worker, receipt.memory_mb):
            self._retiring.add(assignment.worker)
            if info := self._pool.info(assignment.worker):
                self._listener.outgrown(info, receipt.memory_mb)
        if receipt.trouble is None:
            self._count(assignment, receipt)
            return
        given_up = self._scheduler.failed(assignment, receipt.trouble, self._clock())
        if given_up:
            self._give_up(given_up)
        else:
            self._listener.retried(assignment, receipt.trouble)

    def _count(self, assignment: Assignment, receipt: Receipt) -> None:
        self._watchdog.stir(self._clock())
        if not self._scheduler.completed(assignment, self._clock()):
            return
        self._listener.committed(assignment, receipt)
        if assignment.condemned:
            self._listener.tell(f"{assignment.shard} is flagged as failed: {assignment.condemned.message}")

    def _lose(self, worker: WorkerId, trouble: Trouble) -> None:
        lost = {reference: one for reference, one in self._flying.items() if one.worker == worker}
        for reference in lost:
            del self._flying[reference]
        given_up = self._scheduler.worker_lost(worker, trouble, self._clock())
        self._retiring.discard(worker)
        self._listener.tell(f"A worker was lost; its shards are tried again on another. {trouble.message}")
        self._pool.replace(worker)
        for one in given_up:
            self._give_up(one)

    def _give_up(self, given_up: GivenUp) -> None:
        self._failures += 1
        self._listener.given_up(given_up)
        limit = self._settings.run.max_failures
        if 0 <= limit < self._failures:
            raise PhoenixRayError(
                f"{self._failures} shards failed, more than run.max_failures={limit} allows; the last one: "
                f"{given_up.shard}: {given_up.trouble.message}"
            )

    def _replace_stalled(self, now: float) -> None:
        stall = self._settings.cluster.stall_seconds
        for worker in {assignment.worker for assignment in self._scheduler.overdue(now, stall)}:
            self._lose(
                worker,
                Trouble("model", f"No answer in time (cluster.stall_seconds={stall:g}).", fatal=True),
            )

    def _recycle(self) -> None:
        """Replace workers that hold too much memory, as soon as they have finished what was queued."""
        for worker in list(self._retiring):
            if self._scheduler.retire(worker):
                self._retiring.discard(worker)
                self._pool.replace(worker)

    def _look_around(self, now: float) -> None:
        """See to the number of workers, and say what the run waits for when nothing happens."""
        outlook, ready = self._scheduler.outlook(), len(self._pool.ready)
        self._staffing.watch(now, outlook.waiting + outlook.in_flight)
        if self._watchdog.is_due(now):
            self._listener.tell(self._watchdog.word(now, outlook, ready, len(self._pool.starting)))

    def _begin_drain(self, now: float) -> float:
        seconds = self._settings.cluster.drain_seconds
        self._scheduler.abandon_waiting()
        self._listener.tell(
            f"Stopping: {self._scheduler.in_flight} shards in flight have {seconds:g} s to finish. "
            "Signal again to stop at once; nothing committed is lost either way."
        )
        return now + seconds
