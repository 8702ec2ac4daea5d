"""Reads ranges of rows from the dataset's Parquet files, for compaction and for reading single videos."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from phoenix_ray.dataset.memory_limits import refuse_bomb, refuse_large_video
from phoenix_ray.dataset.parquet import DamagedFileError, explain_damage, open_parquet_file
from phoenix_ray.dataset.schema import landmark_schema, plain_schema
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.dataset.video_landmarks import frame_bytes
from phoenix_ray.layouts import Layout

# A footer takes 1 to 2 MB of memory. PHOENIX has 17 data files; larger datasets are mostly read file by file.
_FILES_KEPT_OPEN = 32
# `read_blocks` yields a block early when it holds more than this: 1,024 rows of Holistic take 8 MB.
_MOST_BYTES_HELD = 32 << 20
# Below this size, a video of a few minutes, neither its files nor the free memory are examined.
_SMALL_BYTES = 96 << 20
# Longer paths do not exist on Linux.
_LONGEST_NAME_BYTES = 4_096


class ChangedError(Exception):
    """A file was removed or replaced since the snapshot was taken: take another snapshot."""


class RowRange(NamedTuple):
    """Rows of one video that lie together in one file.

    Attributes:
        file: A partition or a data file.
        first_row: The first of them, counted from the start of the file.
        rows: Their number.
        digest: Their landmark digest; None where it is not known, as for a part of a partition.
    """

    file: str
    first_row: int
    rows: int
    digest: int | None = None

    @property
    def end(self) -> int:
        """The row after the last of them."""
        return self.first_row + self.rows


class _OpenFile(NamedTuple):
    source: pa.NativeFile
    parquet: pq.ParquetFile
    starts: list[int]
    # Row groups and columns whose decoded size was checked.
    sized: set[tuple[int, tuple[str, ...] | None]]


class _RowGroup(NamedTuple):
    file: str
    number: int
    columns: tuple[str, ...] | None
    rows: pa.Table


class RowReader:
    """Reads row ranges. It keeps files open, and the last row group, in which the next video mostly begins.

    It can be pickled, and used in a forked process, where it opens the files again.
    """

    def __init__(self, storage: ReadableStorage) -> None:
        self._storage = storage
        self._forget()

    def __reduce__(self) -> tuple[type[RowReader], tuple[ReadableStorage]]:
        return RowReader, (self._storage,)

    def read(self, rows: RowRange, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows of a range in order, at most a row group at a time.

        Args:
            rows: The range.
            columns: Names of the columns to read; None means all.

        Raises:
            FileNotFoundError: There is no such file.
            DamagedFileError: The file is damaged where it was read.
        """
        if self._process != os.getpid():
            self._forget()
        chosen = None if columns is None else tuple(columns)
        for group, (start, end) in enumerate(pairwise(self._open(rows.file).starts)):
            begin, stop = max(start, rows.first_row), min(end, rows.end)
            if begin < stop:
                yield self._row_group(rows.file, group, chosen).slice(begin - start, stop - begin)

    def count_rows(self, file: str) -> int:
        """Return how many rows a file has.

        Raises:
            FileNotFoundError: There is no such file.
            DamagedFileError: The file is not a Parquet file.
        """
        return self._open(file).starts[-1]

    def compressed_bytes(self, rows: RowRange) -> int:
        """Return the compressed size of the row groups that hold any of the rows.

        Raises:
            FileNotFoundError: There is no such file.
            DamagedFileError: The file is not a Parquet file.
        """
        opened = self._open(rows.file)
        total = 0
        for group, (start, end) in enumerate(pairwise(opened.starts)):
            if max(start, rows.first_row) < min(end, rows.end):
                chunks = opened.parquet.metadata.row_group(group)
                total += sum(chunks.column(index).total_compressed_size for index in range(chunks.num_columns))
        return total

    def _forget(self) -> None:
        self._process = os.getpid()
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._last: _RowGroup | None = None

    def _open(self, file: str) -> _OpenFile:
        if file in self._files:
            self._files.move_to_end(file)
            return self._files[file]
        source, parquet = open_parquet_file(self._storage, file)
        sizes = (parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups))
        opened = _OpenFile(source, parquet, [0, *accumulate(sizes)], set())
        self._files[file] = opened
        if len(self._files) > _FILES_KEPT_OPEN:
            _, oldest = self._files.popitem(last=False)
            oldest.parquet.close(force=True)
        return opened

    def _row_group(self, file: str, group: int, columns: tuple[str, ...] | None) -> pa.Table:
        if self._last is None or self._last[:3] != (file, group, columns):
            self._last = None
            opened = self._open(file)
            with explain_damage(self._storage, file):
                # In a bucket, reading each page's header would take a request.
                if isinstance(opened.source, pa.OSFile) and (group, columns) not in opened.sized:
                    refuse_bomb(opened.source, opened.parquet.metadata, group, columns)
                    opened.sized.add((group, columns))
                rows = opened.parquet.read_row_group(group, columns=columns)
                if any(map(pa.types.is_dictionary, rows.schema.types)):
                    rows = rows.cast(plain_schema(rows.schema))
                self._last = _RowGroup(file, group, columns, rows)
        return self._last.rows


def read_rows(reader: RowReader, layout: Layout, key: VideoKey, ranges: Sequence[RowRange]) -> pa.Table:
    """Return the rows of a video, whose ranges are in frame order, with the columns of a layout.

    Raises:
        ChangedError: The ranges hold other rows.
        FileNotFoundError: A file is gone.
        DamagedFileError: A file is damaged where it was read, or decodes to far more than it has bytes.
        OutputError: The video needs more memory than is allowed (`memory_limit`).
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
    """Yield the rows of a video as `read_rows` does, `block_rows` at a time.

    The last block may have fewer rows, and so may blocks that would take more memory than `_MOST_BYTES_HELD`. Errors in
    later rows are raised after earlier blocks were yielded.
    """
    schema = landmark_schema(layout)
    count, last = 0, -1
    for block in _cut(_row_groups(reader, schema, ranges), block_rows):
        frames = block.column("frame_index").to_numpy()
        if frames[0] <= last or (np.diff(frames) <= 0).any() or not _are_all(block, key):
            raise ChangedError
        count, last = count + block.num_rows, frames[-1]
        yield block
        # Here and below, free the block before the next row group is decoded.
        del block
    if count != sum(piece.rows for piece in ranges):
        raise ChangedError


def _row_groups(reader: RowReader, schema: pa.Schema, ranges: Sequence[RowRange]) -> Iterator[pa.Table]:
    for piece in ranges:
        for rows in reader.read(piece, schema.names):
            yield _fitting(rows, schema, piece.file)
            del rows


def _cut(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Yield the rows of tables as tables of `size` rows, or fewer at the end and where they take much memory."""
    held: list[pa.Table] = []
    missing, held_bytes = size, 0
    for table in tables:
        rest = table
        while rest.num_rows:
            held.append(rest.slice(0, missing))
            rest = rest.slice(missing)
            missing -= held[-1].num_rows
            # A slice keeps its whole row group in memory.
            held_bytes += held[-1].get_total_buffer_size()
            if not missing or held_bytes > _MOST_BYTES_HELD:
                yield pa.concat_tables(held)
                held, missing, held_bytes = [], size, 0
        del table, rest
    if held:
        yield pa.concat_tables(held)


def _fitting(rows: pa.Table, schema: pa.Schema, file: str) -> pa.Table:
    """Return rows unchanged if they have the columns of a schema: no checksum covers the schema in a data file.

    Raises:
        DamagedFileError: They have other columns, or the name of a frame is longer than any path.
    """
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


def are_consecutive(rows: pa.Table, first: int = 0) -> bool:
    """Whether rows are those of consecutive frames from `first` on."""
    return np.array_equal(rows.column("frame_index").to_numpy(), np.arange(first, first + rows.num_rows))


def _are_all(table: pa.Table, key: VideoKey) -> bool:
    """Whether all rows of a table belong to a video."""
    columns = (table.column(name) for name in ("split", "video_id"))
    return all(pc.all(pc.equal(column, name)).as_py() for column, name in zip(columns, key, strict=True))


def _refuse_large(reader: RowReader, key: VideoKey, ranges: Sequence[RowRange], size: int) -> None:
    """Refuse to load so many bytes of a video; raise ChangedError where its files have no such rows at all."""
    if size <= _SMALL_BYTES:
        return
    if any(piece.end > reader.count_rows(piece.file) for piece in ranges):
        raise ChangedError
    refuse_large_video(key, size, sum(reader.compressed_bytes(piece) for piece in ranges))
