"""The unit of work, and how a video becomes several of them.

Made by `cluster.plan`, handed out by `cluster.scheduler`, computed by `cluster.worker`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from phoenix_ray.sources.base import Video

FrameRange = tuple[int, int]
ShardKey = tuple[str, str, int, int]
VideoKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Shard:
    """A unit of work for one actor, committed as one file: frames `first` to `last` (exclusive) of one video."""

    video: Video
    first: int
    last: int

    @property
    def frames(self) -> int:
        """Number of frames."""
        return self.last - self.first

    @property
    def key(self) -> ShardKey:
        """What names the shard within a dataset."""
        return (self.video.split, self.video.video_id, self.first, self.last)

    def keeps_batches(self, batch_size: int) -> bool:
        """Whether each frame meets the neighbours in its batch that the whole video gives it."""
        return self.first % batch_size == 0 and (self.last % batch_size == 0 or self.last == self.video.frame_count)

    def __str__(self) -> str:
        frames = f"frame {self.first}" if self.frames == 1 else f"frames {self.first}-{self.last - 1}"
        return f"{self.video.split}/{self.video.video_id} {frames}"


def cut_range(gap: FrameRange, shard_frames: int, batch_size: int) -> Iterator[FrameRange]:
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
    where = min(inner, key=lambda cut_range: abs(cut_range - middle), default=int(middle))
    return replace(shard, last=where), replace(shard, first=where)
