"""Seals: small files that say in themselves what their bytes must be.

`dataset.json`, the manifest, failure records, partitions and `videos.parquet` are sealed when they are written; data
files are not, since the manifest names their sha256. A seal is the sha256 of the whole file with the seal's own digits
taken as zeros, so a single flipped bit anywhere breaks it. `phoenix-ray check` looks at it; readers of JSON do so too.

It tells accidents, not forgeries: whoever can write a file can seal it anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa

from phoenix_ray.dataset.json_records import parse_mapping

SealState = Literal["intact", "broken", "none"]

# What goes into the footer of a Parquet file before `seal_parquet`. JSON escapes control characters and the footer ends
# with its metadata, so no text of a user can pass for the last of these marks. A footer has a seal of its own, since a
# listing of thousands of partitions cannot read them whole.
PARQUET_SEAL_KEY = b"phoenix_ray_seal"
_DIGITS = 64
_BLANK = b"0" * _DIGITS
_PARQUET_MARK = b"\x01sha256\x01"
_FOOTER_MARK = b"\x01footer sha256\x01"
PARQUET_SEAL_BLANK = _FOOTER_MARK + _BLANK + _PARQUET_MARK + _BLANK
# A Parquet file ends with its footer, the footer's length as a little-endian int32, and this.
_PARQUET_MAGIC = b"PAR1"
# Within a JSON text the quotation marks of a string are escaped, so this is a key and never a value.
_JSON_KEY = "seal"
_JSON_MARK = b'"seal": "sha256:'


def seal_json(tree: Mapping[str, Any], indent: int | None = 2) -> bytes:
    """Return a mapping as sealed JSON."""
    blank = json.dumps({**tree, _JSON_KEY: f"sha256:{'0' * _DIGITS}"}, indent=indent).encode()
    return _seal(blank, _JSON_MARK)


def parse_sealed_json(content: bytes) -> dict[str, Any]:
    """Return the mapping of a JSON text without its seal; one without a seal is taken as it is.

    Raises:
        ValueError: It is no JSON mapping, or its seal is broken.
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
    """Return a Parquet file whose footer holds `PARQUET_SEAL_BLANK` with that seal filled in."""
    blank = content.to_pybytes()
    start = blank.rindex(_FOOTER_MARK) + len(_FOOTER_MARK)
    digits = hashlib.sha256(_last_footer(blank)).hexdigest().encode()
    return _seal(blank[:start] + digits + blank[start + _DIGITS :], _PARQUET_MARK)


def intact_footer(tail: bytes) -> bytes | None:
    """Return the footer of a Parquet file whose last bytes are given, None when its seal is not intact.

    None as well when there is no seal, or when the footer is longer than `tail`.
    """
    footer = _last_footer(tail)
    found = footer.rfind(_FOOTER_MARK)
    if found < 0:
        return None
    start, end = found + len(_FOOTER_MARK), found + len(PARQUET_SEAL_BLANK)
    digits, mark = footer[start : start + _DIGITS], footer[start + _DIGITS : end - _DIGITS]
    blank = footer[:start] + _BLANK + mark + _BLANK + footer[end:]
    return footer if hashlib.sha256(blank).hexdigest().encode() == digits else None


def parquet_seal(content: bytes) -> SealState:
    """Return the state of the seal of a Parquet file."""
    return _state(content, _PARQUET_MARK)


def _last_footer(tail: bytes) -> bytes:
    """Return the footer at the end of a Parquet file, empty when it is not there or begins before `tail`."""
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
