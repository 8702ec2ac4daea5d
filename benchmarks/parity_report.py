"""How far apart the landmarks of two engines are, and whether that is near enough.

`benchmarks.parity` compares two engines, and the golden tests compare an engine with recorded landmarks. Both apply the
bars of `models.holistic.parity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from phoenix_ray.errors import EXIT_DIFFERENT, EXIT_OK
from phoenix_ray.layouts import Layout
from phoenix_ray.models.agreement import PartAgreement, agree_all
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic.parity import PARITY, parity_failures, presence_agreement
from phoenix_ray.text import counted


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Two engines, compared on the same frames.

    Attributes:
        reference: Name of the engine that gives the expected landmarks.
        candidate: Name of the engine that is judged.
        layout: Name of the layout of both.
        parts: The agreement on each part, in the order of the layout.
        first_different: Video → index of the first frame that differs in any bit, None where none does.
    """

    reference: str
    candidate: str
    layout: str
    parts: tuple[PartAgreement, ...]
    first_different: Mapping[str, int | None] = field(default_factory=dict)

    def first_differences(self) -> list[str]:
        """Return a line for each video with a frame that differs in any bit, and one for the others."""
        lines = [
            f"{video}: frame {frame} is the first that differs"
            for video, frame in self.first_different.items()
            if frame is not None
        ]
        same = len(self.first_different) - len(lines)
        return [*lines, f"{counted(same, 'video')} without any difference"] if self.first_different else lines

    @property
    def presence(self) -> float:
        """Share of all pairs of frame and part in which both engines found the part, or neither did."""
        return presence_agreement(self.parts, PARITY)

    def failures(self) -> tuple[str, ...]:
        """Return a sentence for each bar that is missed; none if the candidate is at parity."""
        return parity_failures(self.parts, PARITY)

    @property
    def exit_code(self) -> int:
        """0 if every bar is met, else 1."""
        return EXIT_DIFFERENT if self.failures() else EXIT_OK

    def to_json(self) -> dict[str, Any]:
        """Return the report and its conclusions as plain values."""
        return {
            "reference": self.reference,
            "candidate": self.candidate,
            "layout": self.layout,
            "presence": self.presence,
            "parts": [part.to_json() for part in self.parts],
            "first_different": dict(self.first_different),
            "failures": list(self.failures()),
        }

    def to_table(self) -> Table:
        """Return the report as a table that prints as Markdown."""
        # It brings Arrow, which the benchmark of a GPU does without.
        from phoenix_ray.verify.report import agreement_table

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
        layout: The layout of both.
        sizes: Width and height of each frame in pixels, (N, 2).
        reference: The expected landmarks.
        candidate: The landmarks to judge.
        names: The names of reference and candidate in the report.
    """
    return ParityReport(*names, layout.name, agree_all(layout, sizes, reference, candidate))
