"""The end of a run, when workers are idle and nothing waits: which shard an idle worker should do a second time.

A shard's partition has one name and one content, so two workers may compute it: the first to commit wins, and the run
does not wait for the other. Called by the scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from phoenix_ray.cluster.assignment import Assignment
from phoenix_ray.dataset.shards import Shard

# A shard is late when it takes this many times what the run's pace lets expect, and not before this many seconds: its
# worker sits on a slow or crowded node, or reads from a slow disk.
LATE_FACTOR = 2.0
LEAST_LATE_SECONDS = 1.0


class Pace:
    """Seconds a frame takes, over all shards committed so far."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._frames = 0

    def record(self, shard: Shard, seconds: float) -> None:
        """Take note of how long a shard took."""
        self._seconds += seconds
        self._frames += shard.frames

    def is_late(self, shard: Shard, seconds: float) -> bool:
        """Whether a shard that has run for so long is a straggler; nobody knows before one shard is committed."""
        if not self._frames:
            return False
        return seconds > max(LEAST_LATE_SECONDS, LATE_FACTOR * shard.frames * self._seconds / self._frames)


def choose_double(
    queues: Iterable[tuple[float, Sequence[Assignment]]],
    may_double: Callable[[Assignment], bool],
    pace: Pace,
    now: float,
) -> Assignment | None:
    """Return what is worth doing a second time, or None.

    A shard that waits behind another at a busy worker is; of those that run, the one that is late for longest.

    Args:
        queues: For each busy worker, when it began the first of its assignments, and these in the order of their work.
        may_double: Whether an assignment may be done twice at all.
        pace: Of the run.
        now: The present, on the clock of `queues`.
    """
    busy = sorted(queues, key=lambda one: one[0])
    waiting = (assignment for _, queue in busy for assignment in reversed(queue[1:]))
    late = (queue[0] for began, queue in busy if pace.is_late(queue[0].shard, now - began))
    return next(filter(may_double, (*waiting, *late)), None)
