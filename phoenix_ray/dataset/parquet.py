"""How the dataset's Parquet files are encoded, and what their footers say.

Partitions and compacted data files are written with the same encoding, measured on real landmarks: floats are split
into byte streams before zstd (a quarter smaller than plain zstd; dictionary encoding would silently switch it off), and
every page carries a checksum. What we know about a file lies as JSON in its footer, under one key, so that a file needs
no companion.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.decoded_size import DecodedSizeError
from phoenix_ray.dataset.json_records import parse_mapping
from phoenix_ray.dataset.sealing import PARQUET_SEAL_BLANK, PARQUET_SEAL_KEY, intact_footer
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.errors import OutputError
from phoenix_ray.landmarks import Layout

SCHEMA_VERSION = 1
_FOOTER_KEY = b"phoenix_ray"
# How a footer introduces the text under that key: Thrift's compact protocol writes a binary field as 0x18, the length
# as a varint, the bytes. JSON escapes control characters, so what comes last cannot be text of a user.
_FOOTER_MARK = b"\x18" + bytes([len(_FOOTER_KEY)]) + _FOOTER_KEY + b"\x18"
# The footer of a shard of 512 frames has about 16 kB.
_TAIL_BYTES = 32 << 10
_SORTED_BY = [("split", "ascending"), ("video_id", "ascending"), ("frame_index", "ascending")]
_TEXT_COLUMNS = ["split", "video_id", "frame_name", "status", "error"]


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file of the dataset that is not to be trusted; what it should hold counts as missing.

    Attributes:
        name: The file.
        reason: What is wrong with it.
        foreign: Whether it is whole but not of this dataset, so that deleting it might lose somebody's work.
        gone: Whether the file no longer exists.
    """

    name: str
    reason: str
    foreign: bool = False
    gone: bool = False


class DamagedFileError(Exception):
    """A file is truncated, bit-flipped or not ours. Caught inside `dataset`, which reports its `damage`."""

    def __init__(self, name: str, reason: str, foreign: bool = False) -> None:
        super().__init__(f"{name}: {reason}")
        self.damage = DamagedFile(name, reason, foreign)


def open_writer(sink: object, schema: pa.Schema, layout: Layout, settings: OutputSettings) -> pq.ParquetWriter:
    """Return a writer for rows sorted by split, video and frame."""
    return pq.ParquetWriter(
        sink,
        schema,
        compression="zstd",
        compression_level=settings.compression_level,
        use_dictionary=_TEXT_COLUMNS,
        use_byte_stream_split=[f"{name}.list.element" for part in layout.parts for name in part.columns()],
        # Of a coordinate the smallest and largest value help no reader, and footers without them are read faster.
        write_statistics=[field.name for field in schema if not pa.types.is_nested(field.type)],
        sorting_columns=pq.SortingColumn.from_ordering(schema, _SORTED_BY),
        write_page_checksum=True,
    )


def write_sealable_footer(writer: pq.ParquetWriter, content: dict[str, Any]) -> None:
    """As `write_footer`, with room for a seal: `sealing.seal_parquet` is to be called on the finished file."""
    write_footer(writer, content)
    writer.add_key_value_metadata({PARQUET_SEAL_KEY: PARQUET_SEAL_BLANK})


def write_footer(writer: pq.ParquetWriter, content: dict[str, Any]) -> None:
    """Add what we know about the file to its footer."""
    writer.add_key_value_metadata({_FOOTER_KEY: json.dumps(content, ensure_ascii=False, sort_keys=True).encode()})


@contextmanager
def open_parquet(storage: ReadableStorage, name: str) -> Iterator[pq.ParquetFile]:
    """Open a file and parse its footer; pages are checked against their checksums when they are read.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFileError: It is no whole Parquet file, or a page that was read in the block is damaged.
    """
    with storage.open(name) as source, explain_damage(storage, name):
        yield pq.ParquetFile(source, page_checksum_verification=True)


def open_parquet_file(storage: ReadableStorage, name: str) -> tuple[pa.NativeFile, pq.ParquetFile]:
    """As `open_parquet`, for a file that is kept open, and its bytes; read from it inside of `explain_damage`."""
    source = storage.open(name)
    # In a bucket all columns of a row group are fetched at once; a disk has no such latency to hide.
    remote = not isinstance(source, pa.OSFile)
    with explain_damage(storage, name):
        return source, pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=remote)


@contextmanager
def explain_damage(storage: ReadableStorage, name: str) -> Iterator[None]:
    """Turn what Arrow raises about a file into an error that names it.

    Raises:
        FileNotFoundError: The file was deleted on another machine while it was open.
        DamagedFileError: It is no whole Parquet file, or a page that was read is damaged.
        OutputError: The storage failed.
    """
    try:
        yield
    except DecodedSizeError as error:
        raise DamagedFileError(name, f"refused: {error}") from None
    # UnicodeDecodeError: Arrow reads names of columns as they are.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if not isinstance(error, OSError) or error.errno is None:
            raise DamagedFileError(name, f"damaged: {error}") from None
        if error.errno == errno.ESTALE:
            raise FileNotFoundError(name) from None
        raise OutputError(f"Cannot read {storage.root}/{name}: {error}. Start again when it can be read.") from error


def read_footer(name: str, file: pq.ParquetFile) -> dict[str, Any]:
    """Return what `write_footer` put into a file.

    Raises:
        DamagedFileError: The file was not written by phoenix_ray, or what it says is no JSON.
    """
    content = (file.metadata.metadata or {}).get(_FOOTER_KEY)
    if content is None:
        raise DamagedFileError(name, "not written by phoenix_ray", foreign=True)
    try:
        tree = parse_mapping(content)
    except ValueError as error:
        raise DamagedFileError(name, f"its footer is damaged ({error})") from None
    return tree


def read_sealed_footer(storage: ReadableStorage, name: str) -> dict[str, Any] | None:
    """Return what `write_sealable_footer` put into a file, None unless the footer is short and its seal intact.

    It finds the one text in the footer instead of having Arrow parse all of it, which takes a fifth of the time: a
    resume reads the footers of all partitions.

    Raises:
        FileNotFoundError: There is no such file.
        OutputError: The storage failed.
    """
    with storage.open(name) as source, explain_damage(storage, name):
        size = source.size()
        footer = intact_footer(source.read_at(min(size, _TAIL_BYTES), max(0, size - _TAIL_BYTES)))
    if footer is None:
        return None
    position = footer.rindex(_FOOTER_MARK) + len(_FOOTER_MARK)
    length = shift = 0
    while True:
        byte = footer[position]
        length |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return parse_mapping(footer[position : position + length])
