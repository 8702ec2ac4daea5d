"""Videos, their versions and ranges of their frames: which are committed, and which rows count.

`cluster.plan` makes shards, `cluster.worker` computes them, `partitions.write_partition` commits each as one file.

Ranges of a video may overlap, since runs may differ in shard size and two drivers may race. Rows of the same frame and
version are equal, so any choice is right that takes each frame once.

At its start the driver makes a `CommittedFrames` from what the sweep found, and asks it about each video of the source.
It takes some hundred bytes for a video and stores no path, so that a million videos fit in memory beside the plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

from phoenix_ray.dataset import paths, shards
from phoenix_ray.dataset.parquet import DamagedFile
from phoenix_ray.dataset.sealing import FiniteNumber, Flag, FrameNumber, Texts
from phoenix_ray.sources.base import Video

# Split and video ID.
VideoKey = tuple[str, str]
# First frame and end of the frames, exclusive.
FrameRange = tuple[int, int]
# What names a shard within a dataset: split, video ID, first frame, end.
ShardKey = tuple[str, str, int, int]


class Version(NamedTuple):
    """One content of a video: rows of different versions never mix."""

    signature: str
    frame_count: int


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
        """Whether each frame shares its batch with the same frames as when the video is computed whole."""
        return self.first % batch_size == 0 and (self.last % batch_size == 0 or self.last == self.video.frame_count)

    def __str__(self) -> str:
        frames = f"frame {self.first}" if self.frames == 1 else f"frames {self.first}-{self.last - 1}"
        return f"{self.video.split}/{self.video.video_id} {frames}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedVideo:
    """What the dataset records of a video, as its source described it when its frames were read.

    Attributes:
        split: Split of the video.
        video_id: ID of the video, unique within the split.
        frame_count: Number of frames of the whole video.
        signature: The source's signature of its content.
        fps: Frames per second; None where the source has no clock, the average where the rate varies.
        annotation: Text that belongs to the video.
        fps_varies: Whether the frame rate varies; None where an earlier version wrote the file and did not look.
        start_frame: Frame of its file or folder with which the video begins: above 0 only in segments. Here and below,
            None where an earlier version wrote the file.
        start_seconds: When that frame is shown, in seconds from the start of the file; None also without a clock.
        pixel_aspect_ratio: Width of a stored pixel over its height; None also where the source does not say.
    """

    split: str
    video_id: str
    frame_count: FrameNumber
    signature: str
    fps: FiniteNumber | None
    annotation: Texts
    fps_varies: Flag | None = None
    start_frame: FrameNumber | None = None
    start_seconds: FiniteNumber | None = None
    pixel_aspect_ratio: FiniteNumber | None = None

    @property
    def key(self) -> VideoKey:
        """Split and video ID."""
        return (self.split, self.video_id)

    @property
    def version(self) -> Version:
        """Which content of the video it is."""
        return Version(self.signature, self.frame_count)


def recorded_fields(video: Video | RecordedVideo) -> dict[str, Any]:
    """Return the fields of `RecordedVideo` of a video, to make one of its subclasses."""
    return {
        "split": video.split,
        "video_id": video.video_id,
        "frame_count": video.frame_count,
        "signature": video.signature,
        "fps": video.fps,
        "annotation": dict(video.annotation),
        "fps_varies": video.fps_varies,
        "start_frame": video.start_frame,
        "start_seconds": video.start_seconds,
        "pixel_aspect_ratio": video.pixel_aspect_ratio,
    }


RangeType = TypeVar("RangeType", bound="CommittedRange")
# 128 bits: a million videos collide with a probability of 1e-27.
VersionKey = bytes
_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Pick:
    """A part of one of the given ranges: take frames `first` to `last` (exclusive) from the range number `source`."""

    source: int
    first: int
    last: int


def pick_once(ranges: Sequence[FrameRange]) -> list[Pick]:
    """Return which part of which range to take, in frame order, so that each frame in any range comes once."""
    picks: list[Pick] = []
    reached = 0
    for source in sorted(range(len(ranges)), key=lambda index: (ranges[index][0], -ranges[index][1])):
        first, last = ranges[source]
        if last > reached and last > first:
            picks.append(Pick(source, max(first, reached), last))
            reached = last
    return picks


def missing_ranges(ranges: Iterable[FrameRange], frame_count: int) -> list[FrameRange]:
    """Return, in order, the ranges between 0 and `frame_count` that none of the given ranges covers."""
    gaps: list[FrameRange] = []
    reached = 0
    for first, last in sorted(ranges):
        if first == last:
            continue
        if first >= frame_count:
            break
        if first > reached:
            gaps.append((reached, first))
        reached = max(reached, last)
    if reached < frame_count:
        gaps.append((reached, frame_count))
    return gaps


class CommittedRange(Protocol):
    """Frames of one version of a video in a file of the dataset; a `PartitionInfo` is one."""

    @property
    def version(self) -> Version:
        """Which content of the video they come from."""

    @property
    def first(self) -> int:
        """First frame."""

    @property
    def last(self) -> int:
        """End of the frames, exclusive."""

    @property
    def modified(self) -> float:
        """When they were written."""


def live_ranges(ranges: Iterable[RangeType], compacted: Version | None) -> list[RangeType] | None:
    """Return the partitions of a video whose rows count, or None when its compacted rows count.

    A video whose source has changed is computed again, so that rows of two versions may coexist for a while. A whole
    version wins over an incomplete one, and partitions win over compacted rows of another version, since compaction
    would have removed them if they were older. Until a new version is whole, the old one counts.
    """
    versions: dict[Version, list[RangeType]] = {}
    for held in ranges:
        versions.setdefault(held.version, []).append(held)
    if compacted is not None:
        versions.pop(compacted, None)
        versions = {version: group for version, group in versions.items() if is_whole(version, group)}
    if not versions:
        return None
    return max(
        versions.values(),
        key=lambda group: (
            is_whole(group[0].version, group),
            max(held.modified for held in group),
            group[0].version,
        ),
    )


def is_whole(version: Version, ranges: Iterable[CommittedRange]) -> bool:
    """Whether the ranges have every frame of a version."""
    return not missing_ranges(((held.first, held.last) for held in ranges), version.frame_count)


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """The frames of a video in one partition; a `CommittedRange`."""

    version: Version
    first: int
    last: int
    modified: float


class CommittedFrames:
    """The frames that a dataset has.

    Args:
        compacted: (split, video ID, version) of each video in the manifest's data files.
        partitions: (split, video ID, frames) of each partition.
        damaged: Files that cannot be trusted; their frames count as missing.
    """

    def __init__(
        self,
        compacted: Iterable[tuple[str, str, Version]],
        partitions: Iterable[tuple[str, str, PartitionRange]],
        damaged: Iterable[DamagedFile] = (),
    ) -> None:
        self.damaged = tuple(damaged)
        self.partitions = 0
        self._held: dict[VersionKey, list[PartitionRange]] = {}
        open_videos: set[shards.VideoKey] = set()
        for split, video_id, held in partitions:
            self.partitions += 1
            self._held.setdefault(_key(split, video_id), []).append(held)
            open_videos.add((split, video_id))
        self._whole: set[VersionKey] = set()
        for split, video_id in open_videos:
            mixed = self._held[_key(split, video_id)]
            for version in {held.version for held in mixed}:
                if is_whole(version, [held for held in mixed if held.version == version]):
                    self._whole.add(_key(split, video_id, *map(str, version)))
        self._compacted: set[VersionKey] = set()
        for split, video_id, version in compacted:
            held_here = self._held.get(_key(split, video_id), ())
            if not held_here or live_ranges(held_here, version) is None:
                self._compacted.add(_key(split, video_id, *map(str, version)))

    def __bool__(self) -> bool:
        """Whether there are any frames."""
        return bool(self._held or self._compacted)

    def missing_ranges(self, video: Video) -> list[FrameRange]:
        """Return the frame ranges of a video that must still be computed, in order; all if its source has changed."""
        version = Version(video.signature, video.frame_count)
        if _key(video.split, video.video_id, *map(str, version)) in self._compacted:
            return []
        held_here = self._held.get(_key(video.split, video.video_id), ())
        ranges = [(held.first, held.last) for held in held_here if held.version == version]
        return missing_ranges(ranges, video.frame_count)

    def is_whole(self, key: VersionKey) -> bool:
        """Whether all frames of a version of a video (`version_key`) are committed."""
        return key in self._compacted or key in self._whole

    def stale_partitions(self, video: Video) -> list[str]:
        """Return the names of the partitions that hold another version of a video, for deletion."""
        version = Version(video.signature, video.frame_count)
        return [
            paths.partition_path(video.split, video.video_id, held.first, held.last)
            for held in self._held.get(_key(video.split, video.video_id), ())
            if held.version != version
        ]


class Expected:
    """What a dataset must have when a run is done: every planned video, in 16 bytes each.

    It answers like `committed`, and records each video that it is asked about.

    Args:
        committed: What the dataset has already.
    """

    def __init__(self, committed: CommittedFrames) -> None:
        self._committed = committed
        self._keys = bytearray()

    def missing_ranges(self, video: Video) -> list[FrameRange]:
        """Return the frame ranges of a video that must still be computed, in order, and expect the video."""
        self._keys += version_key(video)
        return self._committed.missing_ranges(video)

    def missing_from(self, committed: CommittedFrames, given_up: Collection[VersionKey]) -> int:
        """Return how many expected videos are not whole in `committed`, without those that were given up."""
        keys = (bytes(self._keys[start : start + _KEY_BYTES]) for start in range(0, len(self._keys), _KEY_BYTES))
        return sum(not committed.is_whole(key) and key not in given_up for key in keys)


def version_key(video: Video) -> VersionKey:
    """Return the key of one version of a video."""
    return _key(video.split, video.video_id, video.signature, str(video.frame_count))


def name_key(split: str, video_id: str) -> bytes:
    """Return the key of a video, whatever its version: the same in every process and version of phoenix_ray."""
    return _key(split, video_id)


def _key(*texts: str) -> VersionKey:
    # With their lengths, since an ID may contain any separator.
    joined = "".join(f"{len(text)}:{text}" for text in texts)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
