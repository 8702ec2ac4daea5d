"""Which frames are there, and which rows of them count: the pure rules behind resume, compaction and reading.

Ranges of one video may overlap: another run used another shard size, or two drivers raced. Rows of the same frame and
source are equal, so any choice is right as long as it takes each frame once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from phoenix_ray.dataset import paths, shards
from phoenix_ray.dataset.parquet import DamagedFile
from phoenix_ray.dataset.shards import FrameRange, Version
from phoenix_ray.sources.base import Video

RangeType = TypeVar("RangeType", bound="CommittedRange")
# 128 bits: a million videos collide with a probability of 1e-27.
VersionKey = bytes
_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Pick:
    """A part of one of the given ranges: frames `first` to `last` (exclusive) are to be taken from range `source`."""

    source: int
    first: int
    last: int


def pick_once(ranges: Sequence[FrameRange]) -> list[Pick]:
    """Return, in frame order, what to take of which range so that every frame that any of them holds comes once."""
    picks: list[Pick] = []
    reached = 0
    for source in sorted(range(len(ranges)), key=lambda index: (ranges[index][0], -ranges[index][1])):
        first, last = ranges[source]
        if last > reached and last > first:
            picks.append(Pick(source, max(first, reached), last))
            reached = last
    return picks


def missing_frames(ranges: Iterable[FrameRange], frame_count: int) -> list[FrameRange]:
    """Return the ranges of frames 0 to `frame_count` that none of the given ranges holds, in order."""
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
    """Frames of one version of a video, somewhere in the dataset; a `PartitionInfo` is one."""

    @property
    def version(self) -> Version:
        """Which content of the video they come from."""
        ...

    @property
    def first(self) -> int:
        """First frame."""
        ...

    @property
    def last(self) -> int:
        """End of the frames, exclusive."""
        ...

    @property
    def modified(self) -> float:
        """When they were written."""
        ...


def live_ranges(holdings: Iterable[RangeType], compacted: Version | None) -> list[RangeType] | None:
    """Return those of a video's partitions that are the video now, or None when its compacted rows are.

    A video whose source changed is computed again, so that rows of two versions may lie side by side for a while. A
    version that is whole wins over one that is not, and partitions over compacted rows of another version, since
    compaction would have removed them were they older. Until a new version is whole, the old one is the video.
    """
    versions: dict[Version, list[RangeType]] = {}
    for holding in holdings:
        versions.setdefault(holding.version, []).append(holding)
    if compacted is not None:
        versions.pop(compacted, None)
        versions = {version: group for version, group in versions.items() if is_whole(version, group)}
    if not versions:
        return None
    return max(
        versions.values(),
        key=lambda group: (
            is_whole(group[0].version, group),
            max(holding.modified for holding in group),
            group[0].version,
        ),
    )


def is_whole(version: Version, holdings: Iterable[CommittedRange]) -> bool:
    """Whether the holdings have every frame of a version."""
    return not missing_frames(((holding.first, holding.last) for holding in holdings), version.frame_count)


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """Frames of a video that lie in one partition; a `coverage.CommittedRange`."""

    version: Version
    first: int
    last: int
    modified: float


class CommittedFrames:
    """The frames that a dataset holds.

    Args:
        compacted: (split, video ID, version) of each video in the manifest's data files.
        partitions: (split, video ID, frames) of each partition.
        damaged: Files that are not trusted; their frames count as missing.
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
        """Return the frame ranges of a video that are still to be computed, in order; all when its source changed."""
        version = Version(video.signature, video.frame_count)
        if _key(video.split, video.video_id, *map(str, version)) in self._compacted:
            return []
        held_here = self._held.get(_key(video.split, video.video_id), ())
        ranges = [(held.first, held.last) for held in held_here if held.version == version]
        return missing_frames(ranges, video.frame_count)

    def is_whole(self, key: VersionKey) -> bool:
        """Whether all frames of a version of a video are there (`version_key`)."""
        return key in self._compacted or key in self._whole

    def stale_partitions(self, video: Video) -> list[str]:
        """Return the names of partitions that hold an earlier version of a video; `storage.delete` them."""
        version = Version(video.signature, video.frame_count)
        return [
            paths.partition_path(video.split, video.video_id, held.first, held.last)
            for held in self._held.get(_key(video.split, video.video_id), ())
            if held.version != version
        ]


class Expected:
    """What a dataset holds when a run is done: every video that was planned, in 16 bytes each.

    It answers for `committed` and takes note of each video that it is asked about.

    Args:
        committed: What is there already.
    """

    def __init__(self, committed: CommittedFrames) -> None:
        self._committed = committed
        self._keys = bytearray()

    def missing_ranges(self, video: Video) -> list[FrameRange]:
        """Return the frame ranges of a video that are still to be computed, in order."""
        self._keys += version_key(video)
        return self._committed.missing_ranges(video)

    def missing_from(self, committed: CommittedFrames, given_up: Collection[VersionKey]) -> int:
        """Return how many videos are not whole in what is committed now, apart from those that were given up."""
        keys = (bytes(self._keys[start : start + _KEY_BYTES]) for start in range(0, len(self._keys), _KEY_BYTES))
        return sum(not committed.is_whole(key) and key not in given_up for key in keys)


def version_key(video: Video) -> VersionKey:
    """Return the key of one version of a video."""
    return _key(video.split, video.video_id, video.signature, str(video.frame_count))


def _key(*texts: str) -> VersionKey:
    # With their lengths, since an ID may hold whatever would separate it from the next text.
    joined = "".join(f"{len(text)}:{text}" for text in texts)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
