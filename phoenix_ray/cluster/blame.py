"""What a failed attempt means for a shard: try it again, look closer, flag one frame, or give up.

The scheduler says which shard is to be charged; `Blame` keeps the counts and answers. A shard that still kills its
worker after `max_attempts` tries alone is not lost: it is cut into halves, each runs alone, and so on, between batches
first and between frames at the end. Halves that survive commit their frames, since partitions of one video may have any
ranges. What remains are single frames that kill.

**The price of a poison frame** in a shard of n frames is `max_attempts` + about log2(n) + 1 worker deaths: a range on
the way is believed at once, because a mistake there costs only further cuts, and a frame is condemned only when it has
killed twice, because that verdict is final.
"""

from __future__ import annotations

from dataclasses import dataclass

from phoenix_ray.cluster.shards import halves
from phoenix_ray.dataset.failures import FailureClass
from phoenix_ray.dataset.shards import Shard, ShardKey

# Times that a single frame must fail before it is flagged: a process may also die by chance.
CONFIRMATIONS = 2
# Deaths spent on the search in one shard: enough for half a dozen scattered frames. Then the ranges that still kill go
# to the failure list, and the next run looks closer at those.
MAX_SEARCH_DEATHS = 64
# A range may take its share of `cluster.stall_seconds`, but never less than this part of it: a first call is slow.
LEAST_PATIENCE = 0.1


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an attempt at a shard did not end in a committed partition.

    Attributes:
        failure_class: Whose fault it is.
        message: What happened, in one line.
        traceback: Where, empty when unknown.
        node: Name of the machine, empty when unknown.
        fatal: Whether the worker died or hung, so that it could not tell which frame did it.
    """

    failure_class: FailureClass
    message: str
    traceback: str = ""
    node: str = ""
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class TryAlone:
    """Shards to be tried again, each on a worker that has nothing else to do."""

    shards: tuple[Shard, ...]


@dataclass(frozen=True, slots=True)
class Condemned:
    """A shard of one frame that is to be committed as a flagged row, without reading it again."""

    shard: Shard
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A shard that goes to the failure list."""

    shard: Shard
    trouble: Trouble
    attempts: int


@dataclass(slots=True)
class _Search:
    """The search for poison frames in one shard, shared by all ranges that it was cut into."""

    whole: Shard
    deaths: int = 0


class Blame:
    """Counts what is held against shards.

    Args:
        max_attempts: Charged attempts at a whole shard before it is given up or searched.
        batch_size: Frames of a model batch.
    """

    def __init__(self, max_attempts: int, batch_size: int) -> None:
        self._max_attempts = max_attempts
        self._batch_size = batch_size
        self._charges: dict[ShardKey, int] = {}
        self._searches: dict[ShardKey, _Search] = {}
        self._acquitted_any = False
        self._searches_pay = True

    def charge(self, shard: Shard, trouble: Trouble) -> TryAlone | Condemned | GivenUp:
        """Charge a shard with a failure that can only be its own, and return what is to be done."""
        charges = self._charges[shard.key] = self._charges.get(shard.key, 0) + 1
        search = self._searches.get(shard.key)
        if search is None:
            if charges < self._max_attempts:
                return TryAlone((shard,))
            if not (trouble.fatal or trouble.failure_class == "memory") or not self._searches_pay:
                return GivenUp(shard, trouble, charges)
            search = self._searches[shard.key] = _Search(shard)
        search.deaths += 1
        if search.deaths > MAX_SEARCH_DEATHS:
            # Where nothing has survived so far, the machines or the model are broken, and no frame is to blame.
            self._searches_pay = self._acquitted_any
            return GivenUp(shard, trouble, charges)
        if shard.frames == 1:
            return Condemned(shard, trouble) if charges >= CONFIRMATIONS else TryAlone((shard,))
        parts = halves(shard, self._batch_size)
        self._searches |= {part.key: search for part in parts}
        return TryAlone(parts)

    def acquit(self, shard: Shard) -> None:
        """Take note that a shard was computed and committed."""
        self._acquitted_any = True
        self._charges.pop(shard.key, None)
        self._searches.pop(shard.key, None)

    def is_suspect(self, shard: Shard) -> bool:
        """Whether a shard has to run alone."""
        return shard.key in self._charges or shard.key in self._searches

    def patience(self, shard: Shard, stall_seconds: float) -> float:
        """Return the seconds after which a worker that computes this shard counts as hung.

        A range of a searched shard gets its share, so that a frame that hangs is found in a few times `stall_seconds`;
        a single frame gets all of it before it is condemned.
        """
        search = self._searches.get(shard.key)
        if search is None or (shard.frames == 1 and self._charges.get(shard.key)):
            return stall_seconds
        return stall_seconds * max(LEAST_PATIENCE, shard.frames / search.whole.frames)
