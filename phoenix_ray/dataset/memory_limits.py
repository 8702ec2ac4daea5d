"""Limits of what reading a dataset may take in memory.

A few hundred kB of Parquet can decode to gigabytes: pages of zeros, runs of one value, a long text that a dictionary
repeats. The sizes in a footer may be untrue, so this reads the header of each page, which decoders rely on, before
anything is decoded. `refuse_large_video` refuses to load a video for which this process has too little memory.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from phoenix_ray.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from phoenix_ray.dataset.shards import VideoKey

# For a row group: 19,000 rows of Holistic at 14 kB.
MOST_BYTES_AT_ONCE = 256 << 20
# A table of videos may decode to this many times its file's size: that of a million videos decodes to ten times.
_MOST_TIMES_A_TABLE = 50
# A row group that decodes to more than the first may decode to this many times its compressed bytes. One of 2,740 equal
# rows of Holistic, which no camera produces, decodes to 1,400 times its size.
_SMALL_BYTES, _MOST_TIMES_COMPRESSED = 16 << 20, 4_000
# Missing landmarks take no bytes until they become arrays, so rows are bounded too; runs write up to 8,192.
_MOST_ROWS = 16_384
# Bytes of a value of each type; a definition and a repetition level take 2 each.
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
_LEVEL_BYTES = 4
# From parquet.thrift: page types, and encodings that refer to a dictionary or to the previous value.
_DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = 0, 2, 3
_DICTIONARY_ENCODINGS = frozenset({2, 8})
_PREFIX_ENCODING = 7
# Page type → field of its own header in the page header, and in that the fields of value count and encoding.
_OWN_HEADER = {_DATA_PAGE: (5, 1, 2), _DICTIONARY_PAGE: (7, 1, 2), _DATA_PAGE_V2: (8, 1, 4)}
# Most headers are shorter than the first; statistics can make a header longer.
_HEADER_BYTES, _LONGEST_HEADER = 128, 1 << 20


class DecodedSizeError(ValueError):
    """Data that decodes to too many bytes, or whose page headers make no sense."""


class _Page(NamedTuple):
    kind: int
    uncompressed: int
    compressed: int
    values: int
    encoding: int
    start: int


def refuse_bomb(source: pa.NativeFile, metadata: pq.FileMetaData, group: int, columns: Collection[str] | None) -> None:
    """Raise DecodedSizeError if a row group decodes to more than `MOST_BYTES_AT_ONCE`.

    Args:
        source: The file.
        metadata: Its footer.
        group: Number of the row group.
        columns: Names of top-level columns; None means all.
    """
    chunks = metadata.row_group(group)
    if chunks.num_rows > _MOST_ROWS:
        raise DecodedSizeError(f"row group {group} has {chunks.num_rows:,} rows, more than the {_MOST_ROWS:,} allowed")
    total = compressed = 0
    for index in range(chunks.num_columns):
        chunk = chunks.column(index)
        if columns is None or chunk.path_in_schema.partition(".")[0] in columns:
            total += _decoded_bytes(source, chunk, MOST_BYTES_AT_ONCE)
            compressed += chunk.total_compressed_size
            _refuse(total, MOST_BYTES_AT_ONCE, f"row group {group}")
    _refuse(total, max(_SMALL_BYTES, _MOST_TIMES_COMPRESSED * compressed), f"row group {group}")


def refuse_bomb_of_all(source: pa.NativeFile, metadata: pq.FileMetaData, columns: Collection[str] | None) -> None:
    """Raise DecodedSizeError if a table of videos decodes to far more bytes than its file has."""
    most = max(MOST_BYTES_AT_ONCE, _MOST_TIMES_A_TABLE * source.size())
    total = 0
    for group in range(metadata.num_row_groups):
        chunks = metadata.row_group(group)
        for index in range(chunks.num_columns):
            chunk = chunks.column(index)
            if columns is None or chunk.path_in_schema.partition(".")[0] in columns:
                total += _decoded_bytes(source, chunk, most)
                _refuse(total, most, "it")


def _refuse(decoded: int, most: int, what: str) -> None:
    if decoded > most:
        raise DecodedSizeError(f"{what} decodes to at least {decoded:,} bytes, more than the {most:,} allowed")


def _decoded_bytes(source: pa.NativeFile, chunk: pq.ColumnChunkMetaData, most: int) -> int:
    """Return how many bytes a column chunk decodes to, or a smaller number above `most`."""
    width = _WIDTHS.get(chunk.physical_type)
    total = values = longest = 0
    dictionary: _Page | None = None
    for page in _pages(source, chunk):
        total += page.uncompressed
        if page.kind == _DICTIONARY_PAGE:
            dictionary = page
            continue
        values += page.values
        if page.encoding == _PREFIX_ENCODING:
            raise DecodedSizeError(f"{chunk.path_in_schema} has an encoding whose decoded size cannot be predicted")
        if width is not None:
            total += page.values * (width + _LEVEL_BYTES)
        elif page.encoding in _DICTIONARY_ENCODINGS and dictionary is not None:
            # The dictionary's size bounds that of its entries, which is mostly enough.
            if not longest and page.values * dictionary.uncompressed > most // 16:
                longest = _longest_entry(source, chunk, dictionary)
            total += page.values * (longest or dictionary.uncompressed)
        if total > most:
            return total
    if values > chunk.num_values:
        raise DecodedSizeError(f"{chunk.path_in_schema} has {values:,} values, the footer says {chunk.num_values:,}")
    return total


def _pages(source: pa.NativeFile, chunk: pq.ColumnChunkMetaData) -> Iterator[_Page]:
    position = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < (chunk.dictionary_page_offset or 0) < position:
        position = chunk.dictionary_page_offset
    end = position + chunk.total_compressed_size
    if not 0 <= position <= end <= source.size():
        raise DecodedSizeError(f"{chunk.path_in_schema} extends beyond the end of the file")
    values = 0
    while position < end and values < chunk.num_values:
        page = _read_page(source, position, end)
        yield page
        values += page.values if page.kind != _DICTIONARY_PAGE else 0
        position = page.start + page.compressed


def _read_page(source: pa.NativeFile, position: int, end: int) -> _Page:
    size = _HEADER_BYTES
    while True:
        content = source.read_at(min(size, end - position), position)
        try:
            header, length = _read_struct(content, 0, 0)
        except IndexError:
            if size >= min(_LONGEST_HEADER, end - position):
                raise DecodedSizeError("the header of a page is cut short") from None
            size *= 16
            continue
        own, values_field, encoding_field = _OWN_HEADER.get(header.get(1, -1), (0, 0, 0))
        about = header.get(own, {})
        if not isinstance(about, dict):
            raise DecodedSizeError("the header of a page makes no sense")
        numbers = (
            header.get(1),
            header.get(2),
            header.get(3),
            about.get(values_field, 0),
            about.get(encoding_field, 0),
        )
        kind, uncompressed, compressed, values, encoding = (number if type(number) is int else -1 for number in numbers)
        if min(kind, uncompressed, compressed, values, encoding) < 0:
            raise DecodedSizeError("the header of a page makes no sense")
        return _Page(kind, uncompressed, compressed, values, encoding, position + length)


def _read_struct(content: bytes, position: int, depth: int) -> tuple[dict[int, Any], int]:
    """Return the numbers and structures in a structure of Thrift's compact protocol, and the position after it.

    Raises:
        IndexError: It is cut short.
    """
    if depth > 4:
        raise DecodedSizeError("the header of a page is nested too deeply")
    fields: dict[int, Any] = {}
    field = 0
    while byte := content[position]:
        kind, delta = byte & 0x0F, byte >> 4
        position += 1
        if delta:
            field += delta
        else:
            field, position = _read_number(content, position)
        if kind in (1, 2):
            fields[field] = kind == 1
        elif kind == 3:
            position += 1
        elif kind in (4, 5, 6):
            fields[field], position = _read_number(content, position)
        elif kind == 7:
            position += 8
        elif kind == 8:
            length, position = _read_varint(content, position)
            position += length
        elif kind == 12:
            fields[field], position = _read_struct(content, position, depth + 1)
        else:
            raise DecodedSizeError("the header of a page has a field of an unknown type")
    return fields, position + 1


def _read_number(content: bytes, position: int) -> tuple[int, int]:
    value, position = _read_varint(content, position)
    return (value >> 1) ^ -(value & 1), position


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise DecodedSizeError("the header of a page has a number of more than 64 bits")


def _longest_entry(source: pa.NativeFile, chunk: pq.ColumnChunkMetaData, page: _Page) -> int:
    """Return the length of the longest text in a dictionary."""
    if page.uncompressed > MOST_BYTES_AT_ONCE:
        return page.uncompressed
    content = source.read_at(page.compressed, page.start)
    if chunk.compression != "UNCOMPRESSED":
        content = pa.decompress(content, page.uncompressed, codec=chunk.compression.lower(), asbytes=True)
    longest = position = 0
    while position + 4 <= len(content):
        length = int.from_bytes(content[position : position + 4], "little")
        longest, position = max(longest, length), position + 4 + length
    return max(1, longest)


VARIABLE = "PHOENIX_RAY_MOST_VIDEO_MB"
_DIGITS = 12
# Loading a video takes 2.5 times its arrays, so they may take 1 / this of the free memory.
_PART_OF_FREE = 3
# The arrays of real landmarks take 3 times their compressed bytes; 40 times where a person is found in one frame of
# thirteen; those of frames without a person 350 times, more in large row groups. Beyond 40 a video may be a bomb. It is
# loaded only up to 256 MiB, which are 25 minutes without a person, because loading takes 2.5 times that.
_USUAL_TIMES_COMPRESSED, _UNUSUAL_BYTES = 40, 256 << 20
_CONTROL_GROUPS = Path("/sys/fs/cgroup")
# Files of control groups of version 1 and 2: limit, use, and the field of cached files, which the kernel can drop.
_OLD_FILES = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_FILES = ("memory.max", "memory.current", "inactive_file")


def refuse_large_video(key: VideoKey, size: int, compressed: int) -> None:
    """Refuse a video of `size` bytes as arrays, and `compressed` bytes in files, that is too large to load at once.

    It may take a third of the memory that this process can still get, and less where its files are so small that they
    may be a decompression bomb. PHOENIX_RAY_MOST_VIDEO_MB, in MiB, replaces both bounds.

    Raises:
        OutputError: It is larger.
        ConfigError: The variable is not a number.
    """
    most = _most_bytes(compressed)
    if size > most:
        by = VARIABLE if os.environ.get(VARIABLE) else "the free memory and the size of its files"
        raise OutputError(
            f"{key[0]}/{key[1]} takes at least {size >> 20:,} MiB when it is loaded at once, and {most >> 20:,} MiB "
            f"are allowed by {by}. Allow more with {VARIABLE}={(size >> 20) + 1}, or read it in blocks "
            "(`Dataset.load_blocks` in Python)."
        )


def _most_bytes(compressed: int) -> int:
    allowed = os.environ.get(VARIABLE, "")
    if allowed:
        if not allowed.isdecimal() or len(allowed) > _DIGITS:
            raise ConfigError(f"{VARIABLE} is {allowed[:40]!r}: give a whole number of MiB, 0 or more.")
        return int(allowed) << 20
    usual = max(_UNUSUAL_BYTES, _USUAL_TIMES_COMPRESSED * compressed)
    free = free_memory()
    return usual if free is None else min(usual, free // _PART_OF_FREE)


def free_memory() -> int | None:
    """Return how many bytes this process can still get from machine and control groups; None where unknown."""
    bounds = []
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        bounds.append(int(next(line for line in lines if line.startswith("MemAvailable")).split()[1]) << 10)
    for folder, (limit, use, cached) in _control_groups():
        # A group without a limit says "max".
        with suppress(OSError, ValueError):
            used = int((folder / use).read_text()) - _cached_bytes(folder / "memory.stat", cached)
            bounds.append(max(0, int((folder / limit).read_text()) - used))
    return min(bounds, default=None)


def _cached_bytes(file: Path, name: str) -> int:
    """Return a number from a control group's statistics, 0 where it is missing."""
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0


def _control_groups() -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yield the folder of each control group that may limit this process, with the names of its files."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text(errors="surrogateescape").splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" in controllers.split(",") or not controllers:
                root, files = (_CONTROL_GROUPS / "memory", _OLD_FILES) if controllers else (_CONTROL_GROUPS, _FILES)
                folder = root / path.lstrip("/")
                parents = (folder, *folder.parents)
                yield from ((parent, files) for parent in parents if parent.is_relative_to(root))
