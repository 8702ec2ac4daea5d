"""How far the landmarks of the same frames lie apart, part by part, as numbers that add up over videos.

`verify` compares videos with it, `benchmarks.parity_report` and `holistic.torch_engine.trial` engines;
`holistic.parity` judges the sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import Layout, Part
from phoenix_ray.models.base import LandmarkBatch, is_found

Points = NDArray[np.float32]

# Bins 1 % wide between a ten-billionth and a million of whatever unit. The first holds exact zeros, the last all above.
_SMALLEST, _LARGEST, _STEP = 1e-10, 1e6, math.log(1.01)
_BINS = math.ceil(math.log(_LARGEST / _SMALLEST) / _STEP) + 3


@dataclass(frozen=True, slots=True)
class ErrorDistribution:
    """The distribution of absolute errors of one kind over any number of values, in a few kilobytes that add up.

    Count, mean and maximum are exact; a quantile is an upper bound at most 1 % above the true one.

    Attributes:
        count: Number of values.
        total: Their sum.
        maximum: The largest value; infinite where only one side had a number and the other NaN.
        bins: int64 array: values in each bin.
    """

    count: int
    total: float
    maximum: float
    bins: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> ErrorDistribution:
        """Return the distribution of at least one value, each 0 or more."""
        bins = np.zeros(_BINS, np.int64)
        above = values[values > 0]
        bins[0] = values.size - above.size
        places = np.ceil(np.log(np.clip(above, _SMALLEST, _LARGEST * 2) / _SMALLEST) / _STEP)
        bins += np.bincount(np.minimum(places.astype(np.intp) + 1, _BINS - 1), minlength=_BINS)
        return cls(values.size, float(values.sum()), float(values.max()), bins)

    def __add__(self, other: ErrorDistribution) -> ErrorDistribution:
        return ErrorDistribution(
            self.count + other.count,
            self.total + other.total,
            max(self.maximum, other.maximum),
            self.bins + other.bins,
        )

    @property
    def mean(self) -> float:
        """Mean of the values."""
        return self.total / self.count

    @property
    def median(self) -> float:
        """Half of the values are at most this."""
        return self.quantile(0.5)

    @property
    def p99(self) -> float:
        """99 % of the values are at most this."""
        return self.quantile(0.99)

    def quantile(self, share: float) -> float:
        """Return the upper edge of the bin in which that share of the values is reached, at most the maximum."""
        place = int(np.searchsorted(np.cumsum(self.bins), share * self.count))
        if place == 0:
            return 0.0
        if place == _BINS - 1:
            return self.maximum
        return min(self.maximum, _SMALLEST * math.exp((place - 1) * _STEP))

    def to_json(self) -> dict[str, float | None]:
        """Return mean, median, p99 and maximum; None where one is infinite."""
        values = {"mean": self.mean, "median": self.median, "p99": self.p99, "maximum": self.maximum}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class PartAgreement:
    """How one part of the reference and the candidate compare.

    Attributes:
        part: The part's name.
        frames: Frames compared.
        both: Frames in which both sides have the part.
        only_reference: Frames in which only the reference has it.
        only_candidate: Frames in which only the candidate has it.
        identical: Frames of `both` in which every value is the same to the bit.
        errors: Kind of error → distribution of its values; empty where `both` is 0. `xy px` is the distance in the
            image, `z px` the difference of z in pixels of the image's width (`xy` and `z` where the image's size is not
            known), `xyz mm` a distance in space, `visibility` and `confidence` differences of them. Points that both
            sides miss alone are left out.
    """

    part: str
    frames: int
    both: int
    only_reference: int
    only_candidate: int
    identical: int
    errors: Mapping[str, ErrorDistribution]

    def __add__(self, other: PartAgreement) -> PartAgreement:
        kinds = [*self.errors, *(kind for kind in other.errors if kind not in self.errors)]
        return PartAgreement(
            self.part,
            self.frames + other.frames,
            self.both + other.both,
            self.only_reference + other.only_reference,
            self.only_candidate + other.only_candidate,
            self.identical + other.identical,
            {kind: reduce(add, [side.errors[kind] for side in (self, other) if kind in side.errors]) for kind in kinds},
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"errors": {kind: errors.to_json() for kind, errors in self.errors.items()}}


def agree(part: Part, sizes: NDArray[np.int32], reference: Points, candidate: Points) -> PartAgreement:
    """Compare one part in the same frames.

    Args:
        part: The part, which names the axes.
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
        errors=_errors(part, sizes[both], differences(wanted, given), ~(np.isnan(wanted) & np.isnan(given))),
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


def _errors(
    part: Part, sizes: NDArray[np.int32], difference: NDArray[np.float64], held: NDArray[np.bool_]
) -> dict[str, ErrorDistribution]:
    """Return kind of error → its distribution.

    Args:
        part: Names the axes.
        sizes: int32 (frames, 2).
        difference: float64 (frames, points, axes), of `differences`.
        held: bool of the same shape: where a side has a number. Points that both miss are left out.
    """
    if not part.scored:
        return _distributions({"xyz mm": 1000 * np.linalg.norm(difference, axis=2)[held.any(axis=2)]})
    along = {axis: difference[:, :, index] for index, axis in enumerate(part.axes)}
    known = (sizes > 0).all(axis=1)
    there = {axis: held[:, :, index] for index, axis in enumerate(part.axes)}
    errors: dict[str, NDArray[np.float64]] = {}
    for rows, unit, width, height in (
        (known, " px", sizes[known, 0:1], sizes[known, 1:2]),
        (~known, "", np.array(1), np.array(1)),
    ):
        distances = np.hypot(along["x"][rows] * width, along["y"][rows] * height)
        errors[f"xy{unit}"] = distances[(there["x"] | there["y"])[rows]]
        if "z" in along:
            errors[f"z{unit}"] = (along["z"][rows] * width)[there["z"][rows]]
    for axis in ("visibility", "confidence"):
        if axis in along:
            errors[axis] = along[axis][there[axis]]
    return _distributions(errors)


def _distributions(errors: Mapping[str, NDArray[np.float64]]) -> dict[str, ErrorDistribution]:
    return {kind: ErrorDistribution.of(values.ravel()) for kind, values in errors.items() if values.size}
