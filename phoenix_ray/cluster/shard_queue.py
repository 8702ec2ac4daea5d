"""Shards that wait for a worker, in the order to start them, and which worker is to get which.

They wait packed, so that a driver holds millions of them: as Python objects a shard and its video (texts, location,
signature) take about 1 kB; pickled and compressed with their neighbours, a sixth of that.

**Ranges of a video file** (of a long video, or segments of one) go to one worker, in the order of the file: a worker
goes on where its decoder is (`sources.decoding`), whereas another would have to decode all that lies before. When no
file is left that nobody has begun, an idle worker takes the second half of what another still has of a file, unless
most of its work would be to get there.
"""

from __future__ import annotations

import pickle
import zlib
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Protocol

from phoenix_ray.cluster.shards import WorkerId
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.sources.base import Video

# More compress better, but the last block of each length, and of each file, stays unpacked until it is full.
SHARDS_PER_BLOCK = 64
# Higher levels of zlib save little and take several times as long.
_COMPRESSION_LEVEL = 1
_fields_of = attrgetter(*(f"video.{field.name}" for field in fields(Video)), "first", "last")
# Frames that a worker may decode without use for each frame that it computes when it helps with a file. A frame takes
# the networks 22 ms on a core, and a decoder 1 ms (210x260) to 6 ms (1920x1080).
MOST_SKIPPED = 8


class Shards(Protocol):
    """A known number of shards, in the order to start them."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Shard]: ...


class PackedShards:
    """Shards of a plan: one of the shortest first, then the longest to the shortest, equal ones in the order of `add`.

    Shards of a file that is shared follow each other in the order of the file; together they count as one long shard. A
    short shard shows within seconds whether everything works; short ones at the end let all workers finish together.

    Attributes:
        frames: Frames of all of them.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._count = 0
        self._by_length: dict[int, _Pile] = {}
        self._by_file: dict[str, _Pile] = {}

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Shard]:
        for unit in self.units():
            yield from unit

    @property
    def longest(self) -> int:
        """Frames of the longest one; 0 where there is none."""
        return max([*self._by_length, *(pile.longest for pile in self._by_file.values())], default=0)

    def add(self, shard: Shard, file: str = "") -> None:
        """Add a shard; `file` is the video file that it shares with others, empty where it shares none."""
        self.frames += shard.frames
        self._count += 1
        pile = self._by_file.setdefault(file, _Pile()) if file else self._by_length.setdefault(shard.frames, _Pile())
        pile.add(shard)

    def units(self) -> Iterator[list[Shard]]:
        """Yield what a worker should take at once: a shard, or all those of a file in its order."""
        shortest = min(self._by_length, default=None)
        if shortest is not None:
            yield [next(iter(self._by_length[shortest]))]
        singles = [(length, pile, False) for length, pile in self._by_length.items()]
        files = [(pile.frames, pile, True) for pile in self._by_file.values()]
        for size, pile, is_file in sorted([*files, *singles], key=lambda unit: -unit[0]):
            if is_file:
                yield sorted(pile, key=_place)
                continue
            shards = iter(pile)
            if size == shortest:
                next(shards)
            for shard in shards:
                yield [shard]


class ShardQueue:
    """Shards that are taken from the front, and may be put back there.

    Args:
        shards: What the queue holds at first; unpacked as it is reached.
    """

    def __init__(self, shards: Shards) -> None:
        self._returned: deque[tuple[Shard, WorkerId | None]] = deque()
        self._units = shards.units() if isinstance(shards, PackedShards) else ([shard] for shard in shards)
        # Shards that were never taken: those of `_units` and those of `_portions`.
        self._untouched = len(shards)
        self._portions: list[_Portion] = []
        # For each worker, the file that it decoded last and the frame that it reached.
        self._reached: dict[WorkerId, tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self._returned) + self._untouched

    def take(
        self,
        worker: WorkerId,
        *,
        files_here: Collection[str] = (),
        spreads: bool = False,
        has_room: Callable[[WorkerId], bool] = lambda _: False,
        is_late: Callable[[WorkerId], bool] = lambda _: False,
        must: bool = False,
    ) -> Shard | None:
        """Take the next shard for a worker out; None where there is none that it should take.

        Args:
            worker: The worker.
            files_here: Files that it decodes now.
            spreads: Whether it computes several shards at once, which had better be of different files.
            has_room: Whether another worker can take a shard now: those that it should get wait until it asks or is
                gone (`release`).
            is_late: Whether another worker is far behind the others.
            must: Whether no worker has anything to do, so that helping another is better than nothing.
        """
        for position, (shard, wanted) in enumerate(self._returned):
            if wanted in (None, worker) or (wanted is not None and not has_room(wanted)):
                del self._returned[position]
                return shard
        own = [portion for portion in self._portions if portion.owner == worker]
        near = next((portion for portion in own if not spreads or portion.file not in files_here), None)
        if near is not None:
            return self._take_from(near, worker)
        if (begun := self._begin(worker)) is not None:
            return begun
        portion = max(own, key=_frames_left) if own else self._help(worker, is_late, must=must)
        return None if portion is None else self._take_from(portion, worker)

    def put_back(self, shard: Shard, worker: WorkerId | None = None) -> None:
        """Put a shard back, for a worker or for any: it is the first again."""
        self._returned.appendleft((shard, worker))

    def release(self, worker: WorkerId) -> None:
        """Give what a worker was to get to others: it is gone."""
        for portion in self._portions:
            if portion.owner == worker:
                portion.owner = None
        self._returned = deque((shard, None if wanted == worker else wanted) for shard, wanted in self._returned)
        self._reached.pop(worker, None)

    def clear(self) -> None:
        """Forget all shards."""
        self._returned.clear()
        self._portions.clear()
        self._units = iter(())
        self._untouched = 0

    def _begin(self, worker: WorkerId) -> Shard | None:
        """Return the first shard of what no worker has, None where there is nothing."""
        abandoned = max(
            (portion for portion in self._portions if portion.owner is None), key=_frames_left, default=None
        )
        if abandoned is not None:
            abandoned.owner = worker
            return self._take_from(abandoned, worker)
        unit = next(self._units, None)
        if unit is None:
            return None
        if len(unit) == 1:
            self._untouched -= 1
            return unit[0]
        return self._take_from(self._add_portion(unit, worker), worker)

    def _help(self, worker: WorkerId, is_late: Callable[[WorkerId], bool], *, must: bool) -> _Portion | None:
        """Give a worker the second half of what another still has of a file, where that pays."""
        for portion in sorted(self._portions, key=_frames_left, reverse=True):
            worth = must or (portion.owner is not None and is_late(portion.owner))
            # All of it is later in the file, and more work, than the half: most rests are too small by this alone.
            if not worth and self._frames_skipped(worker, portion.shards[0]) > MOST_SKIPPED * portion.frames:
                continue
            kept, given = _halves(portion)
            if not worth and self._frames_skipped(worker, given[0]) > MOST_SKIPPED * _frames(given):
                continue
            self._portions.remove(portion)
            self._add_portion(kept, portion.owner)
            return self._add_portion(given, worker)
        return None

    def _add_portion(self, shards: list[Shard], owner: WorkerId | None) -> _Portion:
        portion = _Portion(deque(shards), _frames(shards), owner)
        if shards:
            self._portions.append(portion)
        return portion

    def _frames_skipped(self, worker: WorkerId, shard: Shard) -> int:
        """Return how many frames a worker has to decode before those of a shard."""
        file, first = shard.video.location, _place(shard)[0]
        last_file, reached = self._reached.get(worker, ("", 0))
        return first - reached if file == last_file and reached <= first else first

    def _take_from(self, portion: _Portion, worker: WorkerId) -> Shard:
        shard = portion.shards.popleft()
        portion.frames -= shard.frames
        if not portion.shards:
            self._portions.remove(portion)
        self._untouched -= 1
        self._reached[worker] = (shard.video.location, _place(shard)[1])
        return shard


@dataclass(slots=True, eq=False)
class _Portion:
    """Shards of a file that a worker is to get, in the order of the file, and their frames.

    There is no worker where it is gone.
    """

    shards: deque[Shard]
    frames: int
    owner: WorkerId | None

    @property
    def file(self) -> str:
        return self.shards[0].video.location


class _Pile:
    """Shards in the order in which they were added, packed in blocks.

    Attributes:
        frames: Frames of all of them.
        longest: Frames of the longest.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.longest = 0
        self._packed: list[bytes] = []
        self._unpacked: list[Shard] = []

    def __iter__(self) -> Iterator[Shard]:
        for block in self._packed:
            yield from _unpack(block)
        yield from self._unpacked

    def add(self, shard: Shard) -> None:
        self.frames += shard.frames
        self.longest = max(self.longest, shard.frames)
        self._unpacked.append(shard)
        if len(self._unpacked) == SHARDS_PER_BLOCK:
            self._packed.append(_pack(self._unpacked))
            self._unpacked.clear()


def _place(shard: Shard) -> tuple[int, int]:
    """Return the first frame of a shard in its file, and the end."""
    return shard.video.start_frame + shard.first, shard.video.start_frame + shard.last


def _frames(shards: Iterable[Shard]) -> int:
    return sum(shard.frames for shard in shards)


def _frames_left(portion: _Portion) -> int:
    return portion.frames


def _halves(portion: _Portion) -> tuple[list[Shard], list[Shard]]:
    """Return the first and the second half of a portion; all of it is the second half where it is one shard."""
    shards, half = list(portion.shards), portion.frames / 2
    given = len(shards) - 1
    while given > 1 and _frames(shards[given:]) < half:
        given -= 1
    return shards[:given], shards[given:]


def _pack(shards: list[Shard]) -> bytes:
    # As tuples: pickling data classes runs Python code and writes a name for each field.
    return zlib.compress(
        pickle.dumps([_fields_of(shard) for shard in shards], pickle.HIGHEST_PROTOCOL), _COMPRESSION_LEVEL
    )


def _unpack(block: bytes) -> Iterator[Shard]:
    for *video, first, last in pickle.loads(zlib.decompress(block)):
        yield Shard(Video(*video), first, last)
