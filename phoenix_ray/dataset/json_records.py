"""Strict reading of JSON that may say anything: files and footers that came from elsewhere, or were damaged.

A dataclass with the types below, behind a pydantic `TypeAdapter`, says what a file holds; `validate` raises ValueError
for anything else, which readers report as damage. So no value of another type, no NaN and no huge number travels on
into Arrow, paths or comparisons. Unknown fields are ignored: a later version may add some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

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
