"""Which shard goes to which worker, and what a failure means for it.

A state machine without Ray and without a clock of its own, so that every decision has a test. The driver tells it what
happened (`completed`, `failed`, `worker_lost`) and asks for work (`next_shard`).

Who is to blame is decided by one rule: **a shard is charged only for what happens while it runs alone.** A worker that
dies with two shards in flight makes both *suspects*; each suspect is tried again on a worker that has nothing else to
do, so an innocent neighbour is never lost. What a charge means for the shard is for `cluster.blame` to say. Trouble of
the infrastructure (a node, the storage) is retried with back-off and charged to nobody.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

from phoenix_ray.cluster.backlog import ShardQueue, Shards
from phoenix_ray.cluster.blame import Blame, Condemned, GivenUp, Trouble, TryAlone
from phoenix_ray.cluster.shard import Shard, ShardKey

WorkerId = int
Ticket = int

# Infrastructure is never charged to a shard, but a storage that fails for ever must not keep a run alive for ever.
MAX_INFRASTRUCTURE_RETRIES = 8
BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """A shard in flight at a worker.

    Attributes:
        ticket: Names the assignment.
        worker: Who has it.
        shard: What is to be committed.
        alone: Whether the worker gets nothing else meanwhile.
        since: When it was assigned.
        condemned: What its one frame does to workers: it is committed as a flagged row, and not read.
    """

    ticket: Ticket
    worker: WorkerId
    shard: Shard
    alone: bool
    since: float
    condemned: Trouble | None = None


class Scheduler:
    """Shards waiting, in flight and given up.

    Args:
        shards: What to compute, in the order to start it.
        shards_in_flight: Shards queued at one worker.
        blame: Decides what is done about a shard that fails.
    """

    def __init__(self, shards: Shards, shards_in_flight: int, blame: Blame) -> None:
        self._pending = ShardQueue(shards)
        self._suspects: deque[Shard] = deque()
        self._delayed: list[tuple[float, int, Shard]] = []
        self._in_flight: dict[WorkerId, dict[Ticket, Assignment]] = {}
        self._reserved: set[WorkerId] = set()
        self._condemned: deque[Condemned] = deque()
        self._verdicts: dict[ShardKey, Condemned] = {}
        self._infrastructure: dict[ShardKey, int] = {}
        self._shards_in_flight = shards_in_flight
        self._blame = blame
        self._tickets = 0

    @property
    def waiting(self) -> int:
        """Shards that no worker has."""
        return len(self._pending) + len(self._suspects) + len(self._condemned) + len(self._delayed)

    @property
    def in_flight(self) -> int:
        """Shards that a worker has."""
        return sum(len(assignments) for assignments in self._in_flight.values())

    @property
    def finished(self) -> bool:
        """Whether every shard is committed or given up."""
        return not self.waiting and not self.in_flight

    def next_shard(self, worker: WorkerId, now: float) -> Assignment | None:
        """Return the next shard for a worker, or None when it has enough or there is nothing for it now."""
        self._release_delayed(now)
        queue = self._in_flight.setdefault(worker, {})
        if any(assignment.alone for assignment in queue.values()):
            return None
        if self._suspects and (worker in self._reserved or len(self._reserved) < len(self._suspects)):
            if queue:
                self._reserved.add(worker)
                return None
            self._reserved.discard(worker)
            return self._assign(worker, self._suspects.popleft(), alone=True, now=now)
        self._reserved.discard(worker)
        if len(queue) >= self._shards_in_flight:
            return None
        if self._condemned:
            verdict = self._condemned.popleft()
            return self._assign(worker, verdict.shard, alone=False, now=now, condemned=verdict.trouble)
        if self._pending:
            return self._assign(worker, self._pending.popleft(), alone=False, now=now)
        return None

    def completed(self, assignment: Assignment) -> None:
        """Take note that a shard is committed."""
        self._remove(assignment)
        if assignment.condemned:
            del self._verdicts[assignment.shard.key]
        else:
            self._blame.acquit(assignment.shard)

    def failed(self, assignment: Assignment, trouble: Trouble, now: float) -> GivenUp | None:
        """Take note of a failure that the worker itself reported and survived.

        The worker names the shard, so it is charged whether it ran alone or not, unless the infrastructure is to blame.
        """
        self._remove(assignment)
        if trouble.failure_class == "infrastructure":
            return self._delay(assignment.shard, trouble, now)
        return self._charge(assignment.shard, trouble)

    def worker_lost(self, worker: WorkerId, trouble: Trouble, now: float) -> list[GivenUp]:
        """Take back the shards of a worker that died, hung, or whose node left."""
        self._reserved.discard(worker)
        lost = list(self._in_flight.pop(worker, {}).values())
        if trouble.failure_class == "infrastructure":
            given_up = [self._delay(assignment.shard, trouble, now) for assignment in lost]
        elif len(lost) == 1:
            given_up = [self._charge(lost[0].shard, trouble)]
        else:
            self._suspects.extend(assignment.shard for assignment in lost)
            given_up = []
        return [one for one in given_up if one]

    def overdue(self, now: float, stall_seconds: float) -> list[Assignment]:
        """Return assignments without an answer for longer than a shard ahead of them in the queue explains."""
        ahead = stall_seconds * (self._shards_in_flight - 1)
        return [
            assignment
            for queue in self._in_flight.values()
            for assignment in queue.values()
            if now - assignment.since
            > self._blame.patience(assignment.shard, stall_seconds) + (0 if assignment.alone else ahead)
        ]

    def abandon_waiting(self) -> None:
        """Forget what is not in flight: the run is stopping, and the next one will plan it again."""
        self._pending.clear()
        self._suspects.clear()
        self._condemned.clear()
        self._delayed.clear()

    def _assign(
        self, worker: WorkerId, shard: Shard, *, alone: bool, now: float, condemned: Trouble | None = None
    ) -> Assignment:
        self._tickets += 1
        assignment = Assignment(self._tickets, worker, shard, alone, now, condemned)
        self._in_flight[worker][assignment.ticket] = assignment
        return assignment

    def _remove(self, assignment: Assignment) -> None:
        self._in_flight.get(assignment.worker, {}).pop(assignment.ticket, None)

    def _charge(self, shard: Shard, trouble: Trouble) -> GivenUp | None:
        match self._blame.charge(shard, trouble):
            case TryAlone(shards):
                self._suspects.extend(shards)
            case Condemned() as verdict:
                self._verdicts[shard.key] = verdict
                self._condemned.append(verdict)
            case given_up:
                return given_up
        return None

    def _delay(self, shard: Shard, trouble: Trouble, now: float) -> GivenUp | None:
        retries = self._infrastructure[shard.key] = self._infrastructure.get(shard.key, 0) + 1
        if retries > MAX_INFRASTRUCTURE_RETRIES:
            return GivenUp(shard, trouble, retries)
        self._tickets += 1
        pause = min(MAX_BACKOFF_SECONDS, BACKOFF_SECONDS * 2 ** (retries - 1))
        heapq.heappush(self._delayed, (now + pause, self._tickets, shard))
        return None

    def _release_delayed(self, now: float) -> None:
        while self._delayed and self._delayed[0][0] <= now:
            shard = heapq.heappop(self._delayed)[2]
            if verdict := self._verdicts.get(shard.key):
                self._condemned.append(verdict)
            elif self._blame.is_suspect(shard):
                self._suspects.append(shard)
            else:
                self._pending.appendleft(shard)
