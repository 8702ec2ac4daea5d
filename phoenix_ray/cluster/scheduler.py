"""Which shard goes to which worker, and what a failure means for it.

A state machine without Ray and without a clock of its own, so that every decision has a test. The driver tells it what
happened (`completed`, `failed`, `worker_lost`, `retire`) and asks for work (`next_shard`).

Who is to blame is decided by one rule: **a shard is charged only for what happens while it runs alone.** A worker that
dies with two shards in flight makes both *suspects*; each suspect is tried again on a worker that has nothing else to
do, so an innocent neighbour is never lost. What a charge means for the shard is for `cluster.blame` to say. Trouble of
the infrastructure (a node, the storage) is retried with back-off and charged to nobody.

When nothing waits, an idle worker does a shard of a busy one a second time (`cluster.tail`).
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass

from phoenix_ray.cluster.assignment import Assignment, Ticket, WorkerId
from phoenix_ray.cluster.backlog import ShardQueue, Shards
from phoenix_ray.cluster.blame import Blame, Condemned, GivenUp, Trouble, TryAlone
from phoenix_ray.cluster.tail import Pace, choose_double
from phoenix_ray.dataset.shards import Shard, ShardKey

# Infrastructure is never charged to a shard, but a storage that fails for ever must not keep a run alive for ever.
MAX_INFRASTRUCTURE_RETRIES = 8
BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run waits for.

    Attributes:
        waiting: Shards that no worker has.
        in_flight: Shards that a worker has.
        oldest: The assignment that has been out for longest, None when there is none.
        delayed: Those of `waiting` that pause because of trouble with the infrastructure.
        next_try: When the first of these is tried again, None when there is none.
    """

    waiting: int
    in_flight: int
    oldest: Assignment | None
    delayed: int
    next_try: float | None


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
        self._condemned: deque[Condemned] = deque()
        self._verdicts: dict[ShardKey, Condemned] = {}
        self._delayed: list[tuple[float, Ticket, Shard]] = []
        self._in_flight: dict[WorkerId, dict[Ticket, Assignment]] = {}
        self._began: dict[WorkerId, float] = {}
        self._reserved: set[WorkerId] = set()
        self._doubled: dict[ShardKey, int] = {}
        self._won: set[ShardKey] = set()
        self._infrastructure: dict[ShardKey, int] = {}
        self._shards_in_flight = shards_in_flight
        self._blame = blame
        self._pace = Pace()
        self._tickets = 0

    @property
    def waiting(self) -> int:
        """Shards that no worker has."""
        return len(self._pending) + len(self._suspects) + len(self._condemned) + len(self._delayed)

    @property
    def in_flight(self) -> int:
        """Shards that a worker has and that nobody has committed."""
        assignments = sum(map(len, self._in_flight.values()))
        surplus = sum(copies - (key not in self._won) for key, copies in self._doubled.items())
        return assignments - surplus

    @property
    def finished(self) -> bool:
        """Whether every shard is committed or given up; a worker may still do one that another was faster at."""
        return not self.waiting and not self.in_flight

    def outlook(self) -> Outlook:
        """Return what the run waits for."""
        flying = [assignment for queue in self._in_flight.values() for assignment in queue.values()]
        oldest = min(flying, key=lambda assignment: assignment.since, default=None)
        next_try = self._delayed[0][0] if self._delayed else None
        return Outlook(self.waiting, self.in_flight, oldest, len(self._delayed), next_try)

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
            return self._assign(worker, self._suspects.popleft(), now, alone=True)
        self._reserved.discard(worker)
        if len(queue) >= self._shards_in_flight:
            return None
        if self._condemned:
            verdict = self._condemned.popleft()
            return self._assign(worker, verdict.shard, now, condemned=verdict.trouble)
        if self._pending:
            return self._assign(worker, self._pending.popleft(), now)
        return self._assign_double(worker, now) if not queue and not self._delayed else None

    def completed(self, assignment: Assignment, now: float) -> bool:
        """Take note that a shard is committed; return False when another worker had been faster."""
        if not assignment.condemned:
            self._pace.record(assignment.shard, now - self._began.get(assignment.worker, now))
        is_open = self._remove(assignment, now)
        if assignment.shard.key in self._doubled:
            self._won.add(assignment.shard.key)
        if assignment.condemned:
            del self._verdicts[assignment.shard.key]
        else:
            self._blame.acquit(assignment.shard)
        return is_open

    def failed(self, assignment: Assignment, trouble: Trouble, now: float) -> GivenUp | None:
        """Take note of a failure that the worker itself reported and survived.

        The worker names the shard, so it is charged whether it ran alone or not, unless the infrastructure is to blame,
        or another worker has the shard too.
        """
        if not self._remove(assignment, now) or assignment.shard.key in self._doubled:
            return None
        if trouble.failure_class == "infrastructure":
            return self._delay(assignment.shard, trouble, now)
        return self._charge(assignment.shard, trouble)

    def worker_lost(self, worker: WorkerId, trouble: Trouble, now: float) -> list[GivenUp]:
        """Take back the shards of a worker that died, hung, or whose node left."""
        lost = list(self._in_flight.get(worker, {}).values())
        left = [one for one in lost if self._remove(one, now) and one.shard.key not in self._doubled]
        self._forget(worker)
        if trouble.failure_class == "infrastructure":
            given_up = [self._delay(one.shard, trouble, now) for one in left]
        elif len(lost) == 1:
            given_up = [self._charge(one.shard, trouble) for one in left]
        else:
            self._suspects.extend(one.shard for one in left if not one.condemned)
            self._condemned.extend(self._verdicts[one.shard.key] for one in left if one.condemned)
            given_up = []
        return [one for one in given_up if one]

    def retire(self, worker: WorkerId) -> bool:
        """Forget a worker that is to get no more shards; False as long as it still has some."""
        if self._in_flight.get(worker):
            return False
        self._forget(worker)
        return True

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
        self,
        worker: WorkerId,
        shard: Shard,
        now: float,
        *,
        alone: bool = False,
        double: bool = False,
        condemned: Trouble | None = None,
    ) -> Assignment:
        self._tickets += 1
        assignment = Assignment(self._tickets, worker, shard, now, alone, double, condemned)
        queue = self._in_flight[worker]
        if not queue:
            self._began[worker] = now
        queue[assignment.ticket] = assignment
        return assignment

    def _assign_double(self, worker: WorkerId, now: float) -> Assignment | None:
        queues = ((self._began[other], list(queue.values())) for other, queue in self._in_flight.items() if queue)
        chosen = choose_double(queues, self._may_double, self._pace, now)
        if chosen is None:
            return None
        self._doubled[chosen.shard.key] = 2
        return self._assign(worker, chosen.shard, now, double=True)

    def _may_double(self, assignment: Assignment) -> bool:
        return not (assignment.alone or assignment.condemned or assignment.shard.key in self._doubled)

    def _remove(self, assignment: Assignment, now: float) -> bool:
        """Take an assignment out of its queue; return whether its shard is still to be committed."""
        key, queue = assignment.shard.key, self._in_flight.get(assignment.worker, {})
        if queue.pop(assignment.ticket, None) is None:
            return False
        self._began[assignment.worker] = now
        is_open = key not in self._won
        if key in self._doubled:
            self._doubled[key] -= 1
            if not self._doubled[key]:
                del self._doubled[key]
                self._won.discard(key)
        return is_open

    def _forget(self, worker: WorkerId) -> None:
        self._in_flight.pop(worker, None)
        self._began.pop(worker, None)
        self._reserved.discard(worker)

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
