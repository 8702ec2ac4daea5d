"""Shards that wait for a worker, in the order to start them, packed so that a driver holds millions of them.

As Python objects a shard and its video (texts, location, signature) take about 1 kB; pickled and compressed with their
neighbours, a sixth of that. `cluster.plan` packs them, `cluster.scheduler` takes them out one by one.
"""

from __future__ import annotations

import pickle
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import Protocol

from phoenix_ray.dataset.shards import Shard
from phoenix_ray.sources.base import Video

# More compress better, but the last block of each length stays unpacked until it is full.
SHARDS_PER_BLOCK = 64
# Higher levels of zlib save little and take several times as long.
_COMPRESSION_LEVEL = 1
_fields_of = attrgetter(*(f"video.{field.name}" for field in fields(Video)), "first", "last")


class Shards(Protocol):
    """A known number of shards, in the order to start them."""

    def __len__(self) -> int:
        """Return how many."""
        ...

    def __iter__(self) -> Iterator[Shard]:
        """Yield them."""
        ...


class PackedShards:
    """Shards of a plan. One of the shortest comes first, the others longest first, equal ones as they came in.

    A short one shows within seconds whether everything works; short ones at the end let all workers finish together.

    Attributes:
        frames: Frames of all of them.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._count = 0
        self._packed: dict[int, list[bytes]] = {}
        self._unpacked: dict[int, list[Shard]] = {}

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Shard]:
        if not self._count:
            return
        shortest, *longer = sorted(self._unpacked)
        yield from islice(self._of_length(shortest), 1)
        for length in reversed(longer):
            yield from self._of_length(length)
        yield from islice(self._of_length(shortest), 1, None)

    def add(self, shard: Shard) -> None:
        """Take a shard in."""
        self.frames += shard.frames
        self._count += 1
        block = self._unpacked.setdefault(shard.frames, [])
        block.append(shard)
        if len(block) == SHARDS_PER_BLOCK:
            self._packed.setdefault(shard.frames, []).append(_pack(block))
            block.clear()

    def _of_length(self, length: int) -> Iterator[Shard]:
        for block in self._packed.get(length, ()):
            yield from _unpack(block)
        yield from self._unpacked[length]


class ShardQueue:
    """Shards that are taken from the front, and may be put back there.

    Args:
        shards: What the queue holds at first; unpacked as it is reached.
    """

    def __init__(self, shards: Shards) -> None:
        self._returned: deque[Shard] = deque()
        self._shards = iter(shards)
        self._untouched = len(shards)

    def __len__(self) -> int:
        return len(self._returned) + self._untouched

    def popleft(self) -> Shard:
        """Take the first shard out.

        Raises:
            IndexError: There is none.
        """
        if self._untouched and not self._returned:
            self._untouched -= 1
            return next(self._shards)
        return self._returned.popleft()

    def appendleft(self, shard: Shard) -> None:
        """Put a shard back: it is the first again."""
        self._returned.appendleft(shard)

    def clear(self) -> None:
        """Forget all shards."""
        self._returned.clear()
        self._untouched = 0


def _pack(shards: list[Shard]) -> bytes:
    # As tuples, since a data class takes Python code and a name for each field to pickle.
    return zlib.compress(
        pickle.dumps([_fields_of(shard) for shard in shards], pickle.HIGHEST_PROTOCOL), _COMPRESSION_LEVEL
    )


def _unpack(block: bytes) -> Iterator[Shard]:
    for *video, first, last in pickle.loads(zlib.decompress(block)):
        yield Shard(Video(*video), first, last)
