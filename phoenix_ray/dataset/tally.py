"""What is counted over rows: how many, in which state, with which parts found, and what they say (the digest).

Tallies add up: those of partitions to a video's, those of videos to a split's and to the dataset's. They lie in the
footers of the files they count, so detection rates and digests of a whole dataset cost no look at a landmark.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.dataset import json_values
from phoenix_ray.dataset.digest import add_digests, digest_rows, digest_text
from phoenix_ray.landmarks import Layout


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts over a set of rows.

    Attributes:
        rows: Frames.
        digest: Landmark digest (`dataset.digest`).
        statuses: Frames of each status; statuses that do not occur are left out.
        detected: Part → frames in which it was found.
        kernels: What computed (`models.provenance.describe_kernels`) → frames. It is not in the rows themselves, so
            tallies that differ in nothing else are equal.
    """

    rows: int = 0
    digest: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)
    detected: Mapping[str, int] = field(default_factory=dict)
    kernels: Mapping[str, int] = field(default_factory=dict, compare=False)

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

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Tally:
        """Return the tally that `to_json` gave; KeyError, TypeError or ValueError when it is none."""
        return cls(
            json_values.count(tree["rows"], json_values.MOST_ROWS),
            json_values.digest(tree["digest"]),
            json_values.counts(tree["statuses"]),
            json_values.counts(tree["detected"]),
            json_values.counts(tree.get("kernels", {})),
        )


def tally_rows(layout: Layout, table: pa.Table) -> Tally:
    """Return the counts of a table with the columns of `landmark_schema(layout)`."""
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


def _add(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    merged = Counter(one)
    merged.update(other)
    return dict(sorted(merged.items()))
