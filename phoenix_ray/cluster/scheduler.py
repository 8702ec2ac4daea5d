"""Which shard goes to which worker, and what a failure means for it.

A state machine without Ray and without a clock of its own, so that every decision has a test. The driver reports what
happened (`completed`, `failed`, `worker_lost`, `retire`) and asks for work (`next_shard`).

Who is to blame is decided by one rule: **a shard is charged only for what happens while it runs alone.** A worker that
dies with two shards in flight makes both *suspects*; each suspect is tried again on a worker that has nothing else to
do, so an innocent neighbour is never lost. `cluster.shards` decides what a charge means for the shard. Trouble of the
infrastructure (a node, the storage) is retried with back-off and charged to nobody.

When nothing waits, an idle worker computes a speculative copy of a busy worker's shard: a shard's partition has one
name and one content, so two workers may compute it. The first to commit wins, and the run does not wait for the other.

In mode tracking the pending shards are chains (`cluster.chains`): a worker gets one link at a time, and the next link
becomes the first of all that wait when that is committed. The longest chain bounds the end of a run, so a link that
another waits for never waits behind a shard, nor shares a worker with more shards than the worker computes at once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.cluster.backoff import DelayedShards
from phoenix_ray.cluster.chains import Chains
from phoenix_ray.cluster.shard_queue import ShardQueue, Shards
from phoenix_ray.cluster.shards import Assignment, Blame, GivenUp, SchedulerState, ShardState, Ticket, Trouble, WorkerId
from phoenix_ray.cluster.speculation import Pace, choose_copy, patience
from phoenix_ray.dataset.shards import Shard, ShardKey

# Infrastructure is never charged to a shard, but a storage that fails for ever must not keep a run alive for ever.
MAX_INFRASTRUCTURE_RETRIES = 8
# Said of a shard whose chain breaks again and again.
LOST_AGAIN = "The frames before it are lost whenever they are computed: something removes or damages partitions."


class Scheduler:
    """Shards waiting, in flight and given up.

    Args:
        shards: What to compute, in the order to start it.
        shards_in_flight: Shards queued at a worker that computes one after the other.
        blame: Decides what is done about a shard that fails.
        chains: Which shards follow others; without it none does.
        at_once: Shards that a worker computes at once. It gets no more than its share of those that are left, so that
            the first worker that is ready does not take them all.
        workers: How many workers there will be.
    """

    def __init__(
        self,
        shards: Shards,
        shards_in_flight: int,
        blame: Blame,
        chains: Chains | None = None,
        at_once: int = 1,
        workers: int = 1,
    ) -> None:
        self._pending = ShardQueue(shards)
        self._suspects: deque[ShardState] = deque()
        self._condemned: deque[ShardState] = deque()
        self._delayed = DelayedShards()
        # A shard is open from its first assignment until it is committed or given up, and open shards alone are here.
        self._open: dict[ShardKey, ShardState] = {}
        self._in_flight: dict[WorkerId, dict[Ticket, Assignment]] = {}
        self._began: dict[WorkerId, float] = {}
        self._reserved: set[WorkerId] = set()
        self._at_once = at_once
        self._workers = workers
        self._shards_in_flight = shards_in_flight if at_once == 1 else at_once
        self._blame = blame
        self._chains = chains or Chains()
        self._pace = Pace()
        self._tickets = 0

    @property
    def waiting(self) -> int:
        """Shards that no worker has."""
        return len(self._pending) + len(self._suspects) + len(self._condemned) + len(self._delayed)

    @property
    def in_flight(self) -> int:
        """Shards that a worker has and that nobody has committed."""
        return sum(state.copies > 0 for state in self._open.values())

    @property
    def finished(self) -> bool:
        """Whether every shard is committed or given up; a worker may still compute one that another was faster at."""
        return not self.waiting and not self.in_flight

    def state(self) -> SchedulerState:
        """Return what the run waits for."""
        assignments = [assignment for queue in self._in_flight.values() for assignment in queue.values()]
        oldest = min(assignments, key=lambda assignment: assignment.since, default=None)
        return SchedulerState(self.waiting, self.in_flight, oldest, len(self._delayed), self._delayed.next_try)

    def next_shard(self, worker: WorkerId, now: float) -> Assignment | None:
        """Return the next shard for a worker, or None when it has enough or there is nothing for it now."""
        for state in self._delayed.release(now):
            self._enqueue(state)
        queue = self._in_flight.setdefault(worker, {})
        if any(assignment.alone for assignment in queue.values()):
            return None
        if self._suspects and (worker in self._reserved or len(self._reserved) < len(self._suspects)):
            if queue:
                self._reserved.add(worker)
                return None
            self._reserved.discard(worker)
            return self._assign(worker, self._suspects.popleft(), now, alone=True)
        self._reserved.discard(worker)
        if len(queue) >= self._most_at_a_worker():
            return None
        if self._condemned:
            return self._assign(worker, self._condemned.popleft(), now)
        if self._pending:
            return self._take_pending(worker, now)
        return self._assign_copy(worker, now) if not queue and not self._delayed else None

    def _take_pending(self, worker: WorkerId, now: float) -> Assignment | None:
        queue = self._in_flight[worker]
        found = self._pending.take(
            worker,
            files_here={assignment.shard.video.location for assignment in queue.values()},
            spreads=self._at_once > 1,
            has_room=self._is_free,
            is_late=lambda other: self._is_late(other, now),
            must=not any(self._in_flight.values()),
        )
        if found is None:
            return None
        shard = self._chains.first_link(found)
        if not self._has_room(queue.values(), shard):
            self._pending.put_back(shard)
            return None
        return self._assign(worker, self._open.setdefault(shard.key, ShardState(shard)), now)

    def completed(self, assignment: Assignment, now: float, state: NDArray[np.float32] | None = None) -> bool:
        """Record that a worker has committed a shard; return False when another worker had been faster.

        `state` is what a tracking model remembers after the shard.
        """
        if not assignment.condemned:
            self._pace.record(assignment.shard, now - self._start(assignment, now))
            self._blame.record_survivor()
        committed = self._take_back(assignment, now)
        if committed is None:
            return False
        del self._open[committed.shard.key]
        for link in self._chains.release(committed.shard, state):
            if self._open.setdefault(link.shard.key, link) is link:
                self._enqueue(link, assignment.worker)
        return True

    def chain_broken(self, assignment: Assignment, reached: int, now: float) -> GivenUp | None:
        """Record that a worker found no state for a link: the frames from `reached` to it are to be computed again.

        The link follows them.
        """
        state = self._take_back(assignment, now)
        if state is None or state.copies:
            return None
        state.delays += 1
        if state.delays > MAX_INFRASTRUCTURE_RETRIES:
            return self._give_up(GivenUp(state.shard, Trouble("infrastructure", LOST_AGAIN), state.delays))
        del self._open[state.shard.key]
        state.start = None
        self._chains.add(state)
        self._pending.put_back(replace(state.shard, first=reached, last=state.shard.first))
        return None

    def failed(self, assignment: Assignment, trouble: Trouble, now: float) -> GivenUp | None:
        """Record a failure that the worker itself reported and survived.

        The worker names the shard, so the shard is charged whether it ran alone or not, unless the infrastructure is to
        blame, or another worker has the shard too.
        """
        state = self._take_back(assignment, now)
        if state is None or state.copies:
            return None
        if trouble.failure_class == "infrastructure":
            return self._delay(state, trouble, now)
        return self._charge(state, trouble)

    def worker_lost(self, worker: WorkerId, trouble: Trouble, now: float) -> list[GivenUp]:
        """Take back the shards of a worker that died, hung, or whose node left."""
        lost = list(self._in_flight.get(worker, {}).values())
        taken_back = [self._take_back(assignment, now) for assignment in lost]
        left = [state for state in taken_back if state is not None and not state.copies]
        self._forget(worker)
        if trouble.failure_class == "infrastructure":
            outcomes = [self._delay(state, trouble, now) for state in left]
        elif len(lost) == 1:
            outcomes = [self._charge(state, trouble) for state in left]
        else:
            # Any of them may have done it, so each runs alone next time.
            for state in left:
                (self._condemned if state.condemned else self._suspects).append(state)
            outcomes = []
        return [given_up for given_up in outcomes if given_up]

    def at_work(self) -> Iterator[Assignment]:
        """Yield what each worker that has shards was given first, in the order of the workers."""
        return (next(iter(queue.values())) for _, queue in sorted(self._in_flight.items()) if queue)

    def is_idle(self, worker: WorkerId) -> bool:
        """Whether a worker has no shard."""
        return not self._in_flight.get(worker)

    def retire(self, worker: WorkerId) -> bool:
        """Forget a worker that is to get no more shards; return False as long as it still has some."""
        if not self.is_idle(worker):
            return False
        self._forget(worker)
        return True

    def overdue(self, now: float, stall_seconds: float) -> list[Assignment]:
        """Return assignments without an answer for longer than the shards before and beside them explain."""
        return [
            assignment
            for queue in self._in_flight.values()
            for assignment in queue.values()
            if now - assignment.since > self._patience(assignment, stall_seconds)
        ]

    def abandon_waiting(self) -> None:
        """Forget what is not in flight: the run is stopping, and the next one will plan it again."""
        self._pending.clear()
        self._suspects.clear()
        self._condemned.clear()
        self._delayed.clear()
        self._chains.clear()
        self._open = {key: state for key, state in self._open.items() if state.copies}

    def _most_at_a_worker(self) -> int:
        if self._at_once == 1:
            return self._shards_in_flight
        share = math.ceil((self.waiting + self.in_flight) / max(self._workers, len(self._in_flight)))
        return max(1, min(self._at_once, share))

    def _has_room(self, queue: Collection[Assignment], shard: Shard) -> bool:
        """Whether a worker with these assignments may take a shard too."""
        links = any(map(self._chains.goes_on, (shard, *(assignment.shard for assignment in queue))))
        return len(queue) < (self._at_once if links else self._shards_in_flight)

    def _is_free(self, worker: WorkerId) -> bool:
        """Whether a worker gets a shard as soon as it asks."""
        queue = self._in_flight.get(worker, {})
        is_kept_apart = worker in self._reserved or any(assignment.alone for assignment in queue.values())
        return not is_kept_apart and len(queue) < self._most_at_a_worker()

    def _is_late(self, worker: WorkerId, now: float) -> bool:
        running = list(self._in_flight.get(worker, {}).values())[: self._at_once]
        return any(self._pace.is_late(own.shard, now - self._start(own, now)) for own in running)

    def _start(self, assignment: Assignment, now: float) -> float:
        """Return when a worker began an assignment."""
        return self._began.get(assignment.worker, now) if self._at_once == 1 else assignment.since

    def _patience(self, assignment: Assignment, stall_seconds: float) -> float:
        """Return how long a worker may take: it also computes those ahead of a shard, or those beside it."""
        state = self._open.get(assignment.shard.key)
        seconds = patience(state, stall_seconds) if state else stall_seconds
        if assignment.alone:
            return seconds
        return seconds * self._at_once + stall_seconds * (self._shards_in_flight - self._at_once)

    def _assign(
        self, worker: WorkerId, state: ShardState, now: float, *, alone: bool = False, speculative: bool = False
    ) -> Assignment:
        self._tickets += 1
        assignment = Assignment(
            self._tickets, worker, state.shard, now, alone, speculative, state.condemned, state.start
        )
        state.copies += 1
        queue = self._in_flight[worker]
        if not queue:
            self._began[worker] = now
        queue[assignment.ticket] = assignment
        return assignment

    def _assign_copy(self, worker: WorkerId, now: float) -> Assignment | None:
        queues = [list(queue.values()) for queue in self._in_flight.values() if queue]
        running = [(self._start(own, now), own) for queue in queues for own in queue[: self._at_once]]
        busy = sorted(queues, key=lambda queue: self._start(queue[0], now))
        waiting = [own for queue in busy for own in reversed(queue[self._at_once :])]
        chosen = choose_copy(running, waiting, self._may_be_copied, self._pace, now)
        if chosen is None:
            return None
        state = self._open[chosen.shard.key]
        state.speculated = True
        return self._assign(worker, state, now, speculative=True)

    def _may_be_copied(self, assignment: Assignment) -> bool:
        state = self._open.get(assignment.shard.key)
        return state is not None and not (assignment.alone or state.condemned or state.speculated)

    def _take_back(self, assignment: Assignment, now: float) -> ShardState | None:
        """Take an assignment out of its queue; return its shard's state, None where that is not open any more."""
        if self._in_flight.get(assignment.worker, {}).pop(assignment.ticket, None) is None:
            return None
        self._began[assignment.worker] = now
        state = self._open.get(assignment.shard.key)
        if state is not None:
            state.copies -= 1
            state.speculated = state.speculated and state.copies > 0
        return state

    def _forget(self, worker: WorkerId) -> None:
        self._in_flight.pop(worker, None)
        self._began.pop(worker, None)
        self._reserved.discard(worker)
        self._pending.release(worker)

    def _charge(self, state: ShardState, trouble: Trouble) -> GivenUp | None:
        outcome = self._blame.charge(state, trouble)
        if isinstance(outcome, GivenUp):
            return self._give_up(outcome)
        del self._open[state.shard.key]
        outcome[0].start = state.start
        for again in self._chains.in_order(outcome):
            self._open[again.shard.key] = again
            self._enqueue(again)
        return None

    def _give_up(self, given_up: GivenUp) -> GivenUp:
        del self._open[given_up.shard.key]
        return replace(given_up, rest=self._chains.cut_off(given_up.shard))

    def _delay(self, state: ShardState, trouble: Trouble, now: float) -> GivenUp | None:
        state.delays += 1
        if state.delays > MAX_INFRASTRUCTURE_RETRIES:
            return self._give_up(GivenUp(state.shard, trouble, state.delays))
        self._delayed.add(state, now)
        return None

    def _enqueue(self, state: ShardState, worker: WorkerId | None = None) -> None:
        """Let a shard wait: for a worker that is about to ask, if its video file is open there, or for any."""
        if state.condemned:
            self._condemned.append(state)
        elif state.is_suspect:
            self._suspects.append(state)
        else:
            self._pending.put_back(state.shard, worker if state.shard.video.kind == "video_file" else None)
