"""What a reader sees of a dataset: which videos there are, which rows count, and their totals.

`survey` says which files exist; here each frame comes once, of the version of its video that counts
(`coverage.live_ranges`), from data files and partitions together. Totals come from the manifest, the table of videos
and the footers of partitions, so that the driver can end a run without reading landmarks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.parquet import DamagedFileError
from phoenix_ray.dataset.partitions import PartitionInfo
from phoenix_ray.dataset.rows import ChangedError, RowRange, RowReader, read_blocks
from phoenix_ray.dataset.shards import VideoKey, missing_ranges, pick_once, recorded_fields
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.dataset.survey import OpenVideo, take_survey
from phoenix_ray.dataset.tally import Tally, tally_rows, total
from phoenix_ray.dataset.video_table import (
    UNREADABLE_COLUMN,
    VERSION_COLUMNS,
    VideoEntry,
    read_entries,
    to_video_table,
    video_schema,
)
from phoenix_ray.errors import OutputError
from phoenix_ray.layouts import Layout
from phoenix_ray.text import counted

# Rows that are read at once to count those of overlapping partitions.
_ROWS_TALLIED = 1_024
_NAMED_VIDEOS = 3


class VideoIndex:
    """The sorted table of videos, with a look-up by split and ID that takes microseconds among a million.

    Args:
        videos: A table with the columns of `video_schema`.
    """

    def __init__(self, videos: pa.Table) -> None:
        table = videos.unify_dictionaries().combine_chunks()
        splits = table.column("split").cast(pa.string())
        order = pc.sort_indices(
            pa.table({"split": splits, "video_id": table.column("video_id")}),
            [("split", "ascending"), ("video_id", "ascending")],
        )
        # Mostly they are sorted already; a copy of a million videos takes 350 MB.
        if not np.array_equal(order.to_numpy(), np.arange(table.num_rows)):
            table, splits = table.take(order), splits.take(order)
        self.videos = table
        self._ids = table.column("video_id")
        changes = pc.not_equal(splits.slice(1), splits.slice(0, max(0, table.num_rows - 1))).to_numpy()
        starts = np.flatnonzero(np.append(True, changes))[: table.num_rows]
        names, ranges = splits.take(pa.array(starts)).to_pylist(), pairwise([*starts.tolist(), table.num_rows])
        self._ranges = dict(zip(names, ranges, strict=True))

    def find(self, key: VideoKey) -> dict[str, Any] | None:
        """Return the row of a video, None where there is no such video."""
        split, video_id = key
        start, end = self._ranges.get(split, (0, 0))
        row = bisect_left(range(end), video_id, start, key=lambda index: self._ids[index].as_py())
        if row == end or self._ids[row].as_py() != video_id:
            return None
        found: dict[str, Any] = self.videos.slice(row, 1).to_pylist()[0]
        return found


class Snapshot:
    """The videos of a dataset at one moment. It can be pickled, so that several processes see the same videos.

    Raises:
        OutputError: The dataset cannot be read.
        ChangedError: It changed while it was read.
        DamagedFileError: A partition that overlaps with another is damaged.
    """

    def __init__(self, storage: ReadableStorage, identity: DatasetIdentity) -> None:
        layout = find_layout(identity)
        survey = take_survey(storage, identity, columns=video_schema(layout).names)
        self._open = {video.key: video.live for video in survey.open_videos() if video.live is not None}
        reader = RowReader(storage)
        entries = [describe_open(reader, layout, key, infos) for key, infos in self._open.items()]
        compacted = _without(survey.videos, self._open)
        opened = [to_video_table(layout, entries, None)] if entries else []
        self.index = VideoIndex(pa.concat_tables([compacted, *opened]))

    def locate(self, video: Mapping[str, Any]) -> list[RowRange]:
        """Return the places of a video's rows, in frame order; `video` is its row in the table."""
        if video["file"] is None:
            return _locate_open(self._open[video["split"], video["video_id"]])
        if video["first_row"] is None:
            raise ChangedError
        return [RowRange(video["file"], video["first_row"], video["frames"])]


def _locate_open(infos: Sequence[PartitionInfo]) -> list[RowRange]:
    picks = pick_once([(info.first, info.last) for info in infos])
    return [
        RowRange(infos[pick.source].name, pick.first - infos[pick.source].first, pick.last - pick.first)
        for pick in picks
    ]


def describe_open(reader: RowReader, layout: Layout, key: VideoKey, infos: Sequence[PartitionInfo]) -> VideoEntry:
    """Return the entry of a video in partitions."""
    ranges = _locate_open(infos)
    overlap = sum(piece.rows for piece in ranges) != sum(info.rows for info in infos)
    tally = total(info.tally for info in infos)
    if overlap:
        tally = replace(
            total(tally_rows(layout, rows) for rows in read_blocks(reader, layout, key, ranges, _ROWS_TALLIED)),
            kernels=tally.kernels,
        )
    newest = max(infos, key=lambda info: info.modified)
    return VideoEntry(**recorded_fields(newest), first_row=0, tally=tally)


def _without(videos: pa.Table, keys: Collection[VideoKey]) -> pa.Table:
    """Return a table of videos without some of them."""
    if not keys:
        return videos
    ids = pa.array({video_id for _, video_id in keys}, pa.string())
    likely = np.flatnonzero(pc.is_in(videos.column("video_id"), ids).to_numpy())
    rows = videos.select(["split", "video_id"]).take(pa.array(likely)).to_pylist()
    kept = np.ones(videos.num_rows, dtype=bool)
    kept[[index for index, row in zip(likely, rows, strict=True) if (row["split"], row["video_id"]) in keys]] = False
    return videos.filter(pa.array(kept))


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a dataset has.

    Attributes:
        videos: Number of videos with at least one frame.
        frames: Number of their frames, each counted once.
        open_frames: Number of those frames that are in partitions, not in a data file.
    """

    videos: int
    frames: int
    open_frames: int


def measure_extent(storage: ReadableStorage, identity: DatasetIdentity) -> Extent:
    """Return how much a dataset has, from the manifest and the footers of partitions; no row is read.

    Raises:
        OutputError: The dataset cannot be read.
    """
    survey = take_survey(storage, identity)
    # Not from the manifest: while a drop is being completed, its files still hold dropped videos.
    videos, opened = survey.videos.num_rows, 0
    compacted = pc.sum(survey.videos.column("frames")).as_py() or 0
    for video in survey.open_videos():
        if (live := video.live) is None:
            continue
        count = live[0].frame_count
        gaps = missing_ranges([(info.first, info.last) for info in live], count)
        opened += count - sum(last - first for first, last in gaps)
        if video.compacted:
            compacted -= video.compacted.version.frame_count
        else:
            videos += 1
    return Extent(videos, compacted + opened, opened)


def tally_splits(storage: ReadableStorage, identity: DatasetIdentity) -> dict[str, Tally]:
    """Return split → tally of its rows, sorted by split.

    Raises:
        OutputError: The dataset cannot be read, or a file whose rows are needed is damaged.
    """
    with _explained(storage):
        survey = take_survey(storage, identity)
        open_videos = {video.key: video for video in survey.open_videos() if video.live is not None}
        # Data files with rows of a video of which partitions have a newer version.
        outdated = {video.compacted.file for video in open_videos.values() if video.compacted}
        unclean = survey.dropped.newest > survey.manifest.drops
        splits: dict[str, Tally] = {}
        for file in survey.manifest.files:
            tally = file.tally
            if unclean or file.name in outdated:
                entries = read_entries(storage, identity, file.name)
                tally = total(
                    entry.tally
                    for entry in entries
                    if entry.key not in open_videos
                    and not survey.dropped.bans(entry.split, entry.video_id, entry.annotation)
                )
            splits[file.split] = splits.get(file.split, Tally()) + tally
        for entry in _open_entries(storage, identity, open_videos.values()):
            splits[entry.split] = splits.get(entry.split, Tally()) + entry.tally
        return {split: tally for split, tally in sorted(splits.items()) if tally.rows}


def unreadable_videos(storage: ReadableStorage, identity: DatasetIdentity) -> list[UnreadableVideo]:
    """Return the videos with unreadable frames, also unfinished ones, sorted by split and ID.

    Raises:
        OutputError: The dataset cannot be read, or a file whose rows are needed is damaged.
    """
    with _explained(storage):
        survey = take_survey(storage, identity, columns=(*VERSION_COLUMNS, UNREADABLE_COLUMN))
        open_videos = {video.key: video for video in survey.open_videos() if video.live is not None}
        compacted = [video for video in unreadable_in(survey.videos) if video[:2] not in open_videos]
        opened = [
            UnreadableVideo(entry.split, entry.video_id, entry.frame_count, unreadable)
            for entry in _open_entries(storage, identity, open_videos.values())
            if (unreadable := entry.tally.statuses.get("unreadable", 0))
        ]
        return sorted([*compacted, *opened])


def _open_entries(
    storage: ReadableStorage, identity: DatasetIdentity, videos: Iterable[OpenVideo]
) -> Iterator[VideoEntry]:
    reader, layout = RowReader(storage), find_layout(identity)
    for video in videos:
        yield describe_open(reader, layout, video.key, video.live or [])


@contextmanager
def _explained(storage: ReadableStorage) -> Iterator[None]:
    try:
        yield
    except DamagedFileError as error:
        raise OutputError(
            f"{storage.root}/{error}. Start the run again: it computes the file's frames again."
        ) from None


class UnreadableVideo(NamedTuple):
    """A video with frames that could not be read: truncated uploads, damaged files, missing pictures.

    Such a frame has a row of status `unreadable`, so that no row is missing and no run fails.
    """

    split: str
    video_id: str
    frames: int
    unreadable: int

    @property
    def share(self) -> float:
        """Share of the frames that could not be read, above 0 and at most 1."""
        return self.unreadable / self.frames


def unreadable_in(videos: pa.Table) -> list[UnreadableVideo]:
    """Return the videos with unreadable frames of a table like `videos.parquet`, sorted by split and ID."""
    affected = videos.filter(pc.greater(videos.column(UNREADABLE_COLUMN), 0))
    columns = ("split", "video_id", "frames", UNREADABLE_COLUMN)
    rows = zip(*(affected.column(name).to_pylist() for name in columns), strict=True)
    return sorted(UnreadableVideo(*values) for values in rows)


def describe_unreadable(videos: Sequence[UnreadableVideo]) -> str:
    """Return a line with the number of videos and the worst of them, empty where there are none."""
    if not videos:
        return ""
    worst = sorted(videos, key=lambda video: (-video.share, video.split, video.video_id))[:_NAMED_VIDEOS]
    named = [f"{video.split}/{video.video_id} ({video.unreadable:,} of {video.frames:,} frames)" for video in worst]
    more = [f"{len(videos) - len(worst):,} more"] if len(videos) > len(worst) else []
    return f"{counted(len(videos), 'video')} partly unreadable: {', '.join([*named, *more])}"
