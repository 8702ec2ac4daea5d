"""Seals: checksums inside small files, of the files' own bytes.

`dataset.json`, manifests, failure records, partitions and `videos.parquet` are sealed when they are written. Data files
are not, since the manifest has their sha256. A seal is the sha256 of the whole file with the seal's own digits taken as
zeros, so any flipped bit breaks it. `phoenix-ray check` verifies every seal; readers of JSON do so too.

A seal detects accidents, not forgeries: whoever can write a file can seal it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa

from phoenix_ray.dataset.json_records import parse_mapping

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

    Return None when the seal is broken or missing, or when the footer is longer than `tail`.
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
