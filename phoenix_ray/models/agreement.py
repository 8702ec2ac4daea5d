"""How far the landmarks of the same frames lie apart, part by part, as numbers that add up over videos.

`verify.comparison` compares videos with it, `benchmarks.parity_report` and `holistic.torch_trial` engines;
`holistic.bars` judges the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.landmarks import Layout, Part
from phoenix_ray.models.base import LandmarkBatch, is_found
from phoenix_ray.models.spread import Spread

Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PartAgreement:
    """One part, compared.

    Attributes:
        part: Its name.
        frames: Frames compared.
        both: Frames in which it was found on both sides.
        only_reference: Frames in which only the reference has it.
        only_candidate: Frames in which only the candidate has it.
        identical: Frames of `both` in which every value is the same to the bit.
        errors: Kind of error → its spread; empty where `both` is 0. `xy px` is the distance in the image, `z px` the
            difference of z in pixels of the image's width (`xy` and `z` where the image's size is not known), `xyz mm`
            a distance in space, `visibility` a difference of probabilities.
    """

    part: str
    frames: int
    both: int
    only_reference: int
    only_candidate: int
    identical: int
    errors: Mapping[str, Spread]

    def __add__(self, other: PartAgreement) -> PartAgreement:
        kinds = [*self.errors, *(kind for kind in other.errors if kind not in self.errors)]
        return PartAgreement(
            self.part,
            self.frames + other.frames,
            self.both + other.both,
            self.only_reference + other.only_reference,
            self.only_candidate + other.only_candidate,
            self.identical + other.identical,
            {kind: _sum([side.errors[kind] for side in (self, other) if kind in side.errors]) for kind in kinds},
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "part": self.part,
            "frames": self.frames,
            "both": self.both,
            "only_reference": self.only_reference,
            "only_candidate": self.only_candidate,
            "identical": self.identical,
            "errors": {kind: spread.to_json() for kind, spread in self.errors.items()},
        }


def agree(part: Part, sizes: NDArray[np.int32], reference: Points, candidate: Points) -> PartAgreement:
    """Compare one part in the same frames.

    Args:
        part: Names the axes.
        sizes: int (frames, 2): width and height of each frame in pixels, 0 where they are not known.
        reference: float32 (frames, points, axes), NaN where it was not found.
        candidate: As `reference`.
    """
    expected, found = is_found(reference), is_found(candidate)
    both = expected & found
    wanted, given = reference[both], candidate[both]
    return PartAgreement(
        part=part.name,
        frames=len(both),
        both=int(both.sum()),
        only_reference=int((expected & ~found).sum()),
        only_candidate=int((found & ~expected).sum()),
        identical=int(same_bits(wanted, given).all(axis=(1, 2)).sum()),
        errors=_errors(part, sizes[both], differences(wanted, given)),
    )


def agree_all(
    layout: Layout, sizes: NDArray[np.int32], reference: LandmarkBatch, candidate: LandmarkBatch
) -> tuple[PartAgreement, ...]:
    """Compare each part of the layout in the same frames; `sizes` as for `agree`."""
    return tuple(agree(part, sizes, reference.points[part.name], candidate.points[part.name]) for part in layout.parts)


def add_up(videos: Iterable[Iterable[PartAgreement]]) -> tuple[PartAgreement, ...]:
    """Return the sum for each part, in the order in which parts first occur."""
    parts: dict[str, PartAgreement] = {}
    for video in videos:
        for agreement in video:
            known = parts.get(agreement.part)
            parts[agreement.part] = known + agreement if known else agreement
    return tuple(parts.values())


def differences(reference: Points, candidate: Points) -> NDArray[np.float64]:
    """Return the absolute difference of each value: 0 where both are NaN, infinite where one is."""
    absolute = np.abs(candidate.astype(np.float64) - reference.astype(np.float64))
    one_sided = np.isnan(reference) != np.isnan(candidate)
    result: NDArray[np.float64] = np.where(one_sided, np.inf, np.nan_to_num(absolute, nan=0.0, posinf=np.inf))
    return result


def same_bits(reference: Points, candidate: Points) -> NDArray[np.bool_]:
    """Return where two float32 arrays hold the same bits; NaN is NaN whatever its bits, and -0.0 is not 0.0."""
    bits = np.ascontiguousarray(reference).view(np.uint32) == np.ascontiguousarray(candidate).view(np.uint32)
    result: NDArray[np.bool_] = bits | (np.isnan(reference) & np.isnan(candidate))
    return result


def _errors(part: Part, sizes: NDArray[np.int32], difference: NDArray[np.float64]) -> dict[str, Spread]:
    if not part.scored:
        return _spreads({"xyz mm": 1000 * np.linalg.norm(difference, axis=2)})
    along = {axis: difference[:, :, index] for index, axis in enumerate(part.axes)}
    known = (sizes > 0).all(axis=1)
    errors: dict[str, NDArray[np.float64]] = {}
    for rows, unit, width, height in (
        (known, " px", sizes[known, 0:1], sizes[known, 1:2]),
        (~known, "", np.array(1), np.array(1)),
    ):
        errors[f"xy{unit}"] = np.hypot(along["x"][rows] * width, along["y"][rows] * height)
        if "z" in along:
            errors[f"z{unit}"] = along["z"][rows] * width
    if "visibility" in along:
        errors["visibility"] = along["visibility"]
    return _spreads(errors)


def _spreads(errors: Mapping[str, NDArray[np.float64]]) -> dict[str, Spread]:
    return {kind: Spread.of(values.ravel()) for kind, values in errors.items() if values.size}


def _sum(spreads: list[Spread]) -> Spread:
    first, *others = spreads
    for other in others:
        first = first + other
    return first
