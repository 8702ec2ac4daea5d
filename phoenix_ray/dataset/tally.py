"""Counts over rows, by status and by part found, and the landmark digest of their content.

Tallies add up: those of partitions to a video's, those of videos to a split's and the dataset's. The footer of each
file holds the tallies of its rows, so detection rates and digests of a dataset can be computed without reading rows.

A row's digest is a BLAKE2b hash of its split, video, frame, status, coordinates, scores, heads and of what is missing.
The digest of many rows is the sum of theirs modulo 2**128: it does not depend on their order, on shards or on files.
File bytes are not hashed, since another version of Arrow writes other bytes for the same rows. Datasets with the same
digest hold the same landmarks bit for bit; the digest detects accidents, not forgeries.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import PlainValidator

from phoenix_ray.dataset.schema import scored_parts, to_batch
from phoenix_ray.dataset.sealing import Counts, RowNumber, required
from phoenix_ray.layouts import Layout

_MODULUS = 1 << 128


def _parse_digest(text: object) -> int:
    if not isinstance(text, str) or len(text) != 32:
        raise ValueError("it is not a digest of 32 hexadecimal digits")
    return int(text, 16)


# A landmark digest; JSON has it as 32 hexadecimal digits.
Digest = Annotated[int, PlainValidator(_parse_digest)]


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over a set of rows.

    Attributes:
        rows: Frames.
        digest: Landmark digest.
        statuses: Status → frames; statuses without a frame are left out.
        detected: Part → frames in which it was found.
        kernels: What computed them (`models.provenance.describe_kernels`) → frames. Rows do not record it, so it is not
            compared.
    """

    rows: RowNumber = 0
    digest: Digest = 0
    statuses: Counts = field(default_factory=dict)
    detected: Counts = field(default_factory=dict)
    kernels: Counts = field(default_factory=dict, compare=False)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.rows + other.rows,
            add_digests((self.digest, other.digest)),
            _add(self.statuses, other.statuses),
            _add(self.detected, other.detected),
            _add(self.kernels, other.kernels),
        )

    def rate(self, part: str) -> float:
        """Return the share of frames in which a part was found; 0 where there are no frames."""
        return self.detected.get(part, 0) / self.rows if self.rows else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return plain values, the digest as text."""
        return {
            "rows": self.rows,
            "digest": digest_text(self.digest),
            "statuses": dict(self.statuses),
            "detected": dict(self.detected),
            "kernels": dict(self.kernels),
        }


# The counts as `Tally.to_json` writes them.
RecordedTally = Annotated[Tally, required("rows", "digest", "statuses", "detected")]


def tally_rows(layout: Layout, table: pa.Table) -> Tally:
    """Return the tally of a table with the columns of `landmark_schema(layout)`."""
    counts = pc.value_counts(table.column("status")).to_pylist()
    return Tally(
        rows=table.num_rows,
        digest=add_digests(digest_rows(layout, table)),
        statuses={str(count["values"]): int(count["counts"]) for count in counts},
        detected={part.name: table.num_rows - table.column(next(part.columns())).null_count for part in layout.parts},
    )


def total(tallies: Iterable[Tally]) -> Tally:
    """Return the sum of tallies."""
    return sum(tallies, Tally())


def _add(summand: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    merged = Counter(summand)
    merged.update(other)
    return dict(sorted(merged.items()))


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
    """Return each row's numbers as little-endian bytes, uint8 (rows, bytes).

    They are the frame's index, and scores, points and heads, each with whether it is there.
    """
    batch = to_batch(layout, table)
    fields: list[NDArray[np.uint8]] = [_bytes(table.column("frame_index").to_numpy()[:, None], "<i4")]
    for part in scored_parts(layout):
        score = batch.scores[part.name][:, None]
        there = ~np.isnan(score)
        fields += [there.astype(np.uint8), _bytes(np.where(there, score, 0), "<f4")]
    for part in layout.parts:
        points = batch.points[part.name].reshape(table.num_rows, len(part.points) * len(part.axes))
        # By null lists and not by NaN: a model's NaN inside a part that was found is content.
        there = table.column(next(part.columns())).is_valid().to_numpy()[:, None]
        fields += [there.astype(np.uint8), _bytes(np.where(there, points, 0), "<f4")]
    for head in layout.heads:
        # Logits are there as a whole, the other numbers each for itself; all by nulls, as above.
        there = np.stack([table.column(name).is_valid().to_numpy() for name in head.columns()], axis=1)
        known = np.repeat(there, [*([len(head.classes)] if head.classes else []), *[1] * len(head.number_columns)], 1)
        fields += [there.astype(np.uint8), _bytes(np.where(known, batch.heads[head.name], 0), "<f4")]
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
