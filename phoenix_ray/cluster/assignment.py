"""A shard in flight: what the scheduler decides, the pool submits and the listener hears of."""

from __future__ import annotations

from dataclasses import dataclass

from phoenix_ray.cluster.blame import Trouble
from phoenix_ray.dataset.shards import Shard

WorkerId = int
Ticket = int


@dataclass(frozen=True, slots=True)
class Assignment:
    """A shard at a worker.

    Attributes:
        ticket: Names the assignment.
        worker: Who has it.
        shard: What is to be committed.
        since: When it was assigned.
        alone: Whether the worker gets nothing else meanwhile.
        double: Whether another worker has the shard too.
        condemned: What its one frame does to workers: it is committed as a flagged row, and not read.
    """

    ticket: Ticket
    worker: WorkerId
    shard: Shard
    since: float
    alone: bool = False
    double: bool = False
    condemned: Trouble | None = None
