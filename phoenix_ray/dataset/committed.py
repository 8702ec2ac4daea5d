"""What is done: the question of every resume, answered from the files alone.

The driver makes this once at its start, of what the sweep saw, and asks it about each video of the source. It holds
some hundred bytes a video and no path, so that a million videos fit beside the plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import pyarrow as pa

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.coverage import FrameRange, Version, is_whole, live_holdings, missing_frames
from phoenix_ray.dataset.encoding import DamagedFile
from phoenix_ray.dataset.survey import Survey
from phoenix_ray.dataset.videos import VERSION_COLUMNS
from phoenix_ray.sources.base import Video

# 128 bits: a million videos collide with a probability of 1e-27.
VideoKey = bytes
_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class HeldFrames:
    """Frames of a video that lie in one partition; a `coverage.Holding`."""

    version: Version
    first: int
    last: int
    modified: float


class Committed:
    """The frames that a dataset holds.

    Args:
        compacted: (split, video ID, version) of each video in the manifest's data files.
        partitions: (split, video ID, frames) of each partition.
        damaged: Files that are not trusted; their frames count as missing.
    """

    def __init__(
        self,
        compacted: Iterable[tuple[str, str, Version]],
        partitions: Iterable[tuple[str, str, HeldFrames]],
        damaged: Iterable[DamagedFile] = (),
    ) -> None:
        self.damaged = tuple(damaged)
        self.partitions = 0
        self._held: dict[VideoKey, list[HeldFrames]] = {}
        open_videos: set[tuple[str, str]] = set()
        for split, video_id, held in partitions:
            self.partitions += 1
            self._held.setdefault(_key(split, video_id), []).append(held)
            open_videos.add((split, video_id))
        self._whole: set[VideoKey] = set()
        for split, video_id in open_videos:
            mixed = self._held[_key(split, video_id)]
            for version in {held.version for held in mixed}:
                if is_whole(version, [held for held in mixed if held.version == version]):
                    self._whole.add(_key(split, video_id, *map(str, version)))
        self._compacted: set[VideoKey] = set()
        for split, video_id, version in compacted:
            held_here = self._held.get(_key(split, video_id), ())
            if not held_here or live_holdings(held_here, version) is None:
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

    def is_whole(self, key: VideoKey) -> bool:
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

    def __init__(self, committed: Committed) -> None:
        self._committed = committed
        self._keys = bytearray()

    def missing_ranges(self, video: Video) -> list[FrameRange]:
        """Return the frame ranges of a video that are still to be computed, in order."""
        self._keys += version_key(video)
        return self._committed.missing_ranges(video)

    def missing_from(self, committed: Committed, given_up: Collection[VideoKey]) -> int:
        """Return how many videos are not whole in what is committed now, apart from those that were given up."""
        keys = (bytes(self._keys[start : start + _KEY_BYTES]) for start in range(0, len(self._keys), _KEY_BYTES))
        return sum(not committed.is_whole(key) and key not in given_up for key in keys)


def version_key(video: Video) -> VideoKey:
    """Return the key of one version of a video."""
    return _key(video.split, video.video_id, video.signature, str(video.frame_count))


def committed_in(survey: Survey) -> Committed:
    """Return the frames that a dataset held when it was surveyed."""
    partitions = (
        (info.split, info.video_id, HeldFrames(info.version, info.first, info.last, info.modified))
        for info in survey.partitions
    )
    return Committed(_versions(survey.videos), partitions, survey.damaged)


def _versions(videos: pa.Table) -> Iterable[tuple[str, str, Version]]:
    for batch in videos.to_batches(max_chunksize=10_000):
        columns = (batch.column(name).to_pylist() for name in VERSION_COLUMNS[:4])
        for split, video_id, signature, frames in zip(*columns, strict=True):
            yield split, video_id, Version(signature, frames)


def _key(*texts: str) -> VideoKey:
    # With their lengths, since an ID may hold whatever would separate it from the next text.
    joined = "".join(f"{len(text)}:{text}" for text in texts)
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest()
