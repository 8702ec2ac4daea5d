"""A table of videos: a CSV or Parquet file with one row per video.

    video_id,path,split,signer
    monday/1,clips/monday 1.mp4,train,Anna

The path is a video file or a frame folder, absolute or relative to the table. Columns beyond ID, path and split go
along as annotation. Their names are settings; a table without a split column is one split.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError, did_you_mean
from phoenix_ray.sources.base import NoteLeftOut, SourceProblem, Video, ignore_left_out
from phoenix_ray.sources.listing import Candidate, list_videos
from phoenix_ray.sources.tree import DEFAULT_SPLIT

SEPARATORS = {".csv": ",", ".tsv": "\t"}
TABLE_SUFFIXES = (*SEPARATORS, ".parquet")


@dataclass(frozen=True, slots=True)
class TableSource:
    """The videos that a CSV, TSV or Parquet file names."""

    table: Path
    settings: SourceSettings

    @property
    def root(self) -> str:
        """The table's path."""
        return str(self.table)

    @property
    def description(self) -> str:
        """What was found, in one line."""
        return f"videos named by the table {self.table}"

    def videos(
        self,
        note_left_out: NoteLeftOut = ignore_left_out,  # noqa: ARG002 - it reads all that it names
    ) -> Iterator[Video | SourceProblem]:
        """Yield the selected videos and problems; see `Source.videos`."""
        rows = read_table(self.table)
        if not rows:
            raise SourceError(f"{self.table} has no rows.")
        self._check_columns(list(rows[0]))
        return list_videos(self._candidates(rows), self.settings)

    def _check_columns(self, columns: list[str]) -> None:
        for setting in ("video_id_column", "path_column"):
            name = getattr(self.settings, setting)
            if name not in columns:
                raise SourceError(
                    f"{self.table} has no column '{name}' (source.{setting}).{did_you_mean(name, columns)} "
                    f"Its columns: {', '.join(columns)}."
                )

    def _candidates(self, rows: list[dict[str, str]]) -> Iterator[Candidate]:
        settings = self.settings
        used = {settings.video_id_column, settings.path_column, settings.split_column}
        for number, row in enumerate(rows, start=1):
            path = row[settings.path_column]
            yield Candidate(
                split=row.get(settings.split_column) or DEFAULT_SPLIT,
                video_id=row[settings.video_id_column],
                location=os.path.normpath(self.table.parent / path) if path else "",
                named_by=f"{self.table.name} row {number}",
                annotation={column: text for column, text in row.items() if column not in used},
            )


def open_table(path: Path, settings: SourceSettings) -> TableSource:
    """Return the videos named by the table at `path`.

    Raises:
        SourceError: `path` is no file of a known table format.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
        raise SourceError(f"{path} is no table: give a file that ends in {' '.join(TABLE_SUFFIXES)}.")
    return TableSource(path, settings)


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table with every value as text; an empty or null value is "".

    Raises:
        SourceError: The file cannot be read as a table.
    """
    try:
        if path.suffix.lower() in SEPARATORS:
            return _read_csv(path, SEPARATORS[path.suffix.lower()])
        return _read_parquet(path)
    except (OSError, ValueError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read as a table: {error}") from None


def _read_csv(path: Path, separator: str) -> list[dict[str, str]]:
    # The standard reader keeps every value as text: an ID "007" stays what it is.
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=separator, strict=True)
        columns = next(reader, [])
        rows = []
        for values in filter(None, reader):
            if len(values) != len(columns):
                raise ValueError(f"line {reader.line_num} has {len(values)} values, the header {len(columns)}")
            rows.append(dict(zip(columns, values, strict=True)))
        return rows


def _read_parquet(path: Path) -> list[dict[str, str]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # The folders around the table are no columns, however they are named.
        table = parquet.read_table(path, partitioning=None)
        rows = table.cast(pa.schema([(name, pa.string()) for name in table.column_names])).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(error) from None
    return [{column: value or "" for column, value in row.items()} for row in rows]
