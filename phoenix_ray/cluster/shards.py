"""A shard on its way to its commit: how it is cut, which worker has it, and what a failed attempt means for it.

`Shard` itself is in `dataset.shards`. `cluster.plan` cuts videos, and `cluster.scheduler` keeps the state of each shard
that it has handed out.

The scheduler decides which shard to charge with a failure; `Blame` decides what comes of it: try it again, look closer,
flag one frame, or give up. A shard that still kills its worker after `max_attempts` tries alone is not lost: it is cut
into halves, each half runs alone, and so on, between batches first and between frames at the end. Halves that survive
commit their frames, since partitions of a video may have any ranges. What remains are single frames that kill.

**The price of a poison frame** in a shard of n frames is `max_attempts` + about log2(n) + 1 worker deaths: a range on
the way is believed at once, because a mistake there costs only further cuts, and a frame is condemned only when it has
killed twice, because that decision is final. A GPU that is lost with every frame condemns none: without a survivor in
the search, what is left of the shard goes to the failure list.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.failures import FailureClass
from phoenix_ray.dataset.shards import FrameRange, Shard

WorkerId = int
Ticket = int


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an attempt at a shard did not end in a committed partition.

    Attributes:
        failure_class: What is at fault.
        message: What happened, in one line.
        traceback: Where in the code, empty when unknown.
        node: Name of the machine, empty when unknown.
        fatal: Whether the worker died or hung, so that it could not say which frame did it.
        device_lost: Whether the worker's process lives, but cannot use its GPU any more and must be replaced.
    """

    failure_class: FailureClass
    message: str
    traceback: str = ""
    node: str = ""
    fatal: bool = False
    device_lost: bool = False


@dataclass(slots=True)
class PoisonSearch:
    """The search for the frames of a shard that kill its worker, shared by all ranges that the shard was cut into.

    Attributes:
        frames: Frames of the whole shard.
        survivors: Shards that the run had computed when the search began.
        deaths: Workers that the search has cost so far.
    """

    frames: int
    survivors: int = 0
    deaths: int = 0


@dataclass(slots=True)
class ShardState:
    """What is known of a shard that was handed out and is neither committed nor given up.

    Attributes:
        shard: The shard.
        charges: Failures that can only be its own.
        search: The search that it is a range of, None where it is not searched.
        condemned: Why its one frame is to be committed as a flagged row without being read, None otherwise.
        delays: How often the infrastructure was at fault and it had to wait.
        copies: Workers that have it now.
        speculated: Whether an idle worker was given a copy of it; there is no second one before both have failed.
        start: What a tracking model remembers before its first frame; None where a worker has to look it up.
    """

    shard: Shard
    charges: int = 0
    search: PoisonSearch | None = None
    condemned: Trouble | None = None
    delays: int = 0
    copies: int = 0
    speculated: bool = False
    start: NDArray[np.float32] | None = None

    @property
    def is_suspect(self) -> bool:
        """Whether it has to run alone."""
        return self.charges > 0 or self.search is not None


@dataclass(frozen=True, slots=True)
class Assignment:
    """A shard at a worker.

    Attributes:
        ticket: Number of the assignment within the run.
        worker: The worker.
        shard: The shard.
        since: When it was assigned, on the driver's clock.
        alone: Whether the worker gets nothing else meanwhile.
        speculative: Whether it is a speculative copy: another worker has the shard too.
        condemned: What its one frame does to workers; the worker commits it as a flagged row without reading it.
        start: What a tracking model remembers before the shard (`ShardState.start`).
    """

    ticket: Ticket
    worker: WorkerId
    shard: Shard
    since: float
    alone: bool = False
    speculative: bool = False
    condemned: Trouble | None = None
    start: NDArray[np.float32] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class SchedulerState:
    """What a run waits for.

    Attributes:
        waiting: Shards that no worker has.
        in_flight: Shards that a worker has.
        oldest: The assignment that has been out for longest, None when there is none.
        delayed: Those of `waiting` that pause because of trouble with the infrastructure.
        next_try: When the first of these is tried again, on the driver's clock; None when there is none.
    """

    waiting: int
    in_flight: int
    oldest: Assignment | None
    delayed: int
    next_try: float | None


def cut(gap: FrameRange, shard_frames: int, batch_size: int) -> Iterator[FrameRange]:
    """Yield a range cut into equal parts of about `shard_frames` at most, inner cuts at multiples of `batch_size`.

    "About": a part is rounded up to whole batches, so it may exceed `shard_frames` by less than a batch.
    """
    first, last = gap
    parts = max(1, math.ceil((last - first) / shard_frames))
    step = math.ceil((last - first) / parts / batch_size) * batch_size
    start = first
    while start < last:
        stop = min(last, (start // batch_size) * batch_size + step)
        yield start, stop
        start = stop


def halves(shard: Shard, batch_size: int) -> tuple[Shard, Shard]:
    """Return a shard of at least two frames in halves: cut between batches if it spans several, else between frames.

    A half of less than a batch meets other neighbours in its batch than the whole video gives it, so this is for the
    search for a frame that kills its worker, not for planning.
    """
    middle = (shard.first + shard.last) / 2
    inner = range((shard.first // batch_size + 1) * batch_size, shard.last, batch_size)
    where = min(inner, key=lambda cut: abs(cut - middle), default=int(middle))
    return replace(shard, last=where), replace(shard, first=where)


# Times that a single frame must fail before it is flagged: a process may also die by chance.
CONFIRMATIONS = 2
# Deaths spent on the search in one shard: enough for half a dozen scattered frames. Then the ranges that still kill go
# to the failure list, and the next run looks closer at those.
MAX_SEARCH_DEATHS = 64
# Of these, GPUs that are lost while nothing at all survives. Of the halves of a shard with one bad frame, one survives;
# so the device may be what fails, and no frame is condemned.
MAX_LOSSES_IN_SEARCH = 8


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A shard that goes to the failure list.

    Attributes:
        shard: The shard.
        trouble: Why the last attempt failed.
        attempts: Attempts that were charged to it; where the infrastructure was at fault, those that it spoiled.
        rest: What follows it in its chain and cannot be computed without it; None where nothing does.
    """

    shard: Shard
    trouble: Trouble
    attempts: int
    rest: Shard | None = None


class Blame:
    """Decides what to do about shards that fail.

    Args:
        max_attempts: Charged attempts at a whole shard before it is given up or searched.
        batch_size: Frames of a model batch.
    """

    def __init__(self, max_attempts: int, batch_size: int) -> None:
        self._max_attempts = max_attempts
        self._batch_size = batch_size
        self._survivors = 0
        self._search_pays = True

    def charge(self, state: ShardState, trouble: Trouble) -> list[ShardState] | GivenUp:
        """Charge a shard with a failure that can only be its own.

        Returns:
            What to try again in its place (the shard, its halves, or its one frame, then `condemned`), or that it is
            given up.
        """
        state.charges += 1
        if state.search is None:
            if state.charges < self._max_attempts:
                return [state]
            if not (trouble.fatal or trouble.failure_class == "memory") or not self._search_pays:
                return GivenUp(state.shard, trouble, state.charges)
            state.search = PoisonSearch(state.shard.frames, self._survivors)
        state.search.deaths += 1
        if state.search.deaths > MAX_SEARCH_DEATHS:
            # Where nothing has survived so far, the machines or the model are broken, and no frame is to blame.
            self._search_pays = self._survivors > 0
            return GivenUp(state.shard, trouble, state.charges)
        is_device_broken = trouble.device_lost and self._survivors == state.search.survivors
        if is_device_broken and state.search.deaths > MAX_LOSSES_IN_SEARCH:
            return GivenUp(state.shard, trouble, state.charges)
        if state.shard.frames > 1:
            return [ShardState(half, search=state.search) for half in halves(state.shard, self._batch_size)]
        if state.charges >= CONFIRMATIONS:
            if is_device_broken:
                return GivenUp(state.shard, trouble, state.charges)
            state.condemned = trouble
        return [state]

    def record_survivor(self) -> None:
        """Called when a shard was computed and committed."""
        self._survivors += 1
