"""A table of a report. It needs only the standard library, so that `benchmarks.gpu` runs where little is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """A head and rows; each row has as many cells as the head."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def lines(self) -> Iterator[str]:
        """Yield the table as Markdown."""
        yield f"| {' | '.join(self.head)} |"
        yield f"|{'---|' * len(self.head)}"
        for row in self.rows:
            yield f"| {' | '.join(row)} |"
