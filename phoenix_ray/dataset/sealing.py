"""JSON and Parquet files that came from elsewhere or were damaged: strict reading, and seals.

**Strict reading.** A dataclass with the types below, behind a pydantic `TypeAdapter`, says what a JSON file holds;
`validate` raises ValueError for anything else, which readers report as damage. So no value of another type, no NaN and
no huge number travels on into Arrow, paths or comparisons. Unknown fields are ignored: a later version may add some.

**Seals** are checksums inside small files, of the files' own bytes. `dataset.json`, manifests, failure records,
partitions and `videos.parquet` are sealed when they are written. Data files are not, since the manifest has their
sha256. A seal is the sha256 of the whole file with the seal's own digits taken as zeros, so any flipped bit breaks it.
`phoenix-ray check` verifies every seal; readers of JSON do so too. A seal detects accidents, not forgeries: whoever can
write a file can seal it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import pyarrow as pa
from pydantic import BeforeValidator, Field, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import from_json

# Frame numbers and counts of a video are int32 in the dataset's columns; rows of a dataset are not bounded by that.
MOST_FRAMES = 2**31 - 1
MOST_ROWS = 2**53
# A text shorter than this holds no more values than that; a manifest of 100,000 data files holds less.
_LONG, _MOST_VALUES = 4_000_000, 4_000_000
_LONGEST_REASON = 200

# Strict: neither "1" nor 1.0 nor true is a number, neither 1 nor "true" is a flag. Texts are never converted anyway.
FrameNumber = Annotated[int, Field(strict=True, ge=0, le=MOST_FRAMES)]
RowNumber = Annotated[int, Field(strict=True, ge=0, le=MOST_ROWS)]
FiniteNumber = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Record = TypeVar("Record")


def _parse_counts(tree: object) -> Mapping[str, int]:
    if not isinstance(tree, dict) or any(
        type(value) is not int or not 0 <= value <= MOST_ROWS for value in tree.values()
    ):
        raise ValueError("it is not a mapping of counts")
    return tree


def _parse_texts(tree: object) -> Mapping[str, str]:
    if not isinstance(tree, dict) or any(type(value) is not str for value in tree.values()):
        raise ValueError("it is not a mapping of texts")
    return tree


# These stop at the first wrong value: pydantic would collect an error for each of millions.
Counts = Annotated[Mapping[str, int], PlainValidator(_parse_counts)]
Texts = Annotated[Mapping[str, str], PlainValidator(_parse_texts)]


def parse_mapping(content: str | bytes | bytearray) -> dict[str, Any]:
    """Return the mapping that a JSON text holds.

    Raises:
        ValueError: It is not a JSON mapping, is nested too deeply, or holds too many values.
    """
    if len(content) > _LONG:
        # An empty list of 3 bytes takes 64 in memory.
        values = sum(map(content.count, ",[{")) if isinstance(content, str) else sum(map(content.count, b",[{"))
        if values > _MOST_VALUES:
            raise ValueError(f"it holds more than {_MOST_VALUES:,} values")
    tree = from_json(content)
    if not isinstance(tree, dict):
        raise ValueError("it is not a JSON mapping")
    return tree


def validate(adapter: TypeAdapter[Record], tree: object, field: str = "") -> Record:
    """Return the record that parsed JSON holds; `field` names that JSON in messages, where it is part of a mapping.

    Raises:
        ValueError: A field is missing or has another type or range than the record says; the message names the first.
    """
    try:
        return adapter.validate_python(tree)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, ([field] if field else []) + list(first["loc"])))
        reason = f"{where}: {first['msg'].removeprefix('Value error, ')}"
        raise ValueError(reason.encode("ascii", "backslashreplace").decode()[:_LONGEST_REASON]) from None


def required(*names: str) -> BeforeValidator:
    """Return a validator for a dataclass with defaults: JSON that holds it must have the fields of these names."""

    def check(tree: object) -> object:
        if isinstance(tree, Mapping) and (missing := [name for name in names if name not in tree]):
            raise ValueError(f"{missing[0]} is missing")
        return tree

    return BeforeValidator(check)


def _nested_tally(tree: object) -> object:
    return {**tree, "tally": tree} if isinstance(tree, dict) else tree


# For a dataclass with a field `tally` whose counts lie beside the other fields in JSON.
FLAT_TALLY = BeforeValidator(_nested_tally)


SealState = Literal["intact", "broken", "none"]

# Goes into the footer of a Parquet file before `seal_parquet`. JSON escapes control characters and the footer ends with
# its metadata, so no user's text can be taken for the last of these marks. The footer has a seal of its own, since
# listing thousands of partitions cannot read whole files.
PARQUET_SEAL_KEY = b"phoenix_ray_seal"
_DIGITS = 64
_BLANK = b"0" * _DIGITS
_PARQUET_MARK = b"\x01sha256\x01"
_FOOTER_MARK = b"\x01footer sha256\x01"
PARQUET_SEAL_BLANK = _FOOTER_MARK + _BLANK + _PARQUET_MARK + _BLANK
# A Parquet file ends with its footer, the footer's length as a little-endian int32, and this.
_PARQUET_MAGIC = b"PAR1"
# JSON escapes quotation marks inside strings, so this is always a key and never part of a value.
_JSON_KEY = "seal"
_JSON_MARK = b'"seal": "sha256:'


def seal_json(tree: Mapping[str, Any], indent: int | None = 2) -> bytes:
    """Return a mapping as sealed JSON."""
    blank = json.dumps({**tree, _JSON_KEY: f"sha256:{'0' * _DIGITS}"}, indent=indent).encode()
    return _seal(blank, _JSON_MARK)


def parse_sealed_json(content: bytes) -> dict[str, Any]:
    """Return the mapping of a JSON text without its seal, which need not be there.

    Raises:
        ValueError: It is not a JSON mapping, or its seal is broken.
    """
    tree = parse_mapping(content)
    refuse_broken_seal(content)
    tree.pop(_JSON_KEY, None)
    return tree


def refuse_broken_seal(content: bytes) -> None:
    """Raise ValueError when the seal of a JSON text is broken."""
    if json_seal(content) == "broken":
        raise ValueError("its seal is broken: its bytes are not those that were written")


def json_seal(content: bytes) -> SealState:
    """Return the state of the seal of a JSON text."""
    return _state(content, _JSON_MARK)


def seal_parquet(content: pa.Buffer) -> bytes:
    """Return a Parquet file, whose footer holds `PARQUET_SEAL_BLANK`, with the seals filled in."""
    blank = content.to_pybytes()
    start = blank.rindex(_FOOTER_MARK) + len(_FOOTER_MARK)
    digits = hashlib.sha256(_last_footer(blank)).hexdigest().encode()
    return _seal(blank[:start] + digits + blank[start + _DIGITS :], _PARQUET_MARK)


def intact_footer(tail: bytes) -> bytes | None:
    """Return the footer of a Parquet file, given the file's last bytes, if the footer's seal is intact.

    Return None when the seal is missing, or when the footer is longer than `tail`.

    Raises:
        ValueError: The seal is broken.
    """
    footer = _last_footer(tail)
    found = footer.rfind(_FOOTER_MARK)
    if found < 0:
        return None
    start, end = found + len(_FOOTER_MARK), found + len(PARQUET_SEAL_BLANK)
    digits, mark = footer[start : start + _DIGITS], footer[start + _DIGITS : end - _DIGITS]
    blank = footer[:start] + _BLANK + mark + _BLANK + footer[end:]
    if hashlib.sha256(blank).hexdigest().encode() != digits:
        raise ValueError("the seal of its footer is broken")
    return footer


def parquet_seal(content: bytes) -> SealState:
    """Return the state of the seal of a Parquet file."""
    return _state(content, _PARQUET_MARK)


def _last_footer(tail: bytes) -> bytes:
    """Return the footer at the end of a Parquet file; empty when there is none or it begins before `tail`."""
    length = int.from_bytes(tail[-8:-4], "little")
    whole = tail.endswith(_PARQUET_MAGIC) and length + 8 <= len(tail)
    return tail[-8 - length : -8] if whole else b""


def _seal(blank: bytes, mark: bytes) -> bytes:
    start = blank.rindex(mark) + len(mark)
    digits = hashlib.sha256(blank).hexdigest().encode()
    return blank[:start] + digits + blank[start + _DIGITS :]


def _state(content: bytes, mark: bytes) -> SealState:
    found = content.rfind(mark)
    if found < 0:
        return "none"
    start = found + len(mark)
    hashed = hashlib.sha256(content[:start])
    hashed.update(_BLANK)
    hashed.update(content[start + _DIGITS :])
    return "intact" if hashed.hexdigest().encode() == content[start : start + _DIGITS] else "broken"
