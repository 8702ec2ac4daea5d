"""The landmark digest: one number for what a set of rows says, whatever files the rows lie in.

A row's digest is a BLAKE2b hash of its split, video, frame, status, coordinates, scores and of what is missing. The
digest of many rows is the sum of theirs modulo 2**128, so the digests of partitions add up to the video's and those of
videos to the dataset's, in any order, however the frames were sharded or compacted. File bytes are not hashed: another
version of Arrow writes other bytes for the same rows.

Two datasets with the same digest hold the same landmarks bit for bit. It tells accidents apart, not forgeries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from phoenix_ray.dataset.schema import scored_parts, to_batch
from phoenix_ray.landmarks import Layout

_MODULUS = 1 << 128


def digest_rows(layout: Layout, table: pa.Table) -> list[int]:
    """Return the digest of each row of a table with the columns of `landmark_schema(layout)`."""
    numbers = _canonical_numbers(layout, table)
    names = zip(
        *(table.column(name).to_pylist() for name in ("split", "video_id", "frame_name", "status")), strict=True
    )
    return [_digest_row(texts, row) for texts, row in zip(names, numbers, strict=True)]


def add_digests(digests: Iterable[int]) -> int:
    """Return the digest of the rows of several sets together."""
    return sum(digests) % _MODULUS


def digest_text(digest: int) -> str:
    """Return a digest as 32 hexadecimal digits."""
    return f"{digest:032x}"


def _canonical_numbers(layout: Layout, table: pa.Table) -> NDArray[np.uint8]:
    """Return the numbers of each row as little-endian bytes: frame index, what is there, scores, coordinates."""
    batch = to_batch(layout, table)
    fields: list[NDArray[np.uint8]] = [_bytes(table.column("frame_index").to_numpy()[:, None], "<i4")]
    for part in scored_parts(layout):
        score = batch.scores[part.name][:, None]
        there = ~np.isnan(score)
        fields += [there.astype(np.uint8), _bytes(np.where(there, score, 0), "<f4")]
    for part in layout.parts:
        points = batch.points[part.name].reshape(table.num_rows, len(part.points) * len(part.axes))
        # Whether the list is null, not whether a value is NaN: a model's NaN inside a found part is content.
        there = table.column(next(part.columns())).is_valid().to_numpy()[:, None]
        fields += [there.astype(np.uint8), _bytes(np.where(there, points, 0), "<f4")]
    return np.concatenate(fields, axis=1)


def _bytes(values: NDArray[np.generic], dtype: str) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values, dtype).view(np.uint8)


def _digest_row(texts: tuple[str, ...], numbers: NDArray[np.uint8]) -> int:
    state = hashlib.blake2b(digest_size=16)
    for text in texts:
        encoded = text.encode()
        state.update(len(encoded).to_bytes(4, "little"))
        state.update(encoded)
    state.update(numbers.tobytes())
    return int.from_bytes(state.digest(), "little")
