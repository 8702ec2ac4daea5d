"""What a run has to compute: the videos of the source, minus what is committed, cut into shards.

`cluster.job` computes a plan, `phoenix-ray plan` prints it, `cluster.scheduler` takes its shards out one by one
(`cluster.shard_queue`).

In mode tracking a plan has a chain for each gap of a video instead: one range, which `cluster.chains` cuts into links
during the run. So the longest chains come first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from phoenix_ray.cluster.chains import link_frames
from phoenix_ray.cluster.shard_queue import PackedShards
from phoenix_ray.cluster.shards import cut
from phoenix_ray.config import Settings
from phoenix_ray.dataset.shards import FrameRange, Shard
from phoenix_ray.models import registry
from phoenix_ray.sources.base import LeftOut, Source, SourceProblem, Video
from phoenix_ray.sources.listing import describe_left_out
from phoenix_ray.text import counted

MissingRanges = Callable[[Video], list[FrameRange]]


@dataclass(frozen=True, slots=True)
class SplitTotals:
    """How much there is of a split, how much of it is committed, and how many of its videos the user should look at.

    Attributes:
        varying_videos: Videos without an even frame rate.
        clipped_segments: Segments whose end lies after the end of their source.
        stretched_videos: Videos whose pixels are not square, and stay so.
        unknown_shapes: Videos that were to be corrected, but of whose pixels nobody knows the shape.
    """

    videos: int = 0
    frames: int = 0
    committed_videos: int = 0
    committed_frames: int = 0
    shards: int = 0
    varying_videos: int = 0
    clipped_segments: int = 0
    stretched_videos: int = 0
    unknown_shapes: int = 0

    def __add__(self, other: SplitTotals) -> SplitTotals:
        return SplitTotals(
            self.videos + other.videos,
            self.frames + other.frames,
            self.committed_videos + other.committed_videos,
            self.committed_frames + other.committed_frames,
            self.shards + other.shards,
            self.varying_videos + other.varying_videos,
            self.clipped_segments + other.clipped_segments,
            self.stretched_videos + other.stretched_videos,
            self.unknown_shapes + other.unknown_shapes,
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
        if clipped := self.total.clipped_segments:
            lines.append(
                f"The end of {counted(clipped, 'segment')} lies after the last frame of the video, and is moved there."
            )
        if stretched := self.total.stretched_videos:
            lines.append(
                f"The pixels of {counted(stretched, 'video')} are not square (column pixel_aspect_ratio of "
                "videos.parquet), so people look too wide or too narrow to the model. source.square_pixels=true "
                "corrects them; it needs an output of its own."
            )
        if unknown := self.total.unknown_shapes:
            lines.append(
                f"source.square_pixels leaves {counted(unknown, 'video')} as it is: nothing says what shape the pixels "
                "have. source.pixel_aspect_ratio gives it."
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
        unread = f"; {len(self.problems):,} more cannot be used" if self.problems else ""
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
        is_shared = video.is_segment or len(cuts) > 1 or any(shard.frames < video.frame_count for shard in cuts)
        file = video.location if video.kind == "video_file" and is_shared else ""
        for shard in cuts:
            shards.add(shard, file)
        absent = sum(last - first for first, last in ranges)
        totals[video.split] = totals.get(video.split, SplitTotals()) + SplitTotals(
            videos=1,
            frames=video.frame_count,
            committed_videos=int(absent == 0),
            committed_frames=video.frame_count - absent,
            shards=sum(links),
            varying_videos=int(video.fps_varies),
            clipped_segments=int(video.is_clipped),
            stretched_videos=int(video.is_stretched),
            unknown_shapes=int(video.square_pixels and video.pixel_aspect_ratio is None),
        )
    return Plan(shards, totals, tuple(problems), longest_chain=longest_chain)


def _whole(missing: MissingRanges) -> MissingRanges:
    """Return a function that gives all frames of a video of which any is missing."""
    return lambda video: [(0, video.frame_count)] if missing(video) else []
