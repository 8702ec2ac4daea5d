"""Smoothing over time. It cannot be undone, and it never reaches across a gap: missing stays missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import MissingExtraError
from phoenix_ray.prepare.prepared import Prepared, require_positions


@dataclass(frozen=True, slots=True)
class OneEuro:
    """The one-euro filter (Casiez, Roussel, Vogel: "1 € Filter", CHI 2012), each coordinate for itself.

    A low pass that opens with speed: it takes the trembling out of a still hand and lags little behind a fast one. It
    starts anew behind every gap. Cannot be undone.

    Attributes:
        min_cutoff: Cut-off frequency of a point at rest, in Hz. Lower trembles less and lags more.
        beta: How much the cut-off rises with speed, in Hz for each unit per second. Higher lags less.
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
    """Least-squares polynomials over a sliding window (scipy's `savgol_filter`); needs the extra [prepare].

    Keeps peaks better than an average. Frames are taken as evenly spaced; a run of frames between two gaps that is
    shorter than the window stays as it is. Cannot be undone.

    Attributes:
        window: Frames, an odd number.
        order: Degree of the polynomials, below `window`.
    """

    window: int = 7
    order: int = 2

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the smoothed video.

        Raises:
            MissingExtraError: scipy is not installed.
        """
        require_positions(prepared, self)
        try:
            from scipy.signal import savgol_filter
        except ImportError:
            raise MissingExtraError("Savitzky-Golay smoothing", "prepare") from None
        points = prepared.points.copy()
        # Parts are found and missing as a whole, so there are few patterns of gaps among hundreds of points.
        patterns, which = np.unique(prepared.mask, axis=1, return_inverse=True)
        for number in range(patterns.shape[1]):
            columns = np.flatnonzero(which.ravel() == number)
            for first, last in runs(patterns[:, number]):
                if last - first >= self.window:
                    piece = prepared.points[first:last, columns].astype(np.float64)
                    points[first:last, columns] = savgol_filter(piece, self.window, self.order, axis=0)
        return replace(prepared, points=points)


def runs(present: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield (first, last exclusive) of every run of true values in a bool array (frames,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], present, [False]]).astype(np.int8)))
    return zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def _share(step: float, cutoff: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much of a change an exponential low pass lets through in `step` seconds."""
    turn = 2 * np.pi * np.asarray(cutoff, np.float64) * step
    return np.asarray(turn / (turn + 1))
