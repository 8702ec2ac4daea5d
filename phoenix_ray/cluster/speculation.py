"""Which shards an idle worker computes a second time, the pace of a run, which says what is late, and what is hung.

`cluster.scheduler` asks for copies when nothing else waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from phoenix_ray.cluster.shards import Assignment, ShardState
from phoenix_ray.dataset.shards import Shard

# A shard is late when it takes this many times what the run's pace predicts, and not before this many seconds: its
# worker sits on a slow or crowded node, or reads from a slow disk.
LATE_FACTOR = 2.0
LEAST_LATE_SECONDS = 1.0
# A range may take its share of `cluster.stall_seconds`, but never less than this part of it: a first call is slow.
LEAST_PATIENCE = 0.1


class Pace:
    """Seconds a frame takes, over all shards committed so far."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._frames = 0

    def record(self, shard: Shard, seconds: float) -> None:
        """Add the time that a shard took."""
        self._seconds += seconds
        self._frames += shard.frames

    def is_late(self, shard: Shard, seconds: float) -> bool:
        """Return whether a shard that has run for so long is a straggler; nobody knows before a shard is committed."""
        if not self._frames:
            return False
        return seconds > max(LEAST_LATE_SECONDS, LATE_FACTOR * shard.frames * self._seconds / self._frames)


def choose_copy(
    running: Iterable[tuple[float, Assignment]],
    waiting: Iterable[Assignment],
    may_be_copied: Callable[[Assignment], bool],
    pace: Pace,
    now: float,
) -> Assignment | None:
    """Return the assignment that is worth a speculative copy, or None.

    First comes a shard that waits behind others at a busy worker; then, of those that run, the one late for longest.

    Args:
        running: The assignments that workers compute, each with the time when its worker began it.
        waiting: Those that wait behind them, in the order of preference.
        may_be_copied: Whether an assignment may be given to a second worker at all.
        pace: The run's pace so far.
        now: The present, on the clock of `running`.
    """
    oldest_first = sorted(running, key=lambda began_and_assignment: began_and_assignment[0])
    late = (assignment for began, assignment in oldest_first if pace.is_late(assignment.shard, now - began))
    return next(filter(may_be_copied, (*waiting, *late)), None)


def patience(state: ShardState, stall_seconds: float) -> float:
    """Return the seconds after which a worker that computes this shard counts as hung.

    A range of a searched shard gets its share, so that a frame that hangs is found in a few times `stall_seconds`; a
    single frame gets all of it before it is condemned.
    """
    if state.search is None or (state.shard.frames == 1 and state.charges):
        return stall_seconds
    return stall_seconds * max(LEAST_PATIENCE, state.shard.frames / state.search.frames)
