"""The filters of `holistic.smoothing` inside of kernels: the same operations in the same order, hence the same bits.

`smooth` and `low_pass` work on numbers and on blocks alike. A filter that has seen nothing is NaN.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

from phoenix_ray.models.holistic import tracking
from phoenix_ray.models.holistic.smoothing import FRAME_NANOSECONDS, OneEuroFilter, as_float32
from phoenix_ray.models.holistic.torch_engine.kernels.elementary import wide


def _options(one_euro: OneEuroFilter) -> tl.constexpr:
    """Return cut-off frequency at rest, its rise with speed, and the cut-off frequency of the speed itself."""
    return tl.constexpr(tuple(map(as_float32, (one_euro.min_cutoff, one_euro.beta, one_euro.derivate_cutoff))))


POSE_FILTER = _options(tracking.POSE_FILTER)
AUXILIARY_FILTER = _options(tracking.AUXILIARY_FILTER)
WORLD_FILTER = _options(tracking.WORLD_FILTER)
FRAME, SECONDS_PER_NANOSECOND = tl.constexpr(float(FRAME_NANOSECONDS)), tl.constexpr(1e-9)
TURN = tl.constexpr(2 * math.pi)


@triton.jit
def filter_values(values, number, count: tl.constexpr, last, memory, feeds, keeps, scale, options: tl.constexpr):
    """Return smoothed values, and write the filter's next state.

    Args:
        values: Numbers.
        number: Their places, from 0.
        count: How many of the places there are.
        last: Pointer to the filter's state before: `FilterState`, field after field.
        memory: Pointer to its next state.
        feeds: Whether the filter takes the values; else its state stays, a frame older.
        keeps: Whether it remembers anything.
        scale: float64: speeds are multiplied by it.
        options: One of this module's filters.
    """
    exists = number < count
    raw = tl.load(last + number, mask=exists, other=0.0)
    smoothed = tl.load(last + count + number, mask=exists, other=0.0)
    speed = tl.load(last + 2 * count + number, mask=exists, other=0.0)
    age = tl.load(last + 3 * count)
    next_smoothed, next_speed = smooth(values, raw, smoothed, speed, age, scale, options)
    tl.store(memory + number, tl.where(keeps, tl.where(feeds, values, raw), float("nan")), mask=exists)
    tl.store(
        memory + count + number, tl.where(keeps, tl.where(feeds, next_smoothed, smoothed), float("nan")), mask=exists
    )
    tl.store(
        memory + 2 * count + number, tl.where(keeps, tl.where(feeds, next_speed, speed), float("nan")), mask=exists
    )
    tl.store(memory + 3 * count, tl.where(keeps, tl.where(feeds, 0.0, age + 1.0), float("nan")))
    return next_smoothed


@triton.jit
def smooth(values, raw, smoothed, speed, age, scale, options: tl.constexpr):
    """Return the next values, smoothed, and their speed.

    Args:
        values: float32.
        raw: The last values.
        smoothed: What was returned for them.
        speed: Their smoothed change per second.
        age: Frames since then.
        scale: float64: speeds are multiplied by it.
        options: One of this module's filters.
    """
    frequency = 1.0 / ((age.to(tl.float64) + 1.0) * FRAME * SECONDS_PER_NANOSECOND)
    change = (values.to(tl.float64) - raw.to(tl.float64)) * scale
    fresh = tl.where(raw == raw, change * frequency, wide(0.0)).to(tl.float32)
    speed = low_pass(fresh, speed, alpha(wide(options[2]), frequency))
    cutoff = tl.abs(speed.to(tl.float64)) * options[1] + options[0]
    return low_pass(values, smoothed, alpha(cutoff, frequency)), speed


@triton.jit
def low_pass(values, last, alpha):
    of_the_last = (1.0 - alpha.to(tl.float64)) * last.to(tl.float64)
    mixed = ((alpha * values).to(tl.float64) + of_the_last).to(tl.float32)
    return tl.where(last == last, mixed, values)


@triton.jit
def alpha(cutoff, frequency):
    """Return the share of the new value, float32, for a cut-off frequency, float64, at a frame rate, float64."""
    return (1.0 / (1.0 + (1.0 / (cutoff * TURN)) / (1.0 / frequency))).to(tl.float32)
