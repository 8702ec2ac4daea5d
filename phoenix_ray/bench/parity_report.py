"""How far two engines' landmarks lie apart, and whether that is near enough.

`bench.parity` compares a run of two engines with `compare`, the golden tests compare an engine with recorded landmarks;
both judge by the same bars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from phoenix_ray.errors import EXIT_OK
from phoenix_ray.landmarks import Layout, Part
from phoenix_ray.models.base import LandmarkBatch

# As `diff` and `cmp` leave when what they compare differs.
EXIT_DIFFERENT = 1

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bar:
    """How far a part's points may lie apart, in pixels of the frame: on average, and 99 % of them."""

    mean: float
    p99: float


# A few hundredths of a pixel are rounding; what a wrong region of interest does to a part is several pixels.
BARS: Mapping[str, Bar] = {
    "pose": Bar(mean=0.02, p99=0.5),
    "left_hand": Bar(mean=0.08, p99=0.5),
    "right_hand": Bar(mean=0.08, p99=0.5),
    "face": Bar(mean=0.02, p99=0.5),
}
# Share of frame x part in which both found the part, or neither did. Scores just at a threshold may fall either way.
MIN_PRESENCE = 0.99

# Parts in metres; all others are normalised to the image.
_METRIC_PARTS = ("pose_world",)


@dataclass(frozen=True, slots=True)
class Spread:
    """How one kind of error spreads over all points of all frames in which both engines found the part."""

    mean: float
    median: float
    p99: float
    maximum: float


@dataclass(frozen=True, slots=True)
class PartParity:
    """One part, compared.

    Attributes:
        part: Its name.
        frames: Frames compared.
        both: Frames in which both engines found it.
        only_reference: Frames in which only the reference found it.
        only_candidate: Frames in which only the candidate found it.
        identical: Frames of `both` in which every value is the same to the bit.
        errors: Kind of error → its spread; empty where `both` is 0. `xy px` is the distance in the image, `z px` the
            difference of z in pixels of the image's width, `xyz mm` a distance in space, `visibility` a difference of
            probabilities.
    """

    part: str
    frames: int
    both: int
    only_reference: int
    only_candidate: int
    identical: int
    errors: Mapping[str, Spread]


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Two engines, compared on the same frames.

    Attributes:
        reference: Names what is compared with.
        candidate: Names what is judged.
        layout: Name of the layout of both.
        presence: Share of frame x part in which both found the part, or neither did.
        parts: In the order of the layout.
    """

    reference: str
    candidate: str
    layout: str
    presence: float
    parts: tuple[PartParity, ...]

    def failures(self) -> tuple[str, ...]:
        """Return a sentence for each bar that is missed; none when the candidate may stand for the reference."""
        missed = []
        if not any(part.both for part in self.parts):
            missed.append("In no frame did both find anything, so nothing was compared.")
        if self.presence < MIN_PRESENCE:
            missed.append(f"Presence agrees in {self.presence:.2%} of frame x part; at least {MIN_PRESENCE:.0%} must.")
        for part in self.parts:
            spread, bar = part.errors.get("xy px"), BARS.get(part.part)
            if spread is None or bar is None:
                continue
            for name, found, allowed in (("mean", spread.mean, bar.mean), ("p99", spread.p99, bar.p99)):
                if found > allowed:
                    missed.append(f"{part.part}: {name} {found:.4f} px; at most {allowed} px is parity.")
        return tuple(missed)

    @property
    def exit_code(self) -> int:
        """0 when every bar is met, else 1."""
        return EXIT_DIFFERENT if self.failures() else EXIT_OK

    def to_json(self) -> dict[str, Any]:
        """Return the report, and what it concludes, as plain data."""
        return asdict(self) | {"failures": list(self.failures())}

    def to_table(self) -> Table:
        """Return the report as a table that is Markdown when printed."""
        table = Table(box=box.MARKDOWN)
        table.add_column("part")
        headings = ("frames", "both", f"only {self.reference}", f"only {self.candidate}", "identical")
        for heading in (*headings, "error", "mean", "median", "p99", "max"):
            table.add_column(heading, justify="left" if heading == "error" else "right")
        for part in self.parts:
            counts = (part.frames, part.both, part.only_reference, part.only_candidate, part.identical)
            cells = [part.part, *map(str, counts)]
            for kind, spread in part.errors.items():
                table.add_row(*cells, kind, *(f"{value:.2g}" for value in asdict(spread).values()))
                cells = [""] * len(cells)
            if not part.errors:
                table.add_row(*cells)
        return table


def compare(
    layout: Layout,
    sizes: NDArray[np.int64],
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
    parts = tuple(_compare_part(part, sizes, reference, candidate) for part in layout.parts)
    scored = [compared for part, compared in zip(layout.parts, parts, strict=True) if part.scored]
    differing = sum(part.only_reference + part.only_candidate for part in scored)
    judged = sum(part.frames for part in scored)
    return ParityReport(*names, layout.name, presence=1 - differing / max(judged, 1), parts=parts)


def _compare_part(
    part: Part, sizes: NDArray[np.int64], reference: LandmarkBatch, candidate: LandmarkBatch
) -> PartParity:
    expected, found = reference.present(part.name), candidate.present(part.name)
    both = expected & found
    wanted, given = reference.points[part.name][both], candidate.points[part.name][both]
    errors = _errors(part, sizes[both], given.astype(np.float64) - wanted.astype(np.float64)) if both.any() else {}
    return PartParity(
        part=part.name,
        frames=len(both),
        both=int(both.sum()),
        only_reference=int((expected & ~found).sum()),
        only_candidate=int((found & ~expected).sum()),
        identical=int((wanted.view(np.uint32) == given.view(np.uint32)).all(axis=(1, 2)).sum()),
        errors={kind: _spread(values) for kind, values in errors.items()},
    )


def _errors(part: Part, sizes: NDArray[np.int64], difference: Floats) -> dict[str, Floats]:
    along = {axis: difference[:, :, index] for index, axis in enumerate(part.axes)}
    if part.name in _METRIC_PARTS:
        return {"xyz mm": 1000 * np.linalg.norm(difference, axis=2)}
    width, height = sizes[:, 0:1], sizes[:, 1:2]
    errors: dict[str, Floats] = {"xy px": np.hypot(along["x"] * width, along["y"] * height)}
    if "z" in along:
        errors["z px"] = np.abs(along["z"]) * width
    if "visibility" in along:
        errors["visibility"] = np.abs(along["visibility"])
    return errors


def _spread(values: Floats) -> Spread:
    median, p99 = np.percentile(values, (50, 99))
    return Spread(float(values.mean()), float(median), float(p99), float(values.max()))
