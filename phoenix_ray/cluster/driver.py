"""The loop that keeps every actor fed until each shard is committed or given up.

No frame and no landmark passes through here: shards go out, receipts come back. Decisions are the scheduler's; this
module only translates Ray's events for it. Each turn of the loop also sees to what must go on beside the shards: the
lease is still held, a compaction starts when it is due, the number of workers fits the cluster, progress is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import ray

from phoenix_ray.cluster.actors import ActorPool
from phoenix_ray.cluster.autoscaler import Cluster
from phoenix_ray.cluster.pool_size import PoolSize
from phoenix_ray.cluster.reduce import BackgroundReduce
from phoenix_ray.cluster.run_record import RunRecord
from phoenix_ray.cluster.scheduler import Scheduler
from phoenix_ray.cluster.session import StopRequest
from phoenix_ray.cluster.shards import Assignment, GivenUp, SchedulerState, Trouble, WorkerId
from phoenix_ray.cluster.status import ShardAtWork, format_seconds
from phoenix_ray.cluster.worker import Receipt, WorkerInfo
from phoenix_ray.cluster.worker_plan import WorkerPlan
from phoenix_ray.config import Settings
from phoenix_ray.dataset.lease import Lease
from phoenix_ray.errors import ClusterError, DeviceLostError, PhoenixRayError
from phoenix_ray.text import counted

# How long the loop sleeps at most before it looks at deadlines and shows progress.
TICK_SECONDS = 0.5
# How long the driver waits at the end for copies of shards that another worker has committed.
COPY_SECONDS = 2.0
# The first message about a run in which nothing happens comes after this long; each further one after twice the time of
# the last.
QUIET_SECONDS = 60.0
# GPUs lost one after the other, with no shard computed between, that end a run: more than two bad videos cost, the
# search for their frames included (`shards.MAX_LOSSES_IN_SEARCH`).
MAX_LOSSES_IN_A_ROW = 40


class Driver:
    """Runs the shards of a scheduler on the actors of a pool.

    Args:
        settings: The run's settings.
        plan: The actors that were asked for, for messages.
        pool: The actors.
        look: Returns the nodes of the cluster as they are now.
        scheduler: Decides which shard goes where.
        record: Is notified of what happens.
        reduce: Compacts beside the actors.
        lease: The run stops when another driver has taken it.
        stop: Whether the run was asked to drain.
        begin: Called when the first worker has loaded the model, before any shard is handed out.
        clock: Seconds that only grow.
    """

    def __init__(
        self,
        settings: Settings,
        plan: WorkerPlan,
        pool: ActorPool,
        look: Callable[[], Cluster],
        scheduler: Scheduler,
        record: RunRecord,
        reduce: BackgroundReduce,
        lease: Lease,
        stop: StopRequest,
        begin: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._scheduler = scheduler
        self._record = record
        self._reduce = reduce
        self._lease = lease
        self._stop = stop
        self._begin = begin
        self._begun = False
        self._clock = clock
        self._in_flight: dict[Any, Assignment] = {}
        self._failures = 0
        self._devices_lost = 0
        self._retiring: set[WorkerId] = set()
        self._pool_size = PoolSize(settings.cluster, plan, pool, look, record.say, clock())
        self._watchdog = Watchdog(clock())

    def run(self) -> None:
        """Return when every shard is committed or given up, or when the run was stopped and has drained.

        Raises:
            ClusterError: Not one actor started in time, or none is left.
            ModelError: The model cannot be loaded.
            LeaseLostError: Another driver has taken the output over.
            DeviceLostError: Worker after worker lost its GPU, and none computed a shard.
            PhoenixRayError: What `begin` or a compaction raised; or more shards failed than `run.max_failures` allows.
        """
        drain_deadline: float | None = None
        while not self._scheduler.finished:
            now = self._clock()
            if not self._stop:
                self._feed(now)
            elif drain_deadline is None:
                drain_deadline = self._begin_drain(now)
            elif now > drain_deadline:
                self._record.say("The time to drain is over; shards in flight are left to the next run.")
                return
            else:
                self._scheduler.abandon_waiting()
            self._collect()
            self._replace_stalled(self._clock())
            self._replace_outgrown()
            self._check_workers(self._clock())
            self._record.update(
                self._scheduler.waiting,
                self._scheduler.in_flight,
                len(self._pool.ready),
                wanted=self._pool_size.wanted,
                waits_for_nodes=self._pool_size.waits_for_nodes,
                draining=bool(self._stop),
                at_work=self._at_work,
            )
            self._lease.confirm()
            self._reduce.start_when_due(self._record.partitions)
        self._await_copies()

    def _await_copies(self) -> None:
        """Let copies of committed shards end: one that is killed while it writes would leave a file."""
        if self._in_flight:
            ray.wait(list(self._in_flight), num_returns=len(self._in_flight), timeout=COPY_SECONDS)

    def _at_work(self) -> Iterator[ShardAtWork]:
        """Yield what each worker computes."""
        elapsed, now = self._clock(), time.time()
        for assignment in self._scheduler.at_work():
            if info := self._pool.info(assignment.worker):
                shard, since = assignment.shard, now - (elapsed - assignment.since)
                where = (info.node, info.process)
                yield ShardAtWork(*where, shard.video.split, shard.video.video_id, shard.first, shard.last, since)

    def _feed(self, now: float) -> None:
        fed = True
        while fed:
            fed = False
            for worker in self._pool.ready:
                if worker in self._retiring:
                    continue
                if assignment := self._scheduler.next_shard(worker, now):
                    self._in_flight[self._pool.submit(assignment)] = assignment
                    fed = True
                    if assignment.speculative:
                        self._record.shard_copied(assignment)

    def _collect(self) -> None:
        references = [*self._in_flight, *self._pool.starting]
        if not references:
            time.sleep(TICK_SECONDS)
            return
        resolved, _ = ray.wait(references, num_returns=1, timeout=TICK_SECONDS)
        if resolved:
            resolved, _ = ray.wait(references, num_returns=len(references), timeout=0)
        for reference in resolved:
            if assignment := self._in_flight.pop(reference, None):
                self._take_receipt(reference, assignment)
            elif reference in self._pool.starting:
                self._take_in(reference)

    def _take_in(self, reference: Any) -> None:
        outcome = self._pool.take_in(reference)
        if isinstance(outcome, WorkerInfo):
            if not self._begun:
                self._begin()
                self._begun = True
            self._watchdog.reset(self._clock())
            self._record.worker_ready(outcome, len(self._pool.ready))
            return
        self._record.say(outcome)
        if not self._pool.ready and not self._pool.starting:
            raise ClusterError(f"No worker is left. {outcome}")

    def _take_receipt(self, reference: Any, assignment: Assignment) -> None:
        try:
            receipt: Receipt = ray.get(reference)
        except Exception as error:
            self._lose(assignment.worker, self._pool.explain(assignment.worker, error))
            return
        if receipt.trouble is not None and receipt.trouble.device_lost:
            self._lose_device(assignment.worker, receipt.trouble)
            return
        if assignment.worker not in self._retiring and self._pool.has_outgrown(assignment.worker, receipt.memory_mb):
            self._retiring.add(assignment.worker)
            if info := self._pool.info(assignment.worker):
                self._record.worker_outgrown(info, receipt.memory_mb)
        if receipt.reached is not None:
            self._record.chain_broken(assignment, receipt.reached)
            if given_up := self._scheduler.chain_broken(assignment, receipt.reached, self._clock()):
                self._give_up(given_up)
            return
        if receipt.trouble is None:
            self._complete(assignment, receipt)
            return
        given_up = self._scheduler.failed(assignment, receipt.trouble, self._clock())
        if given_up:
            self._give_up(given_up)
        else:
            self._record.shard_retried(assignment, receipt.trouble)

    def _complete(self, assignment: Assignment, receipt: Receipt) -> None:
        self._watchdog.reset(self._clock())
        if not assignment.condemned:
            self._devices_lost = 0
        if not self._scheduler.completed(assignment, self._clock(), receipt.state):
            return
        self._record.shard_committed(assignment, receipt)
        if assignment.condemned:
            self._record.say(f"{assignment.shard} is flagged as failed: {assignment.condemned.message}")

    def _lose_device(self, worker: WorkerId, trouble: Trouble) -> None:
        """Replace a worker whose GPU is lost to it, unless this goes on and on."""
        self._devices_lost += 1
        if self._devices_lost >= MAX_LOSSES_IN_A_ROW:
            raise DeviceLostError(
                f"GPUs were lost {self._devices_lost} times and no shard was computed between, so new workers do not "
                f"help; the last, on {trouble.node or 'a node'}: {trouble.message} What is committed stays: run "
                "the same command again on other GPUs, or compute into another output with model.kernels=torch."
            )
        self._lose(worker, trouble)

    def _lose(self, worker: WorkerId, trouble: Trouble) -> None:
        self._in_flight = {
            reference: assignment for reference, assignment in self._in_flight.items() if assignment.worker != worker
        }
        given_up = self._scheduler.worker_lost(worker, trouble, self._clock())
        self._retiring.discard(worker)
        message = f"A worker was lost; its shards are tried again on another. {trouble.message}"
        self._record.say(message, "warning", "worker_lost")
        self._pool.replace(worker)
        for shard in given_up:
            self._give_up(shard)

    def _give_up(self, given_up: GivenUp) -> None:
        self._failures += 1
        self._record.shard_given_up(given_up)
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

    def _replace_outgrown(self) -> None:
        """Replace workers that hold too much memory, as soon as they have finished what was queued."""
        for worker in list(self._retiring):
            if self._scheduler.retire(worker):
                self._retiring.discard(worker)
                self._pool.replace(worker)

    def _check_workers(self, now: float) -> None:
        """Adapt the number of workers to the cluster, and say what the run waits for when nothing happens."""
        state = self._scheduler.state()
        open_shards = state.waiting + state.in_flight
        self._pool_size.update(now, open_shards)
        self._let_go(self._pool_size.surplus(open_shards))
        if self._watchdog.is_due(now):
            self._record.say(self._watchdog.message(now, state, len(self._pool.ready), len(self._pool.starting)))

    def _let_go(self, surplus: int) -> None:
        """Give up workers that no shard is left for, so that an autoscaler can remove their nodes."""
        if not surplus:
            return
        before = len(self._pool)
        idle = [worker for worker in self._pool.ready if self._scheduler.is_idle(worker)]
        for worker in self._pool.let_go(surplus, idle):
            self._scheduler.retire(worker)
            self._retiring.discard(worker)
        if gone := before - len(self._pool):
            self._record.workers_let_go(gone)

    def _begin_drain(self, now: float) -> float:
        """Hand out no more shards; return when the time to drain is over."""
        seconds = self._settings.cluster.drain_seconds
        self._scheduler.abandon_waiting()
        self._record.say(
            f"Stopping: {self._scheduler.in_flight} shards in flight have {seconds:g} s to finish. "
            "Signal again to stop at once; nothing committed is lost either way."
        )
        return now + seconds


class Watchdog:
    """Notices when nothing was committed and no worker became ready for a while, so that nobody guesses why."""

    def __init__(self, now: float) -> None:
        self.reset(now)

    def reset(self, now: float) -> None:
        """Start to wait anew: something has happened."""
        self._since = now
        self._wait = QUIET_SECONDS

    def is_due(self, now: float) -> bool:
        """Return whether it is time for a message; if so, the next comes after twice the time."""
        if now - self._since < self._wait:
            return False
        self._wait *= 2
        return True

    def message(self, now: float, state: SchedulerState, ready: int, starting: int) -> str:
        """Return what the run waits for, given how many workers are ready and how many have not started yet."""
        parts = [f"Nothing was committed for {format_seconds(now - self._since)}."]
        if state.oldest:
            since = format_seconds(now - state.oldest.since)
            in_flight = counted(state.in_flight, "shard")
            parts.append(f"In flight: {in_flight}, the longest for {since}: {state.oldest.shard}.")
        if state.next_try is not None:
            pause = format_seconds(max(0.0, state.next_try - now))
            parts.append(f"{counted(state.delayed, 'shard')} wait for storage or nodes, the next try is in {pause}.")
        if state.waiting > state.delayed:
            parts.append(f"{counted(state.waiting - state.delayed, 'shard')} wait for a worker.")
        coming = f", {starting} starting or waiting for room in the cluster" if starting else ""
        parts.append(f"Workers: {ready} ready{coming}.")
        return " ".join(parts)
