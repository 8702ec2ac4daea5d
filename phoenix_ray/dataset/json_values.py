"""Reading JSON that may say anything: the files and footers of a dataset that came from elsewhere, or were damaged.

Every function raises ValueError for what is not of its kind, which readers turn into "damaged". So nothing of another
type travels on into Arrow, paths or comparisons.
"""

from __future__ import annotations

import json
import math
from typing import Any

# Frame numbers and counts of a video are int32 in the dataset's columns; rows of a dataset are not bounded by that.
MOST_FRAMES = 2**31 - 1
MOST_ROWS = 2**53
# A text shorter than this holds no more values than that; a manifest of 100,000 data files holds less.
_LONG, _MOST_VALUES = 4_000_000, 4_000_000


def parse_mapping(content: str | bytes | bytearray) -> dict[str, Any]:
    """Return the mapping that a JSON text holds."""
    if len(content) > _LONG:
        # An empty list of 3 bytes takes 64 in memory.
        values = sum(map(content.count, ",[{")) if isinstance(content, str) else sum(map(content.count, b",[{"))
        if values > _MOST_VALUES:
            raise ValueError(f"it holds more than {_MOST_VALUES:,} values")
    try:
        tree = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(tree, dict):
        raise ValueError("it is no JSON mapping")
    return tree


def text(value: object) -> str:
    """Return a text that UTF-8 can say: JSON may hold halves of characters."""
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is no text")
    value.encode()
    return value


def optional_text(value: object) -> str | None:
    """Return a text, or None."""
    return None if value is None else text(value)


def texts(value: object) -> dict[str, str]:
    """Return a mapping of texts."""
    return {text(key): text(word) for key, word in _mapping(value).items()}


def count(value: object, most: int = MOST_FRAMES) -> int:
    """Return a whole number from 0 to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise ValueError(f"{_shown(value)} is no count")
    return value


def counts(value: object) -> dict[str, int]:
    """Return a mapping of counts of rows."""
    return {text(key): count(number, MOST_ROWS) for key, number in _mapping(value).items()}


def optional_number(value: object) -> float | None:
    """Return a finite number, or None."""
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{_shown(value)} is no number")
    return float(value)


def optional_flag(value: object) -> bool | None:
    """Return true or false, or None."""
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{_shown(value)} is neither true nor false")
    return value


def number(value: object) -> float:
    """Return a finite number."""
    found = optional_number(value)
    if found is None:
        raise ValueError("a number is missing")
    return found


def digest(value: object) -> int:
    """Return a landmark digest, written as 32 hexadecimal digits."""
    words = text(value)
    if len(words) != 32:
        raise ValueError(f"{_shown(words)} is no digest")
    return int(words, 16)


def _mapping(value: object) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is no mapping")
    return value


def _shown(value: object) -> str:
    return ascii(value)[:80] if not isinstance(value, int) or abs(value) < 2**64 else "a huge number"
