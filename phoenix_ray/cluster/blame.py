"""What a failed attempt means for a shard: try it again, look closer, flag one frame, or give up.

The scheduler decides which shard to charge; `Blame` decides what comes of it. A shard that still kills its worker
after `max_attempts` tries alone is not lost: it is cut into halves, each half runs alone, and so on, between batches
first and between frames at the end. Halves that survive commit their frames, since partitions of a video may have any
ranges. What remains are single frames that kill.

**The price of a poison frame** in a shard of n frames is `max_attempts` + about log2(n) + 1 worker deaths: a range on
the way is believed at once, because a mistake there costs only further cuts, and a frame is condemned only when it has
killed twice, because that is final.
"""

from __future__ import annotations

from dataclasses import dataclass

from phoenix_ray.cluster.shards import PoisonSearch, ShardState, Trouble, halves
from phoenix_ray.dataset.shards import Shard

# Times that a single frame must fail before it is flagged: a process may also die by chance.
CONFIRMATIONS = 2
# Deaths spent on the search in one shard: enough for half a dozen scattered frames. Then the ranges that still kill go
# to the failure list, and the next run looks closer at those.
MAX_SEARCH_DEATHS = 64
# A range may take its share of `cluster.stall_seconds`, but never less than this part of it: a first call is slow.
LEAST_PATIENCE = 0.1


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A shard that goes to the failure list.

    Attributes:
        shard: The shard.
        trouble: Why the last attempt failed.
        attempts: Attempts that were charged to it; where the infrastructure was at fault, those that it spoiled.
    """

    shard: Shard
    trouble: Trouble
    attempts: int


class Blame:
    """Decides what to do about shards that fail.

    Args:
        max_attempts: Charged attempts at a whole shard before it is given up or searched.
        batch_size: Frames of a model batch.
    """

    def __init__(self, max_attempts: int, batch_size: int) -> None:
        self._max_attempts = max_attempts
        self._batch_size = batch_size
        self._any_survived = False
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
            state.search = PoisonSearch(state.shard.frames)
        state.search.deaths += 1
        if state.search.deaths > MAX_SEARCH_DEATHS:
            # Where nothing has survived so far, the machines or the model are broken, and no frame is to blame.
            self._search_pays = self._any_survived
            return GivenUp(state.shard, trouble, state.charges)
        if state.shard.frames > 1:
            return [ShardState(half, search=state.search) for half in halves(state.shard, self._batch_size)]
        if state.charges >= CONFIRMATIONS:
            state.condemned = trouble
        return [state]

    def record_survivor(self) -> None:
        """Called when a shard was computed and committed."""
        self._any_survived = True


def patience(state: ShardState, stall_seconds: float) -> float:
    """Return the seconds after which a worker that computes this shard counts as hung.

    A range of a searched shard gets its share, so that a frame that hangs is found in a few times `stall_seconds`; a
    single frame gets all of it before it is condemned.
    """
    if state.search is None or (state.shard.frames == 1 and state.charges):
        return stall_seconds
    return stall_seconds * max(LEAST_PATIENCE, state.shard.frames / state.search.frames)
