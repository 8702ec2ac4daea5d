"""Ranges of rows out of the dataset's Parquet files, for compaction and for reading one video."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from phoenix_ray.dataset.decoded_size import refuse_bomb
from phoenix_ray.dataset.encoding import explain_damage, open_parquet_file
from phoenix_ray.dataset.storage import ReadableStorage

# A footer takes 1 to 2 MB of memory. PHOENIX has 17 data files; a larger dataset is mostly read file by file.
_FILES_KEPT_OPEN = 32


class _OpenFile(NamedTuple):
    source: pa.NativeFile
    parquet: pq.ParquetFile
    starts: list[int]
    # Row groups, with their columns, that are known to be no bombs.
    sized: set[tuple[int, tuple[str, ...] | None]]


class _RowGroup(NamedTuple):
    file: str
    number: int
    columns: tuple[str, ...] | None
    rows: pa.Table


class RowReader:
    """Reads row ranges. Keeps files open, and the last row group, since the next video mostly begins where one ended.

    It can be pickled, and used in a forked process: there it opens the files anew.

    Args:
        storage: The dataset.
    """

    def __init__(self, storage: ReadableStorage) -> None:
        self._storage = storage
        self._forget()

    def __reduce__(self) -> tuple[type[RowReader], tuple[ReadableStorage]]:
        return RowReader, (self._storage,)

    def read(self, file: str, first_row: int, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows `first_row` to `first_row + rows` of a file in order, at most a row group at a time.

        Args:
            file: Its name.
            first_row: Row of the file to begin with.
            rows: How many rows.
            columns: Names of the columns to read; None means all.

        Raises:
            FileNotFoundError: There is no such file.
            DamagedFileError: The file is damaged where it was read.
        """
        if self._process != os.getpid():
            self._forget()
        chosen = None if columns is None else tuple(columns)
        for group, (start, end) in enumerate(pairwise(self._open(file).starts)):
            begin, stop = max(start, first_row), min(end, first_row + rows)
            if begin < stop:
                yield self._row_group(file, group, chosen).slice(begin - start, stop - begin)

    def count_rows(self, file: str) -> int:
        """Return how many rows a file has.

        Raises:
            FileNotFoundError: There is no such file.
            DamagedFileError: The file is not a Parquet file.
        """
        return self._open(file).starts[-1]

    def compressed_bytes(self, file: str, first_row: int, rows: int) -> int:
        """Return the compressed size of the row groups that hold the rows `first_row` to `first_row + rows` of a file.

        Raises:
            FileNotFoundError: There is no such file.
            DamagedFileError: The file is not a Parquet file.
        """
        opened = self._open(file)
        total = 0
        for group, (start, end) in enumerate(pairwise(opened.starts)):
            if max(start, first_row) < min(end, first_row + rows):
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
                # In a bucket each header of a page would be a request.
                if isinstance(opened.source, pa.OSFile) and (group, columns) not in opened.sized:
                    refuse_bomb(opened.source, opened.parquet.metadata, group, columns)
                    opened.sized.add((group, columns))
                rows = opened.parquet.read_row_group(group, columns=columns)
                self._last = _RowGroup(file, group, columns, rows)
        return self._last.rows
