"""Ranges of rows out of the dataset's Parquet files, for compaction and for reading one video."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, pairwise

import pyarrow as pa

from phoenix_ray.dataset.encoding import open_parquet
from phoenix_ray.dataset.storage import Storage


class RowReader:
    """Reads row ranges, and remembers the last row group, since the next video mostly begins where one ended.

    Args:
        storage: The dataset.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._starts: dict[str, list[int]] = {}
        self._last: tuple[str, int, pa.Table] | None = None

    def read(self, file: str, first_row: int, rows: int) -> Iterator[pa.Table]:
        """Yield the rows `first_row` to `first_row + rows` of a file in order, at most a row group at a time.

        Raises:
            FileNotFoundError: There is no such file.
            DamagedFileError: The file is damaged where it was read.
        """
        if file not in self._starts:
            with open_parquet(self._storage, file) as parquet:
                groups = range(parquet.num_row_groups)
                sizes = [parquet.metadata.row_group(group).num_rows for group in groups]
            self._starts[file] = [0, *accumulate(sizes)]
        starts = self._starts[file]
        for group, (start, end) in enumerate(pairwise(starts)):
            begin, stop = max(start, first_row), min(end, first_row + rows)
            if begin < stop:
                yield self._row_group(file, group).slice(begin - start, stop - begin)

    def _row_group(self, file: str, group: int) -> pa.Table:
        if self._last is None or self._last[:2] != (file, group):
            self._last = None
            with open_parquet(self._storage, file) as parquet:
                self._last = (file, group, parquet.read_row_group(group))
        return self._last[2]
