"""A shard on its way to its commit: how it is cut, which worker has it, what its attempts have shown so far.

`Shard` itself is in `dataset.shards`. `cluster.plan` cuts videos, `cluster.blame` cuts shards that kill their workers,
and `cluster.scheduler` keeps the state of each shard that it has handed out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

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
    """

    failure_class: FailureClass
    message: str
    traceback: str = ""
    node: str = ""
    fatal: bool = False


@dataclass(slots=True)
class PoisonSearch:
    """The search for the frames of a shard that kill its worker, shared by all ranges that the shard was cut into.

    Attributes:
        frames: Frames of the whole shard.
        deaths: Workers that the search has cost so far.
    """

    frames: int
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
    """

    shard: Shard
    charges: int = 0
    search: PoisonSearch | None = None
    condemned: Trouble | None = None
    delays: int = 0
    copies: int = 0
    speculated: bool = False

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
    """

    ticket: Ticket
    worker: WorkerId
    shard: Shard
    since: float
    alone: bool = False
    speculative: bool = False
    condemned: Trouble | None = None


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
