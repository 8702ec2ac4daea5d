"""A dataset at one moment: which videos there are, and where the rows of each lie.

The reader looks things up here. It follows one rule whatever lies on disk: every frame once, of the version of its
video that counts (`coverage.live_holdings`), from data files and partitions together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.dataset.collection import VideoKey
from phoenix_ray.dataset.coverage import pick_once
from phoenix_ray.dataset.encoding import DamagedFileError
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.memory_limit import refuse_large_video
from phoenix_ray.dataset.partitions import PartitionInfo
from phoenix_ray.dataset.rows import RowReader
from phoenix_ray.dataset.schema import landmark_schema
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.dataset.tally import tally_rows, total
from phoenix_ray.dataset.video_landmarks import frame_bytes
from phoenix_ray.dataset.videos import VideoEntry, to_video_table, video_schema
from phoenix_ray.landmarks import Layout

# Of a video that is not compacted, at once.
_ROWS_TALLIED = 1_024
# A block of `read_blocks` is given with fewer rows when it holds more: 1,024 rows of Holistic take 8 MB.
_MOST_BYTES_HELD = 32 << 20
# Videos that need no look at files and free memory: those of a few minutes.
_SMALL_BYTES = 96 << 20
# A path of Linux has no more; Python takes up to four bytes a character.
_LONGEST_NAME_BYTES = 4_096


class ChangedError(Exception):
    """A file is gone or was replaced since the snapshot was taken: take another."""


class RowRange(NamedTuple):
    """Rows of a video that lie together in one file."""

    file: str
    first_row: int
    rows: int


class VideoIndex:
    """The table of videos, sorted, with a look-up by split and ID. Some microseconds each, also among a million.

    Args:
        videos: With the columns of `videos.video_schema`.
    """

    def __init__(self, videos: pa.Table) -> None:
        table = videos.unify_dictionaries().combine_chunks()
        splits = table.column("split").cast(pa.string())
        order = pc.sort_indices(
            pa.table({"split": splits, "video_id": table.column("video_id")}),
            [("split", "ascending"), ("video_id", "ascending")],
        )
        self.videos = table.take(order)
        self._ids = self.videos.column("video_id")
        sorted_splits = splits.take(order).to_numpy()
        starts = np.flatnonzero(np.append(True, sorted_splits[1:] != sorted_splits[:-1]))[: table.num_rows]
        ranges = pairwise([*starts.tolist(), table.num_rows])
        self._ranges = {sorted_splits[start]: (start, end) for start, end in ranges}

    def find(self, key: VideoKey) -> dict[str, Any] | None:
        """Return the row of a video, None when there is no such video."""
        split, video_id = key
        start, end = self._ranges.get(split, (0, 0))
        row = bisect_left(range(end), video_id, start, key=lambda index: self._ids[index].as_py())
        if row == end or self._ids[row].as_py() != video_id:
            return None
        found: dict[str, Any] = self.videos.slice(row, 1).to_pylist()[0]
        return found


class Snapshot:
    """What lies in a dataset at one moment. It can be pickled, so that several processes see the same videos.

    Args:
        storage: Where the dataset lies.
        identity: Its recorded identity.

    Raises:
        OutputError: The dataset cannot be read.
        ChangedError: It changed while it was looked at.
        DamagedFileError: A partition that overlaps with another is damaged.
    """

    def __init__(self, storage: ReadableStorage, identity: DatasetIdentity) -> None:
        layout = find_layout(identity)
        survey = take_survey(storage, identity, columns=video_schema(layout).names)
        self._open = {
            (video.split, video.video_id): video.live for video in survey.open_videos() if video.live is not None
        }
        reader = RowReader(storage)
        entries = [describe_open(reader, layout, key, infos) for key, infos in self._open.items()]
        compacted = _without(survey.videos, self._open)
        self.index = VideoIndex(pa.concat_tables([compacted, to_video_table(layout, entries, None)]))

    def locate(self, video: Mapping[str, Any]) -> list[RowRange]:
        """Return where the rows of a video lie, in frame order; `video` is its row in the table."""
        if video["file"] is None:
            return _locate_open(self._open[video["split"], video["video_id"]])
        if video["first_row"] is None:
            raise ChangedError
        return [RowRange(video["file"], video["first_row"], video["frames"])]


def read_rows(reader: RowReader, layout: Layout, key: VideoKey, ranges: Sequence[RowRange]) -> pa.Table:
    """Return the rows of a video, with the columns of the layout.

    Args:
        reader: Reads the files.
        layout: The columns to read.
        key: Split and ID of the video.
        ranges: Where its rows lie, in frame order.

    Raises:
        ChangedError: Other rows than expected lie there.
        FileNotFoundError: A file is gone.
        DamagedFileError: A file is damaged where it was read, or decodes to far more than it has bytes.
        OutputError: There is no memory for the video (`memory_limit`).
    """
    count = sum(piece.rows for piece in ranges)
    checked, held, blocks = count * frame_bytes(layout), 0, [landmark_schema(layout).empty_table()]
    _refuse_large(reader, key, ranges, checked)
    for block in read_blocks(reader, layout, key, ranges, max(1, count)):
        blocks.append(block)
        held += block.nbytes
        # Rows take about what their arrays do, unless they hold long texts or lists.
        if held > 2 * checked:
            checked = held
            _refuse_large(reader, key, ranges, checked)
    return pa.concat_tables(blocks)


def read_blocks(
    reader: RowReader, layout: Layout, key: VideoKey, ranges: Sequence[RowRange], block_rows: int
) -> Iterator[pa.Table]:
    """Yield the rows of a video like `read_rows`, `block_rows` at a time; the last table may have fewer.

    So may others where rows take more memory than `_MOST_BYTES_HELD`.
    What is wrong with later rows is raised after the earlier ones were given.
    """
    schema = landmark_schema(layout)
    count, last = 0, -1
    for block in _cut(_row_groups(reader, schema, ranges), block_rows):
        frames = block.column("frame_index").to_numpy()
        if frames[0] <= last or (np.diff(frames) <= 0).any() or not _are_all(block, key):
            raise ChangedError
        count, last = count + block.num_rows, frames[-1]
        yield block
        # Here as below: what was given is let go before the next row group is decoded.
        del block
    if count != sum(piece.rows for piece in ranges):
        raise ChangedError


def _row_groups(reader: RowReader, schema: pa.Schema, ranges: Sequence[RowRange]) -> Iterator[pa.Table]:
    for piece in ranges:
        for rows in reader.read(*piece, schema.names):
            yield _fitting(rows, schema, piece.file)
            del rows


def _cut(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Yield the rows of tables as tables of `size` rows; the last has fewer, and those that take much memory."""
    held: list[pa.Table] = []
    missing, held_bytes = size, 0
    for table in tables:
        rest = table
        while rest.num_rows:
            held.append(rest.slice(0, missing))
            rest = rest.slice(missing)
            missing -= held[-1].num_rows
            # Of a slice too, all of its row group stays in memory.
            held_bytes += held[-1].get_total_buffer_size()
            if not missing or held_bytes > _MOST_BYTES_HELD:
                yield pa.concat_tables(held)
                held, missing, held_bytes = [], size, 0
        del table, rest
    if held:
        yield pa.concat_tables(held)


def _fitting(rows: pa.Table, schema: pa.Schema, file: str) -> pa.Table:
    """Return rows as they are, which must have the columns of a schema: no checksum covers what a footer says."""
    try:
        fits = len(rows.schema) == len(schema) and _types(rows.schema) == _types(schema)
    except UnicodeDecodeError:
        fits = False
    if not fits:
        raise DamagedFileError(file, "damaged: its columns are not those of the layout")
    longest = pc.max(pc.binary_length(rows["frame_name"])).as_py() or 0
    if longest > _LONGEST_NAME_BYTES:
        raise DamagedFileError(file, f"damaged: the name of a frame has {longest:,} bytes")
    return rows


def _types(schema: pa.Schema) -> dict[str, pa.DataType]:
    return {field.name: field.type for field in schema}


def is_whole(rows: pa.Table, first: int = 0) -> bool:
    """Whether rows are those of the frames of a video from `first` on, without a gap."""
    return np.array_equal(rows.column("frame_index").to_numpy(), np.arange(first, first + rows.num_rows))


def _are_all(table: pa.Table, key: VideoKey) -> bool:
    """Whether all rows of a table are of one video."""
    columns = (table.column(name) for name in ("split", "video_id"))
    return all(pc.all(pc.equal(column, name)).as_py() for column, name in zip(columns, key, strict=True))


def _refuse_large(reader: RowReader, key: VideoKey, ranges: Sequence[RowRange], size: int) -> None:
    """Refuse to hold so many bytes of a video; what a table says of rows that no file has is another matter."""
    if size <= _SMALL_BYTES:
        return
    if any(piece.first_row + piece.rows > reader.count_rows(piece.file) for piece in ranges):
        raise ChangedError
    refuse_large_video(key, size, sum(reader.compressed_bytes(*piece) for piece in ranges))


def _locate_open(infos: Sequence[PartitionInfo]) -> list[RowRange]:
    picks = pick_once([(info.first, info.last) for info in infos])
    return [
        RowRange(infos[pick.source].name, pick.first - infos[pick.source].first, pick.last - pick.first)
        for pick in picks
    ]


def describe_open(reader: RowReader, layout: Layout, key: VideoKey, infos: Sequence[PartitionInfo]) -> VideoEntry:
    """Return the entry of a video that is not compacted yet."""
    ranges = _locate_open(infos)
    overlap = sum(piece.rows for piece in ranges) != sum(info.rows for info in infos)
    tally = total(info.tally for info in infos)
    if overlap:
        tally = replace(
            total(tally_rows(layout, rows) for rows in read_blocks(reader, layout, key, ranges, _ROWS_TALLIED)),
            kernels=tally.kernels,
        )
    newest = max(infos, key=lambda info: info.modified)
    return VideoEntry(
        *key, newest.frame_count, 0, newest.signature, newest.fps, newest.annotation, tally, newest.fps_varies
    )


def _without(videos: pa.Table, keys: Collection[VideoKey]) -> pa.Table:
    """Return a table of videos without the rows of some."""
    ids = pa.array({video_id for _, video_id in keys}, pa.string())
    likely = np.flatnonzero(pc.is_in(videos.column("video_id"), ids).to_numpy())
    rows = videos.select(["split", "video_id"]).take(pa.array(likely)).to_pylist()
    kept = np.ones(videos.num_rows, dtype=bool)
    kept[[index for index, row in zip(likely, rows, strict=True) if (row["split"], row["video_id"]) in keys]] = False
    return videos.filter(pa.array(kept))
