"""How a video becomes several shards."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from phoenix_ray.dataset.shards import FrameRange, Shard


def cut(gap: FrameRange, shard_frames: int, batch_size: int) -> Iterator[FrameRange]:
    """Yield a range cut into equal pieces of at most about `shard_frames`, inner cuts at multiples of `batch_size`.

    "About": a piece is rounded up to whole batches, so that it exceeds `shard_frames` by less than one batch.
    """
    first, last = gap
    pieces = max(1, math.ceil((last - first) / shard_frames))
    step = math.ceil((last - first) / pieces / batch_size) * batch_size
    start = first
    while start < last:
        stop = min(last, (start // batch_size) * batch_size + step)
        yield start, stop
        start = stop


def halves(shard: Shard, batch_size: int) -> tuple[Shard, Shard]:
    """Return a shard of two frames or more as two: cut between batches while it holds several, else between frames.

    A half of less than a batch meets other neighbours in its batch than the whole video gives it, so this is for the
    search for a frame that kills its worker, not for planning.
    """
    middle = (shard.first + shard.last) / 2
    inner = range((shard.first // batch_size + 1) * batch_size, shard.last, batch_size)
    where = min(inner, key=lambda cut: abs(cut - middle), default=int(middle))
    return replace(shard, last=where), replace(shard, first=where)
