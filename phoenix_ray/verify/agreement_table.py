"""The table of how near two sets of landmarks are, part by part; Markdown when printed."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.table import Table

from phoenix_ray.models.agreement import PartAgreement


def agreement_table(reference: str, candidate: str, parts: Iterable[PartAgreement]) -> Table:
    """Return a table with a row for each part and kind of error; the names are those of its columns."""
    table = Table(box=box.MARKDOWN)
    table.add_column("part")
    headings = ("frames", "both", f"only {reference}", f"only {candidate}", "identical")
    for heading in (*headings, "error", "mean", "median", "p99", "max"):
        table.add_column(heading, justify="left" if heading == "error" else "right")
    for part in parts:
        counts = (part.frames, part.both, part.only_reference, part.only_candidate, part.identical)
        cells = [part.part, *map(str, counts)]
        for kind, spread in part.errors.items():
            values = (spread.mean, spread.median, spread.p99, spread.maximum)
            table.add_row(*cells, kind, *(f"{value:.2g}" for value in values))
            cells = [""] * len(cells)
        if not part.errors:
            table.add_row(*cells)
    return table
