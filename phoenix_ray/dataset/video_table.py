"""The table of videos, `videos.parquet`: a row for each compacted video.

It is derived from the footers of the data files, which list the videos in them; `gather_videos` puts the lists
together. As a single file it says what is done for a million videos within a second, and users join it with their
labels. Its rows for a data file stay valid as long as the manifest names that file, so bringing an outdated table up to
date only reads the footers of new files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import FailFast, Field, TypeAdapter

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.manifest import DataFile, Manifest
from phoenix_ray.dataset.memory_limits import refuse_bomb_of_all
from phoenix_ray.dataset.parquet import DamagedFile, DamagedFileError, explain_damage, open_parquet, read_footer
from phoenix_ray.dataset.partitions import FOOTER_THREADS
from phoenix_ray.dataset.schema import STATUSES, plain_schema
from phoenix_ray.dataset.sealing import (
    FLAT_TALLY,
    PARQUET_SEAL_BLANK,
    PARQUET_SEAL_KEY,
    FrameNumber,
    RowNumber,
    parquet_seal,
    seal_parquet,
    validate,
)
from phoenix_ray.dataset.shards import RecordedVideo, VideoKey, recorded_fields
from phoenix_ray.dataset.storage import ReadableStorage, Storage
from phoenix_ray.dataset.tally import RecordedTally, total
from phoenix_ray.layouts import Layout

# Annotations with a column of their own; all others share the map column `annotation`.
NAMED_ANNOTATIONS = ("signer", "gloss", "translation")
# Separates the kernels of a video whose frames were computed on different machines.
KERNELS_SEPARATOR = " | "
# What resume, compaction and reading need: of a million videos, these few columns fit in memory.
VERSION_COLUMNS = ("split", "video_id", "source_signature", "frames", "file", "first_row")
# Missing in datasets of the first versions. The schema version stayed the same: older versions refuse a newer one.
_LATER_COLUMNS = frozenset({"fps_varies", "kernels", "start_frame", "start_seconds", "pixel_aspect_ratio"})
_TEXTS = pa.map_(pa.string(), pa.string())
# As `_TEXTS` in a file.
_PAIRS = pa.list_(
    pa.field("element", pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.string())]))
)
# Column of `videos.parquet`: rows of the video with status `unreadable`.
UNREADABLE_COLUMN = "frames_unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoEntry(RecordedVideo):
    """A compacted video, as its data file's footer lists it.

    Attributes:
        first_row: Row of its frame 0 in the data file; the other frames follow.
        tally: Counts over its rows.
    """

    frame_count: Annotated[FrameNumber, Field(validation_alias="frames")]
    first_row: RowNumber
    tally: RecordedTally

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        fields = recorded_fields(self)
        return {"frames": fields.pop("frame_count"), "first_row": self.first_row, **fields, **self.tally.to_json()}


_ENTRIES = TypeAdapter(Annotated[list[Annotated[VideoEntry, FLAT_TALLY]], FailFast()])


def parse_entries(trees: object) -> list[VideoEntry]:
    """Return the entries that `VideoEntry.to_json` gave; ValueError where they are something else."""
    return validate(_ENTRIES, trees, "videos")


def video_schema(layout: Layout) -> pa.Schema:
    """Return the Arrow schema of the table in memory: dictionaries, for a million videos share few texts.

    The file has other types (`_file_schema`), which more tools read.
    """
    return pa.schema(
        [
            pa.field("split", pa.dictionary(pa.int32(), pa.string()), nullable=False),
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("frames", pa.int32(), nullable=False),
            pa.field("fps", pa.float64()),
            pa.field("fps_varies", pa.bool_()),
            pa.field("start_frame", pa.int32()),
            pa.field("start_seconds", pa.float64()),
            pa.field("pixel_aspect_ratio", pa.float64()),
            *(pa.field(name, pa.string()) for name in NAMED_ANNOTATIONS),
            pa.field("annotation", _TEXTS, nullable=False),
            *(pa.field(f"frames_{status}", pa.int32(), nullable=False) for status in STATUSES),
            *(pa.field(f"{part.name}_rate", pa.float64(), nullable=False) for part in layout.parts),
            pa.field("kernels", pa.dictionary(pa.int32(), pa.string())),
            pa.field("source_signature", pa.string(), nullable=False),
            pa.field("landmark_digest", pa.string(), nullable=False),
            pa.field("file", pa.dictionary(pa.int32(), pa.string())),
            pa.field("first_row", pa.int64()),
        ]
    )


def to_video_table(layout: Layout, entries: Sequence[VideoEntry], file: str | None) -> pa.Table:
    """Return a row for each entry; `file` is the data file that holds them, None for videos in partitions."""
    tallies = [entry.tally for entry in entries]
    columns: dict[str, Iterable[object]] = {
        "split": [entry.split for entry in entries],
        "video_id": [entry.video_id for entry in entries],
        "frames": [entry.frame_count for entry in entries],
        "fps": [entry.fps for entry in entries],
        "fps_varies": [entry.fps_varies for entry in entries],
        "start_frame": [entry.start_frame for entry in entries],
        "start_seconds": [entry.start_seconds for entry in entries],
        "pixel_aspect_ratio": [entry.pixel_aspect_ratio for entry in entries],
        **{name: [entry.annotation.get(name) for entry in entries] for name in NAMED_ANNOTATIONS},
        "annotation": [
            [(key, text) for key, text in entry.annotation.items() if key not in NAMED_ANNOTATIONS] for entry in entries
        ],
        **{f"frames_{status}": [tally.statuses.get(status, 0) for tally in tallies] for status in STATUSES},
        **{f"{part.name}_rate": [tally.rate(part.name) for tally in tallies] for part in layout.parts},
        "kernels": [KERNELS_SEPARATOR.join(sorted(tally.kernels)) or None for tally in tallies],
        "source_signature": [entry.signature for entry in entries],
        "landmark_digest": [tally.to_json()["digest"] for tally in tallies],
        "file": [file] * len(entries),
        "first_row": [None if file is None else entry.first_row for entry in entries],
    }
    return pa.table(columns, schema=video_schema(layout))


def read_videos(storage: ReadableStorage, layout: Layout, columns: Sequence[str] | None = None) -> pa.Table | None:
    """Return columns of `videos.parquet` (None: all), or None where it is the table of another layout.

    Columns that an earlier version did not write are null.

    Raises:
        FileNotFoundError: There is no such table.
        DamagedFileError: Its seal is broken, or it decodes to far more bytes than it has.
    """
    content = storage.read(paths.VIDEOS)
    # Page checksums do not cover the footer, and nothing else would reveal a wrong row of this table.
    if parquet_seal(content) == "broken":
        raise DamagedFileError(paths.VIDEOS, "its seal is broken: its bytes are not those that were written")
    source = pa.BufferReader(content)
    with explain_damage(storage, paths.VIDEOS):
        metadata = pq.read_metadata(source)
        there = {metadata.schema.column(index).path for index in range(metadata.num_columns)}
        shared = [field.name for field in video_schema(layout) if pa.types.is_dictionary(field.type)]
        parquet = pq.ParquetFile(
            source,
            metadata=metadata,
            read_dictionary=[name for name in shared if name in there],
            page_checksum_verification=True,
        )
        refuse_bomb_of_all(source, parquet.metadata, columns)
        return _read_columns(parquet, layout, columns)


def _read_columns(parquet: pq.ParquetFile, layout: Layout, columns: Sequence[str] | None) -> pa.Table | None:
    schema, there = video_schema(layout), parquet.schema_arrow
    expected = pa.schema([field for field in schema if field.name in there.names or field.name not in _LATER_COLUMNS])
    if not _file_schema(there).equals(_file_schema(expected)):
        return None
    wanted = pa.schema([schema.field(name) for name in columns or schema.names])
    # In this thread: Arrow's may still hold Python's bytes when the process ends, which can crash it then.
    table = parquet.read([name for name in wanted.names if name in there.names], use_threads=False)
    if "annotation" in table.column_names and pa.types.is_list(table.schema.field("annotation").type):
        annotation = pa.chunked_array(map(_to_map, table.column("annotation").chunks), _TEXTS)
        table = table.set_column(table.column_names.index("annotation"), schema.field("annotation"), annotation)
    found = [
        table.column(field.name) if field.name in there.names else pa.nulls(table.num_rows, field.type)
        for field in wanted
    ]
    return pa.Table.from_arrays(found, schema=wanted)


def _file_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of `videos.parquet` for one of the table: Hugging Face's `datasets` refuses maps."""
    plain = plain_schema(schema)
    return pa.schema([field.with_type(_PAIRS) if field.type.equals(_TEXTS) else field for field in plain])


def _to_map(pairs: pa.ListArray) -> pa.MapArray:
    first, last = pairs.offsets[0].as_py(), pairs.offsets[-1].as_py()
    entries = pairs.values.slice(first, last - first)
    offsets = pc.subtract(pairs.offsets, first)
    return pa.MapArray.from_arrays(offsets, entries.field("key"), entries.field("value"), _TEXTS)


def describe_data_file(name: str, entries: Sequence[VideoEntry], size: int, sha256: str) -> DataFile:
    """Return the manifest's record of a data file that holds these videos."""
    return DataFile(
        name=name,
        split=entries[0].split,
        videos=len(entries),
        first_video=entries[0].video_id,
        last_video=entries[-1].video_id,
        bytes=size,
        sha256=sha256,
        tally=total(entry.tally for entry in entries),
    )


def read_entries(storage: ReadableStorage, identity: DatasetIdentity, data_file: str) -> list[VideoEntry]:
    """Return the videos of a data file, in the order of its rows.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFileError: Its footer cannot be understood, or it belongs to another dataset.
    """
    with open_parquet(storage, data_file) as parquet:
        footer = read_footer(data_file, parquet)
    try:
        if footer["fingerprint"] != identity.fingerprint:
            raise DamagedFileError(data_file, "it belongs to a dataset with other settings", foreign=True)
        return parse_entries(footer["videos"])
    except (KeyError, ValueError) as error:
        raise DamagedFileError(data_file, f"its footer cannot be understood ({error!r})") from None


def gather_videos(
    storage: ReadableStorage, identity: DatasetIdentity, manifest: Manifest, columns: Sequence[str] | None = None
) -> tuple[pa.Table, list[DamagedFile]]:
    """Return the table of the videos in a manifest's files, and the files whose footers cannot be read.

    Args:
        storage: The dataset.
        identity: Its identity.
        manifest: The files. Videos that `videos.parquet` has come first, the others in the manifest's order.
        columns: The wanted columns, `file` among them; None means all.
    """
    layout = find_layout(identity)
    data_files = [file.name for file in manifest.files]
    columns = list(columns or video_schema(layout).names)
    known = _read_table(storage, layout, columns)
    known_files = set(pc.unique(known.column("file")).to_pylist())
    if not known_files <= set(data_files):
        known = known.filter(
            pc.is_in(known.column("file"), pa.array(sorted(known_files & set(data_files)), pa.string()))
        )
    fresh = [name for name in data_files if name not in known_files]
    with ThreadPoolExecutor(FOOTER_THREADS) as pool:
        found = list(pool.map(partial(_try_table, storage, identity, layout, columns), fresh))
    damaged = [file for file in found if isinstance(file, DamagedFile)]
    return pa.concat_tables([known, *(table for table in found if not isinstance(table, DamagedFile))]), damaged


def select_videos(videos: pa.Table, keys: Iterable[VideoKey]) -> dict[VideoKey, dict[str, Any]]:
    """Return the rows of a few videos in a large table, by split and video ID."""
    wanted = set(keys)
    likely = videos.filter(
        pc.is_in(videos.column("video_id"), pa.array({video_id for _, video_id in wanted}, pa.string()))
    )
    rows = ((row["split"], row["video_id"], row) for row in likely.to_pylist())
    return {(split, video_id): row for split, video_id, row in rows if (split, video_id) in wanted}


def write_videos(storage: Storage, videos: pa.Table) -> None:
    """Replace `videos.parquet`."""
    sink = pa.BufferOutputStream()
    table = videos.unify_dictionaries()
    if "annotation" in table.column_names:
        position = table.column_names.index("annotation")
        field = table.schema.field(position).with_type(_PAIRS)
        table = table.set_column(position, field, table.column(position).cast(_PAIRS))
    # Without Arrow's schema in it, a file shows plain text: dictionaries need not be spelled out in memory.
    options: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True, "store_schema": False}
    with pq.ParquetWriter(sink, table.schema, **options) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({PARQUET_SEAL_KEY: PARQUET_SEAL_BLANK})
    storage.write(paths.VIDEOS, seal_parquet(sink.getvalue()))


def lists_files(storage: ReadableStorage, identity: DatasetIdentity, names: Collection[str]) -> bool:
    """Whether `videos.parquet` is the table of exactly these data files."""
    table = _read_table(storage, find_layout(identity), ["file"])
    return set(pc.unique(table.column("file")).to_pylist()) == set(names)


def _try_table(
    storage: ReadableStorage, identity: DatasetIdentity, layout: Layout, columns: list[str], data_file: str
) -> pa.Table | DamagedFile:
    try:
        return to_video_table(layout, read_entries(storage, identity, data_file), data_file).select(columns)
    except FileNotFoundError:
        return DamagedFile(data_file, "the manifest names it, but it is gone", gone=True)
    except DamagedFileError as error:
        return error.damage


def _read_table(storage: ReadableStorage, layout: Layout, columns: list[str]) -> pa.Table:
    """Return `videos.parquet`, or an empty table where it cannot be used; footers have the same content."""
    with suppress(FileNotFoundError, DamagedFileError):
        table = read_videos(storage, layout, columns)
        if table is not None:
            return table
    return video_schema(layout).empty_table().select(columns)
