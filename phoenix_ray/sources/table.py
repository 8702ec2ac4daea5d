"""A table of videos: a CSV or Parquet file with one row for each video.

    video_id,path,split,signer
    monday/1,clips/monday 1.mp4,train,Anna

The path is a video file or a frame folder: absolute, a URI, or relative to the table. Settings name the columns of ID,
path, split, start and end; all other columns become annotations. Without a split column, all videos are in one split. A
row with a start or an end is a segment of its file or folder (`segments`).

A text file may be separated by commas, semicolons (Excel in most of Europe), tabs or bars, whatever its ending: the
header decides. A `'` before `=`, `+`, `-` or `@`, which exports write to keep a cell from being a formula, is removed.
"""

from __future__ import annotations

import codecs
import csv
import io
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import ConfigError, SourceError, did_you_mean
from phoenix_ray.object_stores import is_object_store, refuse_credentials
from phoenix_ray.sources.base import DEFAULT_SPLIT, LeftOut, NoteLeftOut, SourceProblem, Video, ignore_left_out
from phoenix_ray.sources.formats import is_video_name
from phoenix_ray.sources.listing import COLUMN, Candidate, list_videos
from phoenix_ray.sources.locations import is_uri, normalise
from phoenix_ray.sources.paths import SourcePath
from phoenix_ray.sources.segments import SegmentError, read_span, span_columns, unread_span_columns
from phoenix_ray.text import counted, from_spreadsheet_text, storable_text

TEXT_SUFFIXES = (".csv", ".tsv")
TABLE_SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
# Why columns that look like the times of segments are not read as such.
UNREAD_SPANS = (
    "they look like the start and end of segments, but are annotations here: name them with source.start_column and "
    "source.end_column (seconds), or source.start_frame_column and source.end_frame_column"
)
# Excel reads the separator from a first line like this.
_LONGEST_SEPARATOR_LINE = 8
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n")


@dataclass(frozen=True, slots=True)
class TableSource:
    """The videos that a CSV, TSV or Parquet file names."""

    table: SourcePath
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
        note_left_out: NoteLeftOut = ignore_left_out,
    ) -> Iterator[Video | SourceProblem]:
        """Yield the selected videos and problems; see `Source.videos`."""
        rows = read_table(self.table, (self.settings.video_id_column, self.settings.path_column))
        if not rows:
            raise SourceError(f"{self.table} has no rows.")
        columns = list(rows[0])
        self._check_columns(columns)
        if unread := unread_span_columns(self.settings, columns):
            note_left_out(LeftOut(UNREAD_SPANS, COLUMN, len(unread), tuple(map(storable_text, unread))))
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
        used.update(span_columns(settings, rows[0]))
        for number, row in enumerate(rows, start=1):
            path = row[settings.path_column]
            location, refusal = _locate(path, self.table.location) if path else "", ""
            try:
                if is_object_store(location):
                    refuse_credentials(location)
            except ConfigError as error:
                location, refusal = "", str(error)
            span = fps = None
            try:
                span = read_span(row, settings)
                fps = None if is_video_name(path) else _read_fps(row, settings.fps_column)
            except SegmentError as error:
                refusal = refusal or f"{error}."
            yield Candidate(
                split=row.get(settings.split_column) or DEFAULT_SPLIT,
                video_id=row[settings.video_id_column],
                location=location,
                named_by=f"{self.table.name} row {number}",
                annotation={column: text for column, text in row.items() if column not in used},
                refusal=refusal,
                span=span,
                fps=fps,
            )


def open_table(path: SourcePath, settings: SourceSettings) -> TableSource:
    """Return the videos named by the table at `path`.

    Raises:
        SourceError: `path` is not a file of a known table format.
    """
    if path.suffix not in TABLE_SUFFIXES or not path.is_file():
        raise SourceError(f"{path} is not a table: give a file that ends in {' '.join(TABLE_SUFFIXES)}.")
    return TableSource(path, settings)


def read_table(path: SourcePath, wanted: Sequence[str] = ("video_id", "path")) -> list[dict[str, str]]:
    """Return the rows of a table with every value as text; an empty or null value is "".

    Args:
        path: The file.
        wanted: Columns that it should have. They decide what separates the values of a text file.

    Raises:
        SourceError: The file cannot be read as a table.
    """
    try:
        if path.suffix not in TEXT_SUFFIXES:
            return _read_parquet(path)
        return _read_text(path, wanted)
    except (OSError, ValueError, csv.Error) as error:
        what = "as Parquet" if path.suffix not in TEXT_SUFFIXES else _expected(wanted)
        raise SourceError(f"{path} cannot be read as a table: {error}. Expected: {what}.") from None


def _expected(wanted: Sequence[str]) -> str:
    *most, last = SEPARATORS.values()
    separated = f"{', '.join(most)} or {last}"
    return f"a header with {' and '.join(wanted)}, then one line for each video, separated by {separated}, in UTF-8"


def _read_fps(row: Mapping[str, str], column: str) -> float | None:
    """Return the frames per second that a row gives for a frame folder; None where it gives none."""
    text = row.get(column, "").strip()
    if not text:
        return None
    try:
        fps = float(text)
    except ValueError:
        fps = 0.0
    if not 0 < fps < 1e6:
        raise SegmentError(f"{column} = {text} is not a number of frames per second (source.fps_column)")
    return fps


def _locate(path: str, table: str) -> str:
    """Return the location of a path that the table at a location names."""
    if is_uri(path) or path.startswith("/"):
        return normalise(path)
    scheme, separator, place = table.rpartition("://")
    return f"{scheme}{separator}{posixpath.normpath(posixpath.join(posixpath.dirname(place), path))}"


def _read_text(path: SourcePath, wanted: Sequence[str]) -> list[dict[str, str]]:
    with path.open() as source:
        is_utf16 = source.read_at(0, 2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        # Excel's "Unicode text" is UTF-16.
        file = io.TextIOWrapper(source.stream(), encoding="utf-16" if is_utf16 else "utf-8-sig", newline="")
        named = _SEPARATOR_LINE.fullmatch(file.readline(_LONGEST_SEPARATOR_LINE))
        start = file.tell() if named else 0
        file.seek(start)
        separator = named[1] if named else _find_separator(file.readline(), wanted)
        file.seek(start)
        # The standard reader keeps every value as text: an ID "007" stays what it is.
        reader = csv.reader(file, delimiter=separator, strict=True)
        columns = [name.strip() for name in next(reader, [])]
        rows = []
        # Where rows were deleted, Excel leaves lines that hold only separators.
        for values in filter(any, reader):
            if len(values) != len(columns):
                raise ValueError(
                    f"line {reader.line_num} has {counted(len(values), 'value')}, the header {len(columns):,}, "
                    f"separated by {SEPARATORS.get(separator, repr(separator))}"
                )
            # Spreadsheets may end every line with separators, which make columns without a name.
            cells = map(from_spreadsheet_text, values)
            rows.append({name: value for name, value in zip(columns, cells, strict=True) if name})
        return rows


def _find_separator(header: str, wanted: Sequence[str]) -> str:
    """Return the separator that gives most of the wanted columns; among equals, the one that gives most columns."""

    def columns(separator: str) -> list[str]:
        return [name.strip() for name in next(csv.reader([header], delimiter=separator), [])]

    return max(SEPARATORS, key=lambda mark: (len({*columns(mark)}.intersection(wanted)), len(columns(mark))))


def _read_parquet(path: SourcePath) -> list[dict[str, str]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # Without `partitioning=None`, Arrow would take parent folders named `key=value` for columns.
        with path.open() as file:
            table = parquet.read_table(file.stream(), partitioning=None)
        rows = table.cast(pa.schema([(name, pa.string()) for name in table.column_names])).to_pylist()
    except pa.ArrowException as error:
        raise ValueError(error) from None
    return [{column: value or "" for column, value in row.items()} for row in rows]
