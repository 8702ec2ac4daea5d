"""Encoding of the dataset's Parquet files, and our part of their footers.

Partitions and data files have the same encoding, chosen by measurements on real landmarks: floats are split into byte
streams before zstd, which is a quarter smaller than plain zstd (dictionary encoding would silently switch it off).
Every page has a checksum. The footer holds our metadata as JSON under one key, so that no file needs a companion.
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
from phoenix_ray.dataset.memory_limits import DecodedSizeError
from phoenix_ray.dataset.sealing import PARQUET_SEAL_BLANK, PARQUET_SEAL_KEY, intact_footer, parse_mapping
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.errors import OutputError
from phoenix_ray.layouts import Layout

SCHEMA_VERSION = 1
_FOOTER_KEY = b"phoenix_ray"
# The bytes before the text under that key: Thrift's compact protocol writes a binary field as 0x18, the length as a
# varint, the bytes. JSON escapes control characters, so the last occurrence cannot be a user's text.
_FOOTER_MARK = b"\x18" + bytes([len(_FOOTER_KEY)]) + _FOOTER_KEY + b"\x18"
# The footer of a partition of 512 frames has about 16 kB.
_TAIL_BYTES = 32 << 10
_SORTED_BY = [("split", "ascending"), ("video_id", "ascending"), ("frame_index", "ascending")]
_TEXT_COLUMNS = ["split", "video_id", "frame_name", "status", "error"]


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file of the dataset that cannot be trusted; the rows that it should hold count as missing.

    Attributes:
        name: The file.
        reason: What is wrong with it.
        foreign: Whether it is sound but of another dataset or program, so that deleting it might lose somebody's work.
        gone: Whether it no longer exists.
    """

    name: str
    reason: str
    foreign: bool = False
    gone: bool = False


class DamagedFileError(Exception):
    """A file is truncated, has flipped bits, or is not ours. `dataset` catches it and reports its `damage`."""

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
        use_byte_stream_split=[f"{name}.list.element" for name in _columns_of_lists(layout)],
        # No reader uses the smallest and largest value of a coordinate, and footers without them are read faster.
        write_statistics=[field.name for field in schema if not pa.types.is_nested(field.type)],
        sorting_columns=pq.SortingColumn.from_ordering(schema, _SORTED_BY),
        write_page_checksum=True,
    )


def _columns_of_lists(layout: Layout) -> Iterator[str]:
    for part in layout.parts:
        yield from part.columns()
    yield from (head.logits_column for head in layout.heads if head.classes)


def write_sealable_footer(writer: pq.ParquetWriter, content: dict[str, Any]) -> None:
    """As `write_footer`, with room for a seal: pass the finished file to `sealing.seal_parquet`."""
    write_footer(writer, content)
    writer.add_key_value_metadata({PARQUET_SEAL_KEY: PARQUET_SEAL_BLANK})


def write_footer(writer: pq.ParquetWriter, content: dict[str, Any]) -> None:
    """Add our metadata to the footer of a file."""
    writer.add_key_value_metadata({_FOOTER_KEY: json.dumps(content, ensure_ascii=False, sort_keys=True).encode()})


@contextmanager
def open_parquet(storage: ReadableStorage, name: str) -> Iterator[pq.ParquetFile]:
    """Open a file and parse its footer; reading a page verifies its checksum.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFileError: It is not a whole Parquet file, or a page that the block reads is damaged.
    """
    with storage.open(name) as source, explain_damage(storage, name):
        yield pq.ParquetFile(source, page_checksum_verification=True)


def open_parquet_file(storage: ReadableStorage, name: str) -> tuple[pa.NativeFile, pq.ParquetFile]:
    """Open a file to keep open; return its bytes and the Parquet file. Read from it inside `explain_damage`."""
    source = storage.open(name)
    # From a bucket all columns of a row group are fetched at once, to hide the latency that a disk does not have.
    remote = not isinstance(source, pa.OSFile)
    with explain_damage(storage, name):
        return source, pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=remote)


@contextmanager
def explain_damage(storage: ReadableStorage, name: str) -> Iterator[None]:
    """Turn Arrow's exceptions into errors that name the file.

    Raises:
        FileNotFoundError: The file was deleted on another machine while it was open.
        DamagedFileError: It is not a whole Parquet file, or a page that was read is damaged.
        OutputError: The storage failed.
    """
    try:
        yield
    except DecodedSizeError as error:
        raise DamagedFileError(name, f"refused: {error}") from None
    # Arrow raises UnicodeDecodeError for damaged names of columns.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if not isinstance(error, OSError) or error.errno is None:
            raise DamagedFileError(name, f"damaged: {error}") from None
        if error.errno == errno.ESTALE:
            raise FileNotFoundError(name) from None
        raise OutputError(f"Cannot read {storage.root}/{name}: {error}. Start again when it can be read.") from error


def read_footer(name: str, file: pq.ParquetFile) -> dict[str, Any]:
    """Return the metadata that `write_footer` added to a file.

    Raises:
        DamagedFileError: phoenix_ray did not write the file, or its metadata is not a JSON mapping.
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
    """Return the metadata that `write_sealable_footer` added; None where the footer has no seal or is very long.

    It finds our text in the footer instead of having Arrow parse all of it, which takes a fifth of the time: a resume
    reads the footers of all partitions.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFileError: The footer's seal is broken. Arrow is not to see such a footer: it may end the process.
        OutputError: The storage failed.
    """
    with storage.open(name) as source, explain_damage(storage, name):
        size = source.size()
        tail = source.read_at(min(size, _TAIL_BYTES), max(0, size - _TAIL_BYTES))
    try:
        footer = intact_footer(tail)
    except ValueError as error:
        raise DamagedFileError(name, f"damaged: {error}") from None
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
