"""The filters by which MediaPipe smooths the pose of a video: a low pass, and the One-Euro filter made of two.

Both work on a batch of videos, one frame of each at a time, and on each number by itself. A filter that has seen
nothing is NaN throughout; its first value passes unchanged. The arithmetic switches between single and double precision
where MediaPipe's C++ does (`util/filtering/low_pass_filter.cc`, `one_euro_filter.cc`), so results are the same bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from phoenix_ray.models.holistic.arrays import Array, namespace

# MediaPipe's Python layer stamps frames 33,333 µs apart, whatever the rate of the video.
FRAME_NANOSECONDS = 33_333_000


class FilterState(NamedTuple):
    """What a One-Euro filter remembers of N videos.

    Attributes:
        raw: float32 (N, K, 3): the last values that it was fed.
        smoothed: float32 (N, K, 3): what it returned for them.
        speed: float32 (N, K, 3): their smoothed change per second.
        age: float32 (N,): frames since then; 0 if it was the last frame.
    """

    raw: Array
    smoothed: Array
    speed: Array
    age: Array

    def where(self, kept: Array, other: Array) -> FilterState:
        """Return the state of the videos for which `kept`, bool (N,), is true, and `other` for the rest."""
        xp = namespace(self.raw)
        raw, smoothed, speed = (xp.where(kept[:, None, None], values, other) for values in self[:3])
        return FilterState(raw, smoothed, speed, xp.where(kept, self.age, other))


@dataclass(frozen=True, slots=True)
class OneEuroFilter:
    """A One-Euro filter: a low pass that follows fast movements, and holds still what moves slowly.

    Attributes:
        min_cutoff: Cut-off frequency at rest, in Hz.
        beta: How much the cut-off rises with speed.
        derivate_cutoff: Cut-off frequency of the speed itself, in Hz.
    """

    min_cutoff: float
    beta: float
    derivate_cutoff: float = 1.0

    def smooth(self, values: Array, last: FilterState, scale: Array | None = None) -> tuple[Array, FilterState]:
        """Return the next values of N videos, smoothed, and the state after them.

        Args:
            values: float32 (N, K, 3).
            last: The state before.
            scale: float32 (N,): speeds are multiplied by it; None for 1.
        """
        xp = namespace(values)
        frequency = 1.0 / ((xp.astype(last.age, xp.float64) + 1.0) * FRAME_NANOSECONDS * 1e-9)[:, None, None]
        change = xp.astype(values, xp.float64) - xp.astype(last.raw, xp.float64)
        if scale is not None:
            change = change * xp.astype(scale, xp.float64)[:, None, None]
        speed = xp.where(xp.isnan(last.raw), 0.0, change * frequency)
        derivate = xp.full_like(speed, as_float32(self.derivate_cutoff))
        speed = low_pass(xp.astype(speed, values.dtype), last.speed, _alpha(derivate, frequency))
        cutoff = as_float32(self.min_cutoff) + as_float32(self.beta) * xp.abs(xp.astype(speed, xp.float64))
        smoothed = low_pass(values, last.smoothed, _alpha(cutoff, frequency))
        return smoothed, FilterState(values, smoothed, speed, xp.zeros_like(last.age))


def low_pass(values: Array, last: Array, alpha: Array) -> Array:
    """Return values, float32, drawn towards the last result: `alpha` of the value and the rest of the last.

    Args:
        values: The next values.
        last: The last result; the value passes unchanged where it is NaN.
        alpha: float32 of the same shape.
    """
    xp = namespace(values)
    of_the_last = (1.0 - xp.astype(alpha, xp.float64)) * xp.astype(last, xp.float64)
    mixed = xp.astype(xp.astype(alpha * values, xp.float64) + of_the_last, values.dtype)
    return xp.where(xp.isnan(last), values, mixed)


def _alpha(cutoff: Array, frequency: Array) -> Array:
    """Return the share of the new value, float32, for a cut-off frequency, float64, at a frame rate, float64."""
    xp = namespace(cutoff)
    return xp.astype(1.0 / (1.0 + (1.0 / (2 * math.pi * cutoff)) / (1.0 / frequency)), xp.float32)


def as_float32(number: float) -> float:
    """Return an option of MediaPipe's graph as its C++ reads it."""
    return float(np.float32(number))
