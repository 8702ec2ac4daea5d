"""What a run has to compute: the videos of the source, minus what is committed, cut into shards.

Pure functions of a source listing and of what is committed; `cluster.job` runs the result, `phoenix-ray plan` prints
it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from phoenix_ray.cluster.backlog import PackedShards
from phoenix_ray.cluster.shards import cut
from phoenix_ray.dataset.shards import FrameRange, Shard
from phoenix_ray.sources.base import SourceProblem, Video
from phoenix_ray.sources.left_out import LeftOut, describe

MissingRanges = Callable[[Video], list[FrameRange]]


@dataclass(frozen=True, slots=True)
class SplitTotals:
    """How much of one split there is, how much is already committed, and how many videos have no even frame rate."""

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
        totals: By split.
        problems: Videos that the source names but that cannot be planned.
        left_out: Files in the source's place that it does not read.
    """

    shards: PackedShards
    totals: dict[str, SplitTotals]
    problems: tuple[SourceProblem, ...]
    left_out: tuple[LeftOut, ...] = ()

    def notes(self) -> list[str]:
        """Return what the user should know of the source beside the totals, a line each: nothing of it is an error."""
        lines = describe(self.left_out)
        if varying := self.total.varying_videos:
            of = "1 video" if varying == 1 else f"{varying:,} videos"
            lines.append(
                f"The frame rate of {of} varies: fps is the average there, and the column `timestamp` says when each "
                "frame is shown."
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
    shards = PackedShards()
    totals: dict[str, SplitTotals] = {}
    problems: list[SourceProblem] = []
    for video in listing:
        if isinstance(video, SourceProblem):
            problems.append(video)
            continue
        ranges = missing(video)
        cuts = [Shard(video, first, last) for gap in ranges for first, last in cut(gap, shard_frames, batch_size)]
        for shard in cuts:
            shards.add(shard)
        absent = sum(last - first for first, last in ranges)
        totals[video.split] = totals.get(video.split, SplitTotals()) + SplitTotals(
            videos=1,
            frames=video.frame_count,
            committed_videos=int(absent == 0),
            committed_frames=video.frame_count - absent,
            shards=len(cuts),
            varying_videos=int(video.fps_varies),
        )
    return Plan(shards, totals, tuple(problems))


def describe_plan(plan: Plan) -> str:
    """Return a plan in one line."""
    whole, shards = plan.total, len(plan.shards)
    done = f"; {whole.committed_frames:,} frames are committed already" if whole.committed_frames else ""
    unread = f"; {len(plan.problems):,} more cannot be opened" if plan.problems else ""
    return (
        f"{whole.videos:,} video{'s' * (whole.videos != 1)} with {whole.frames:,} frames{unread}{done}; "
        f"{plan.missing_frames:,} frames to compute in {shards:,} shard{'s' * (shards != 1)}"
    )
