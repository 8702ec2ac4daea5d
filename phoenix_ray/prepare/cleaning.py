"""Filling the frames in which a point is missing, and smoothing over time.

Smoothing cannot be undone, and it never reaches across a gap: missing stays missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.prepare.prepared import Prepared, require_positions


@dataclass(frozen=True, slots=True)
class FillGaps:
    """Fill gaps in time, a point at a time; what was filled is marked in `Prepared.filled`.

    Attributes:
        method: `linear` goes straight from the frame before a gap to the one behind it, and leaves the ends of a video
            alone. `hold` repeats the frame before a gap, also at the end of a video, and leaves its beginning alone.
        longest: Longest gap to fill, in frames; a longer one stays missing as a whole. None fills all.
    """

    method: Literal["linear", "hold"] = "linear"
    longest: int | None = None

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the video with gaps filled."""
        require_positions(prepared, self)
        mask, frames = prepared.mask, np.arange(len(prepared))[:, np.newaxis]
        before = np.maximum.accumulate(np.where(mask, frames, -1), axis=0)
        behind = np.minimum.accumulate(np.where(mask, frames, len(prepared))[::-1], axis=0)[::-1]
        wanted = ~mask & (before >= 0)
        if self.method == "linear":
            wanted &= behind < len(prepared)
        if self.longest is not None:
            wanted &= behind - before - 1 <= self.longest
        frame, point = np.nonzero(wanted)
        first = before[frame, point]
        points = prepared.points.copy()
        points[frame, point] = prepared.points[first, point]
        if self.method == "linear":
            last = behind[frame, point]
            times = prepared.times
            weight = ((times[frame] - times[first]) / (times[last] - times[first]))[:, np.newaxis]
            step = prepared.points[last, point] - prepared.points[first, point]
            points[frame, point] += (weight * step).astype(np.float32)
        return replace(prepared, points=points, filled=prepared.filled | wanted)

    def inverse(self, prepared: Prepared) -> Prepared:
        """Make everything that was filled missing again: exact."""
        points = prepared.points.copy()
        points[prepared.filled] = np.nan
        return replace(prepared, points=points, filled=np.zeros_like(prepared.filled))


@dataclass(frozen=True, slots=True)
class OneEuro:
    """The one-euro filter (Casiez, Roussel, Vogel: "1 € Filter", CHI 2012), each coordinate for itself.

    A low pass that opens with speed: it reduces jitter while a hand rests and lags little behind a fast one. It
    starts anew behind every gap. Cannot be undone.

    Attributes:
        min_cutoff: Cut-off frequency of a point at rest, in Hz. A lower value reduces jitter and increases lag.
        beta: How much the cut-off rises with speed, in Hz for each unit per second. A higher value reduces lag.
        speed_cutoff: Cut-off frequency of the speed itself, in Hz (1 in the paper).
    """

    min_cutoff: float = 3.0
    beta: float = 5.0
    speed_cutoff: float = 1.0

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the smoothed video."""
        require_positions(prepared, self)
        smooth = prepared.points.astype(np.float64)
        speed = np.zeros(smooth.shape[1:])
        for frame, step in enumerate(np.diff(prepared.times), start=1):
            before, raw = smooth[frame - 1], smooth[frame].copy()
            fresh = np.isnan(before)
            change = np.where(fresh, 0, raw - before) / step
            speed = np.where(fresh, 0, speed + _share(step, self.speed_cutoff) * (change - speed))
            share = _share(step, self.min_cutoff + self.beta * np.abs(speed))
            smooth[frame] = np.where(fresh, raw, before + share * (raw - before))
        return replace(prepared, points=smooth.astype(np.float32))


@dataclass(frozen=True, slots=True)
class SavitzkyGolay:
    """Least-squares polynomials over a sliding window (Savitzky, Golay, Analytical Chemistry 36, 1964).

    Keeps peaks better than an average. Frames are taken as evenly spaced; a run of frames between two gaps that is
    shorter than the window stays as it is. At the ends of a run its first and last window's polynomials hold, as with
    `savgol_filter` of scipy, whose least squares give other last bits on other processors. Cannot be undone.

    Attributes:
        window: Frames, an odd number.
        order: Degree of the polynomials, below `window`.

    Raises:
        ValueError: The window is even, or not longer than the order.
    """

    window: int = 7
    order: int = 2

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.window % 2 == 0 or not 0 <= self.order < self.window:
            raise ValueError(
                f"SavitzkyGolay needs an odd window and an order below it, not {self.window} and {self.order}."
            )

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the smoothed video."""
        require_positions(prepared, self)
        points = prepared.points.copy()
        # Most parts are found and missing as a whole, so there are few patterns of gaps among hundreds of points.
        patterns, which = np.unique(prepared.mask, axis=1, return_inverse=True)
        for number in range(patterns.shape[1]):
            columns = np.flatnonzero(which.ravel() == number)
            for first, last in runs(patterns[:, number]):
                if last - first >= self.window:
                    piece = prepared.points[first:last, columns].astype(np.float64)
                    points[first:last, columns] = self._smooth(piece)
        return replace(prepared, points=points)

    def _smooth(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return float64 (frames, points, axes) without gaps, smoothed; at least a window long."""
        weights, half = polynomial_weights(self.window, self.order), self.window // 2
        inner = len(values) - 2 * half
        # Terms are added one after the other: a product of matrices adds them in an order of the processor's choice.
        smooth = np.zeros_like(values)
        for place in range(self.window):
            smooth[half : half + inner] += weights[half, place] * values[place : place + inner]
            for frame in range(half):
                smooth[frame] += weights[frame, place] * values[place]
                smooth[frame - half] += weights[half + 1 + frame, place] * values[place - self.window]
        return smooth


@cache
def polynomial_weights(window: int, order: int) -> NDArray[np.float64]:
    """Return the weights by which a window's values give the best polynomial's, float64 (window, window).

    Row i weighs all values of the window for the polynomial's value at i. The weights are fractions of whole numbers,
    computed as such and rounded once, so they are the same on every machine.
    """
    basis: list[list[Fraction]] = []
    for degree in range(order + 1):
        values = [Fraction(place - window // 2) ** degree for place in range(window)]
        for known in basis:
            share = _dot(values, known) / _dot(known, known)
            values = [value - share * other for value, other in zip(values, known, strict=True)]
        basis.append(values)
    weights = [
        [sum(known[row] * known[column] / _dot(known, known) for known in basis) for column in range(window)]
        for row in range(window)
    ]
    return np.array(weights, np.float64)


def _dot(first: list[Fraction], other: list[Fraction]) -> Fraction:
    return sum((left * right for left, right in zip(first, other, strict=True)), Fraction(0))


def runs(present: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield (first, last exclusive) of every run of true values in a bool array (frames,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _share(step: float, cutoff: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much of a change an exponential low pass lets through in `step` seconds."""
    turn = 2 * np.pi * np.asarray(cutoff, np.float64) * step
    return np.asarray(turn / (turn + 1))
