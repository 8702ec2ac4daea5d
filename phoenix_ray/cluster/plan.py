"""What a run has to compute: the videos of the source, minus what is committed, cut into shards.

Pure functions of a source listing and of what is committed; `cluster.job` runs the result, `phoenix-ray plan` prints
it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from phoenix_ray.sources.base import SourceProblem, Video

FrameRange = tuple[int, int]
ShardKey = tuple[str, str, int, int]
MissingRanges = Callable[[Video], list[FrameRange]]


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


@dataclass(frozen=True, slots=True)
class SplitTotals:
    """How much of one split there is, and how much is already committed."""

    videos: int = 0
    frames: int = 0
    committed_videos: int = 0
    committed_frames: int = 0
    shards: int = 0

    def __add__(self, other: SplitTotals) -> SplitTotals:
        return SplitTotals(
            self.videos + other.videos,
            self.frames + other.frames,
            self.committed_videos + other.committed_videos,
            self.committed_frames + other.committed_frames,
            self.shards + other.shards,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Shards to compute, longest first so that the end of the run is short, and what was counted on the way."""

    shards: tuple[Shard, ...]
    totals: dict[str, SplitTotals]
    problems: tuple[SourceProblem, ...]

    @property
    def total(self) -> SplitTotals:
        """All splits together."""
        return sum(self.totals.values(), SplitTotals())

    @property
    def missing_frames(self) -> int:
        """Frames that the shards hold."""
        return sum(shard.frames for shard in self.shards)


def make_plan(
    listing: Iterable[Video | SourceProblem], missing: MissingRanges, shard_frames: int, batch_size: int
) -> Plan:
    """Return the plan for a source listing.

    Args:
        listing: Videos of the source, and problems in the place of bad ones.
        missing: Gives the frame ranges of a video that are not committed yet.
        shard_frames: About how many frames a shard may have.
        batch_size: Frames of a model batch; shards are cut at its multiples so that batches are the same however a
            video is sharded.
    """
    shards: list[Shard] = []
    totals: dict[str, SplitTotals] = {}
    problems: list[SourceProblem] = []
    for video in listing:
        if isinstance(video, SourceProblem):
            problems.append(video)
            continue
        ranges = missing(video)
        cuts = [Shard(video, first, last) for gap in ranges for first, last in cut(gap, shard_frames, batch_size)]
        shards.extend(cuts)
        absent = sum(last - first for first, last in ranges)
        totals[video.split] = totals.get(video.split, SplitTotals()) + SplitTotals(
            videos=1,
            frames=video.frame_count,
            committed_videos=int(absent == 0),
            committed_frames=video.frame_count - absent,
            shards=len(cuts),
        )
    shards.sort(key=lambda shard: -shard.frames)
    return Plan(tuple(shards), totals, tuple(problems))


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
