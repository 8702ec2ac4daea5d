"""How far two engines' landmarks lie apart, and whether that is near enough.

`bench.parity` compares a run of two engines with `compare`, the golden tests compare an engine with recorded landmarks;
both judge by the bars of `models.holistic.bars`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from phoenix_ray.errors import EXIT_DIFFERENT, EXIT_OK
from phoenix_ray.landmarks import Layout
from phoenix_ray.models.agreement import PartAgreement, agree_all
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic.bars import BARS, missed_bars, presence
from phoenix_ray.verify.report import agreement_table


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Two engines, compared on the same frames.

    Attributes:
        reference: Names what is compared with.
        candidate: Names what is judged.
        layout: Name of the layout of both.
        parts: In the order of the layout.
    """

    reference: str
    candidate: str
    layout: str
    parts: tuple[PartAgreement, ...]

    @property
    def presence(self) -> float:
        """Share of frame x part in which both found the part, or neither did."""
        return presence(self.parts, BARS)

    def failures(self) -> tuple[str, ...]:
        """Return a sentence for each bar that is missed; none when the candidate may stand for the reference."""
        return missed_bars(self.parts, BARS)

    @property
    def exit_code(self) -> int:
        """0 when every bar is met, else 1."""
        return EXIT_DIFFERENT if self.failures() else EXIT_OK

    def to_json(self) -> dict[str, Any]:
        """Return the report, and what it concludes, as plain data."""
        return {
            "reference": self.reference,
            "candidate": self.candidate,
            "layout": self.layout,
            "presence": self.presence,
            "parts": [part.to_json() for part in self.parts],
            "failures": list(self.failures()),
        }

    def to_table(self) -> Table:
        """Return the report as a table that is Markdown when printed."""
        return agreement_table(self.reference, self.candidate, self.parts)


def compare(
    layout: Layout,
    sizes: NDArray[np.int32],
    reference: LandmarkBatch,
    candidate: LandmarkBatch,
    *,
    names: tuple[str, str] = ("reference", "candidate"),
) -> ParityReport:
    """Compare the landmarks of the same frames.

    Args:
        layout: Of both.
        sizes: Width and height of each frame in pixels, (N, 2).
        reference: What the landmarks should be.
        candidate: What they are.
        names: What to call the two in the report.
    """
    return ParityReport(*names, layout.name, agree_all(layout, sizes, reference, candidate))
