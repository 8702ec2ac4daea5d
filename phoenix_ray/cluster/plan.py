"""What a run has to compute: the videos of the source, minus what is committed, cut into shards.

`cluster.job` computes a plan, `phoenix-ray plan` prints it. Its shards wait for a worker packed, so that a driver holds
millions of them: as Python objects a shard and its video (texts, location, signature) take about 1 kB; pickled and
compressed with their neighbours, a sixth of that. `cluster.scheduler` takes them out one by one.

In mode tracking a plan has a chain for each gap of a video instead: one range, which `cluster.chains` cuts into links
during the run. So the longest chains come first.
"""

from __future__ import annotations

import math
import pickle
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import islice
from operator import attrgetter
from typing import Protocol

from phoenix_ray.cluster.chains import link_frames
from phoenix_ray.cluster.shards import cut
from phoenix_ray.config import Settings
from phoenix_ray.dataset.shards import FrameRange, Shard
from phoenix_ray.models import registry
from phoenix_ray.sources.base import LeftOut, Source, SourceProblem, Video
from phoenix_ray.sources.listing import describe_left_out
from phoenix_ray.text import counted

MissingRanges = Callable[[Video], list[FrameRange]]

# More compress better, but the last block of each length stays unpacked until it is full.
SHARDS_PER_BLOCK = 64
# Higher levels of zlib save little and take several times as long.
_COMPRESSION_LEVEL = 1
_fields_of = attrgetter(*(f"video.{field.name}" for field in fields(Video)), "first", "last")


@dataclass(frozen=True, slots=True)
class SplitTotals:
    """How much there is of a split, how much of it is committed, and how many of its videos have no even frame rate."""

    videos: int = 0
    frames: int = 0
    committed_videos: int = 0
    committed_frames: int = 0
    shards: int = 0
    varying_videos: int = 0

    def __add__(self, other: SplitTotals) -> SplitTotals:
        return SplitTotals(
            self.videos + other.videos,
            self.frames + other.frames,
            self.committed_videos + other.committed_videos,
            self.committed_frames + other.committed_frames,
            self.shards + other.shards,
            self.varying_videos + other.varying_videos,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """Shards to compute, in the order to start them, and what was counted on the way.

    Attributes:
        shards: The shards.
        totals: Counts by split.
        problems: Videos that the source names but that cannot be planned.
        left_out: Files at the source's path that it does not read.
        longest_chain: The most links that follow each other; 0 in mode static.
        dropped: Videos of the source that were dropped from the dataset.
    """

    shards: PackedShards
    totals: dict[str, SplitTotals]
    problems: tuple[SourceProblem, ...]
    left_out: tuple[LeftOut, ...] = ()
    longest_chain: int = 0
    dropped: int = 0

    def notes(self) -> list[str]:
        """Return what the user should know about the source beside the totals, a line each; none is an error."""
        lines = describe_left_out(self.left_out)
        if self.dropped:
            lines.append(
                f"{counted(self.dropped, 'video')} of the source left out: dropped from this dataset for good. "
                "`phoenix-ray drop DATASET --list` shows when and why, `--allow --video ID` brings a video back."
            )
        if varying := self.total.varying_videos:
            lines.append(
                f"The frame rate of {counted(varying, 'video')} varies: fps is the average there, and the column "
                "`timestamp` says when each frame is shown."
            )
        if self.longest_chain > 1:
            lines.append(
                f"Mode tracking: the longest video needs {self.longest_chain:,} shards, each of which begins when the "
                "one before is committed. More workers do not make it faster, so it bounds the end of the run."
            )
        return lines

    @property
    def total(self) -> SplitTotals:
        """All splits together."""
        return sum(self.totals.values(), SplitTotals())

    @property
    def missing_frames(self) -> int:
        """Frames that the shards hold."""
        return self.shards.frames

    def line(self) -> str:
        """Return the plan in one line."""
        whole = self.total
        done = f"; {whole.committed_frames:,} frames are committed already" if whole.committed_frames else ""
        unread = f"; {len(self.problems):,} more cannot be opened" if self.problems else ""
        return (
            f"{counted(whole.videos, 'video')} with {counted(whole.frames, 'frame')}{unread}{done}; "
            f"{counted(self.missing_frames, 'frame')} to compute in {counted(whole.shards, 'shard')}"
        )


def plan_run(settings: Settings, source: Source, missing: MissingRanges) -> Plan:
    """Return the plan for a source, with the names of the files that it leaves out.

    Raises:
        SourceError: The source cannot be listed.
    """
    left_out: list[LeftOut] = []
    listing = source.videos(left_out.append)
    facts = registry.facts(settings.model)
    if facts.whole_videos:
        missing = _whole(missing)
    shard_frames = link_frames(facts, settings.cluster.shard_frames) or settings.cluster.shard_frames
    plan = make_plan(listing, missing, shard_frames, facts.batch_size, chained=facts.tracks)
    return replace(plan, left_out=tuple(left_out))


def make_plan(
    listing: Iterable[Video | SourceProblem],
    missing: MissingRanges,
    shard_frames: int,
    batch_size: int,
    *,
    chained: bool = False,
) -> Plan:
    """Return the plan for a source listing.

    Args:
        listing: Videos of the source, and problems in the place of bad ones.
        missing: Gives the frame ranges of a video that are not committed yet.
        shard_frames: About how many frames a shard may have.
        batch_size: Frames of a model batch; shards are cut at its multiples so that batches are the same however a
            video is sharded.
        chained: Whether the frames of a video depend on those before (`ModelFacts.tracks`).
    """
    longest_chain = 0
    shards = PackedShards()
    totals: dict[str, SplitTotals] = {}
    problems: list[SourceProblem] = []
    for video in listing:
        if isinstance(video, SourceProblem):
            problems.append(video)
            continue
        ranges = missing(video)
        if chained:
            cuts = [Shard(video, first, last) for first, last in ranges]
            links = [math.ceil(chain.frames / shard_frames) for chain in cuts]
            longest_chain = max(longest_chain, *links, 0)
        else:
            cuts = [Shard(video, first, last) for gap in ranges for first, last in cut(gap, shard_frames, batch_size)]
            links = [1] * len(cuts)
        for shard in cuts:
            shards.add(shard)
        absent = sum(last - first for first, last in ranges)
        totals[video.split] = totals.get(video.split, SplitTotals()) + SplitTotals(
            videos=1,
            frames=video.frame_count,
            committed_videos=int(absent == 0),
            committed_frames=video.frame_count - absent,
            shards=sum(links),
            varying_videos=int(video.fps_varies),
        )
    return Plan(shards, totals, tuple(problems), longest_chain=longest_chain)


def _whole(missing: MissingRanges) -> MissingRanges:
    """Return a function that gives all frames of a video of which any is missing."""
    return lambda video: [(0, video.frame_count)] if missing(video) else []


class Shards(Protocol):
    """A known number of shards, in the order to start them."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Shard]: ...


class PackedShards:
    """Shards of a plan: one of the shortest first, then the longest to the shortest, equal ones in the order of `add`.

    A short shard shows within seconds whether everything works; short ones at the end let all workers finish together.

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

    @property
    def longest(self) -> int:
        """Frames of the longest one; 0 where there is none."""
        return max(self._unpacked, default=0)

    def add(self, shard: Shard) -> None:
        """Add a shard."""
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
            IndexError: The queue is empty.
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
    # As tuples: pickling data classes runs Python code and writes a name for each field.
    return zlib.compress(
        pickle.dumps([_fields_of(shard) for shard in shards], pickle.HIGHEST_PROTOCOL), _COMPRESSION_LEVEL
    )


def _unpack(block: bytes) -> Iterator[Shard]:
    for *video, first, last in pickle.loads(zlib.decompress(block)):
        yield Shard(Video(*video), first, last)
