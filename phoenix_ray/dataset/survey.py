"""A survey of a dataset's files: its partitions, its manifest, its table of videos, and what is damaged.

Compaction plans with it, the sweep cleans up with it, and `snapshot` and the answers to a resume are made from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

import pyarrow as pa

from phoenix_ray.dataset.drop_history import SIGNER, DropHistory, read_drops
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import Manifest, check_files, newest_generation, read_manifest
from phoenix_ray.dataset.parquet import DamagedFile
from phoenix_ray.dataset.partitions import FOOTER_THREADS, PartitionInfo, list_partitions
from phoenix_ray.dataset.shards import CommittedFrames, PartitionRange, Version, VideoKey, is_whole, live_ranges
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.dataset.video_table import VERSION_COLUMNS, gather_videos, select_videos
from phoenix_ray.errors import OutputError

# How often a dataset is read again when its data files are replaced at the same moment.
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class CompactedVideo:
    """The data file of a video's compacted rows, and their version."""

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
        """The partitions whose rows count, None when the compacted rows count."""
        return live_ranges(self.partitions, self.compacted.version if self.compacted else None)

    @property
    def whole(self) -> list[PartitionInfo] | None:
        """As `live`, but None also when they lack frames, so that there is nothing to compact yet."""
        live = self.live
        return live if live is not None and is_whole(live[0].version, live) else None

    @property
    def absorbed(self) -> list[PartitionInfo]:
        """The partitions whose rows a data file has too: leftovers of an interrupted compaction."""
        return [info for info in self.partitions if self.compacted and info.version == self.compacted.version]


@dataclass(frozen=True, slots=True)
class Survey:
    """The files of a dataset and what they hold.

    Attributes:
        identity: The dataset's identity.
        manifest: The newest manifest, with only its sound data files.
        partitions: All sound partitions.
        videos: The table of compacted videos, with the columns `VERSION_COLUMNS` unless others were asked for.
        damaged: Files that cannot be trusted.
        dropped: The history of its drops. Neither `partitions` nor `videos` has a video that they ban.
        banned: Partitions of videos that may not be in the dataset.
    """

    identity: DatasetIdentity
    manifest: Manifest
    partitions: tuple[PartitionInfo, ...]
    videos: pa.Table
    damaged: tuple[DamagedFile, ...] = ()
    dropped: DropHistory = field(default_factory=DropHistory, compare=False)
    banned: tuple[PartitionInfo, ...] = ()

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
    """Survey a dataset.

    Partitions are listed before the manifest is read, so that rows which a compaction moves meanwhile are seen in one
    of them.

    Args:
        storage: The dataset.
        identity: Its identity.
        threads: Number of footers to read at once.
        columns: Columns of the table of videos.
        manifest: Taken for the newest manifest where that is damaged; None reads the newest.

    Raises:
        OutputError: The dataset cannot be read.
    """
    found = list(list_partitions(storage, identity, threads))
    infos = [info for info in found if isinstance(info, PartitionInfo)]
    spoiled = [file for file in found if isinstance(file, DamagedFile)]
    sound, videos, damaged, dropped = read_compacted(storage, identity, columns, manifest)
    partitions: list[PartitionInfo] = []
    banned: list[PartitionInfo] = []
    for info in infos:
        (banned if dropped.bans(info.split, info.video_id, info.annotation) else partitions).append(info)
    spoiled = [file for file in spoiled if not dropped.bans_file(file.name)]
    return Survey(identity, sound, tuple(partitions), videos, (*spoiled, *damaged), dropped, tuple(banned))


class CompactedRows(NamedTuple):
    """What the data files hold.

    Attributes:
        manifest: The newest manifest with only its sound data files.
        videos: The table of their videos, without those that drops ban.
        damaged: The other data files.
        dropped: The history of drops, read after the manifest: it has all drops that the manifest reflects.
    """

    manifest: Manifest
    videos: pa.Table
    damaged: list[DamagedFile]
    dropped: DropHistory


def read_compacted(
    storage: ReadableStorage,
    identity: DatasetIdentity,
    columns: Sequence[str] | None = VERSION_COLUMNS,
    manifest: Manifest | None = None,
) -> CompactedRows:
    """Return what the data files of the newest manifest hold.

    When a file is gone and a newer manifest was published meanwhile, which may have replaced it, all is read again.

    Raises:
        OutputError: The dataset cannot be read, or changes whenever it is read.
    """
    for _ in range(_ATTEMPTS):
        newest = manifest or read_manifest(storage, identity)
        sound, lost = check_files(storage, newest)
        dropped = read_drops(storage)
        # A generation that reflects all drops has none of their videos.
        unclean = dropped.newest > newest.drops
        wanted = (*columns, SIGNER) if unclean and columns and SIGNER not in columns else columns
        videos, unreadable = gather_videos(storage, identity, sound, wanted)
        damaged = [*lost, *unreadable]
        if manifest or not damaged or newest_generation(storage) == newest.generation:
            kept = _permitted(videos, dropped).select(columns or videos.column_names) if unclean else videos
            return CompactedRows(sound.replace({file.name for file in unreadable}, ()), kept, damaged, dropped)
    raise OutputError(f"{storage.root} changes while it is read; try again later.")


def _permitted(videos: pa.Table, dropped: DropHistory) -> pa.Table:
    """Return a table of videos without those that drops ban."""
    names = ("split", "video_id", SIGNER)
    rows = zip(*(videos.column(name).to_pylist() for name in names), strict=True)
    kept = [not dropped.bans(split, video_id, {SIGNER: signer}) for split, video_id, signer in rows]
    return videos.filter(pa.array(kept, pa.bool_()))


def committed_in(survey: Survey) -> CommittedFrames:
    """Return the frames that a dataset had when it was surveyed."""
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
