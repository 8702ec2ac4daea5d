"""All that lies in a dataset at one moment: what compaction plans from, the sweep cleans by and the reader reads.

`dataset.coverage` answers the narrower question of a resume, and keeps less in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa

from phoenix_ray.dataset.coverage import CommittedFrames, PartitionRange, is_whole, live_ranges
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import Manifest, check_files, newest_generation, read_manifest
from phoenix_ray.dataset.parquet import DamagedFile
from phoenix_ray.dataset.partitions import FOOTER_THREADS, PartitionInfo, list_partitions
from phoenix_ray.dataset.shards import Version, VideoKey
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.dataset.video_table import VERSION_COLUMNS, gather_videos, select_videos
from phoenix_ray.errors import OutputError

# How often a dataset is looked at anew whose data files are replaced in the same moment.
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class CompactedVideo:
    """Where a video's compacted rows lie, and of which version they are."""

    version: Version
    file: str


@dataclass(frozen=True, slots=True)
class OpenVideo:
    """A video that has partitions.

    Attributes:
        split: Its split.
        video_id: The video.
        partitions: All its partitions, of any version.
        compacted: Its compacted rows, None when there are none.
    """

    split: str
    video_id: str
    partitions: tuple[PartitionInfo, ...]
    compacted: CompactedVideo | None

    @property
    def key(self) -> VideoKey:
        """Split and video ID."""
        return (self.split, self.video_id)

    @property
    def live(self) -> list[PartitionInfo] | None:
        """The partitions that are the video now, None when its compacted rows are."""
        return live_ranges(self.partitions, self.compacted.version if self.compacted else None)

    @property
    def whole(self) -> list[PartitionInfo] | None:
        """As `live`, None also when they lack frames: then there is nothing to compact yet."""
        live = self.live
        return live if live is not None and is_whole(live[0].version, live) else None

    @property
    def absorbed(self) -> list[PartitionInfo]:
        """The partitions whose rows a data file holds as well: left over from a compaction that was cut short."""
        return [info for info in self.partitions if self.compacted and info.version == self.compacted.version]


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies in a dataset.

    Attributes:
        identity: Of the dataset.
        manifest: The newest manifest, with the sound data files alone.
        partitions: Every sound partition.
        videos: The table of compacted videos; the columns `VERSION_COLUMNS` unless more were asked for.
        damaged: Files that are not trusted.
    """

    identity: DatasetIdentity
    manifest: Manifest
    partitions: tuple[PartitionInfo, ...]
    videos: pa.Table
    damaged: tuple[DamagedFile, ...] = ()

    def open_videos(self) -> Iterator[OpenVideo]:
        """Yield the videos that have partitions, sorted by split and ID."""
        compacted = select_videos(self.videos, (info.key for info in self.partitions))
        for key, group in groupby(sorted(self.partitions, key=_key), key=_key):
            row = compacted.get(key)
            rows = CompactedVideo(Version(row["source_signature"], row["frames"]), row["file"]) if row else None
            yield OpenVideo(*key, tuple(group), rows)


def _key(info: PartitionInfo) -> VideoKey:
    return info.key


def take_survey(
    storage: ReadableStorage,
    identity: DatasetIdentity,
    threads: int = FOOTER_THREADS,
    columns: Sequence[str] = VERSION_COLUMNS,
    manifest: Manifest | None = None,
) -> Survey:
    """Return what lies in a dataset.

    Partitions are listed before the manifest is read: what a compaction absorbs meanwhile is then seen in one of them.

    Args:
        storage: The dataset.
        identity: Its identity.
        threads: Footers read at once.
        columns: Of the table of videos.
        manifest: What is to be taken for the newest manifest where that is damaged; None reads it.

    Raises:
        OutputError: The dataset cannot be read.
    """
    found = list(list_partitions(storage, identity, threads))
    partitions = tuple(info for info in found if isinstance(info, PartitionInfo))
    spoiled = [file for file in found if isinstance(file, DamagedFile)]
    sound, videos, damaged = read_compacted(storage, identity, columns, manifest)
    return Survey(identity, sound, partitions, videos, (*spoiled, *damaged))


def read_compacted(
    storage: ReadableStorage,
    identity: DatasetIdentity,
    columns: Sequence[str] | None = VERSION_COLUMNS,
    manifest: Manifest | None = None,
) -> tuple[Manifest, pa.Table, list[DamagedFile]]:
    """Return the newest manifest with the sound data files alone, the table of their videos, and the other files.

    A file that is gone counts as lost only if no newer manifest has been published meanwhile, which may have replaced
    it: else it is looked at anew.

    Raises:
        OutputError: The dataset cannot be read, or changes each time that it is looked at.
    """
    for _ in range(_ATTEMPTS):
        newest = manifest or read_manifest(storage, identity)
        sound, lost = check_files(storage, newest)
        videos, unreadable = gather_videos(storage, identity, sound, columns)
        damaged = [*lost, *unreadable]
        if manifest or not damaged or newest_generation(storage) == newest.generation:
            return sound.replace({file.name for file in unreadable}, ()), videos, damaged
    raise OutputError(f"{storage.root} changes while it is read; try again later.")


def committed_in(survey: Survey) -> CommittedFrames:
    """Return the frames that a dataset held when it was surveyed."""
    partitions = (
        (info.split, info.video_id, PartitionRange(info.version, info.first, info.last, info.modified))
        for info in survey.partitions
    )
    return CommittedFrames(_versions(survey.videos), partitions, survey.damaged)


def _versions(videos: pa.Table) -> Iterable[tuple[str, str, Version]]:
    for batch in videos.to_batches(max_chunksize=10_000):
        columns = (batch.column(name).to_pylist() for name in VERSION_COLUMNS[:4])
        for split, video_id, signature, frames in zip(*columns, strict=True):
            yield split, video_id, Version(signature, frames)
