"""The functions of `holistic.elementary` inside of kernels: the same operations in the same order, hence the same bits.

They take Triton tensors of one shape. Where a formula there is written for arrays, read it there: the names are the
same. What differs is due to Triton:

- its division of float32 is approximate, so `tl.div_rn` stands where float32 is divided;
- it has no rounding to the nearest integer, so `round_half_even` adds and subtracts a large number;
- its unary minus is 0 - x, which loses the sign of zero, so `-1.0 * x` stands for it;
- a bare number in `tl.where` becomes float32, so `wide` makes those of float64;
- its interpreter takes constants only on the right of an operator;
- `tl.minimum`, `tl.maximum` and reductions treat NaN unlike numpy, so kernels ask for NaN themselves;
- whenever a kernel starts, Triton compares the constants of its module with what they were, so none may be NaN, which
  differs from itself: `float("nan")` stands in kernels.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from phoenix_ray.models.holistic import elementary as formulas

TANGENTS = tl.constexpr(formulas.TANGENTS)
ARCS = tl.constexpr(formulas.ARCS)
EVEN = tl.constexpr(formulas.EVEN)
ODD = tl.constexpr(formulas.ODD)
PI, REST_OF_PI = tl.constexpr(formulas.PI), tl.constexpr(formulas.REST_OF_PI)
STEEP, STEEPEST = tl.constexpr(formulas.STEEP), tl.constexpr(formulas.STEEPEST)
UNITS_PER_RADIAN, QUADRANT_UNIT = tl.constexpr(formulas.UNITS_PER_RADIAN), tl.constexpr(formulas.QUADRANT_UNIT)
QUADRANT = tl.constexpr(formulas.QUADRANT)
SINE, COSINE = tl.constexpr(formulas.SINE), tl.constexpr(formulas.COSINE)
QUADRANTS_PER_RADIAN = tl.constexpr(formulas.QUADRANTS_PER_RADIAN)
QUADRANT_PARTS = tl.constexpr(formulas.QUADRANT_PARTS)
LONG_SINE, LONG_COSINE = tl.constexpr(formulas.LONG_SINE), tl.constexpr(formulas.LONG_COSINE)
STEPS_PER_E = tl.constexpr(formulas.STEPS_PER_E)
CUBIC, SQUARE, LINEAR = tl.constexpr(formulas.CUBIC), tl.constexpr(formulas.SQUARE), tl.constexpr(formulas.LINEAR)
LEAST_EXPONENT = tl.constexpr(formulas.LEAST_EXPONENT)
GREATEST_EXPONENT = tl.constexpr(formulas.GREATEST_EXPONENT)
LEAST_STEP = tl.constexpr(formulas.least_step())
# Above this number float64 has no fractions: what is added to it is rounded to the nearest integer, half to even.
ROUNDING = tl.constexpr(1.5 * 2.0**52)


def powers_on(device: torch.device) -> torch.Tensor:
    """Return the table that `exponential` looks up, float64, on a device; it is made there only once."""
    return formulas.powers_of_two(torch, device)


@triton.jit
def wide(number: tl.constexpr):
    """Return a number as float64."""
    return tl.zeros((), tl.float64) + number


@triton.jit
def round_half_even(x):
    """Return float64 values below 2^51 rounded to the nearest integer, as float64."""
    rounded = (x + ROUNDING) - ROUNDING
    return tl.where(rounded == 0, 0.0 * x, rounded)


@triton.jit
def truncate(x):
    """Return float64 values rounded towards zero."""
    return tl.where(x < 0, tl.ceil(x), tl.floor(x))


@triton.jit
def is_negative(x):
    """Return where float32 values have the sign bit, also -0 and NaN."""
    return x.to(tl.int32, bitcast=True) < 0


@triton.jit
def atan2(y, x):
    tangent = tl.where((x == 0) & (y == y), STEEPEST, tl.abs(tl.div_rn(y, tl.where(x == 0, 1.0, x))))
    tangent = tl.where((y == 0) & (x == x), 0.0, tangent)
    is_small = tangent < TANGENTS[0]
    reduced = tl.where(
        tangent >= STEEP, 0.0, tl.div_rn(tl.full(tangent.shape, -1.0, tl.float32), tl.where(is_small, 1.0, tangent))
    )
    arc, rest = tl.full(tangent.shape, ARCS[3][0], tl.float32), tl.full(tangent.shape, ARCS[3][1], tl.float32)
    within = tangent < TANGENTS[3]
    reduced = tl.where(within, tl.div_rn(tangent - 1.5, 1.0 + 1.5 * tangent), reduced)
    arc, rest = tl.where(within, ARCS[2][0], arc), tl.where(within, ARCS[2][1], rest)
    within = tangent < TANGENTS[2]
    reduced = tl.where(within, tl.div_rn(tangent - 1.0, tangent + 1.0), reduced)
    arc, rest = tl.where(within, ARCS[1][0], arc), tl.where(within, ARCS[1][1], rest)
    within = tangent < TANGENTS[1]
    reduced = tl.where(within, tl.div_rn(2.0 * tangent - 1.0, 2.0 + tangent), reduced)
    arc, rest = tl.where(within, ARCS[0][0], arc), tl.where(within, ARCS[0][1], rest)
    reduced = tl.where(is_small, tangent, reduced)

    square = reduced * reduced
    fourth = square * square
    even, odd = tl.full(tangent.shape, EVEN[0], tl.float32), tl.full(tangent.shape, ODD[0], tl.float32)
    for term in tl.static_range(1, 6):
        even = EVEN[term] + fourth * even
    for term in tl.static_range(1, 5):
        odd = ODD[term] + fourth * odd
    correction = reduced * (square * even + fourth * odd)
    angle = tl.where(is_small, reduced - correction, arc - ((correction - rest) - reduced))
    angle = tl.where(x < 0, tl.full(angle.shape, PI, tl.float32) - (angle - REST_OF_PI), angle)
    return tl.where(is_negative(y), -1.0 * angle, angle)


@triton.jit
def cosine_and_sine(angle):
    x = angle.to(tl.float64)
    quadrant = tl.floor((truncate(x * UNITS_PER_RADIAN) + 0.5 * QUADRANT_UNIT) * (1 / QUADRANT_UNIT))
    x = x - quadrant * QUADRANT

    square = x * x
    cube, fourth = x * square, square * square
    sine = (x + cube * SINE[0]) + (cube * square) * (SINE[1] + square * SINE[2])
    cosine = ((1.0 + square * COSINE[0]) + fourth * COSINE[1]) + (fourth * square) * (COSINE[2] + square * COSINE[3])
    cosine, sine = turn(cosine, sine, quadrant)
    return cosine.to(tl.float32), sine.to(tl.float32)


@triton.jit
def long_cosine_and_sine(angle):
    quadrant = round_half_even(angle * QUADRANTS_PER_RADIAN)
    start = angle - quadrant * QUADRANT_PARTS[0]
    middle = start - quadrant * QUADRANT_PARTS[1]
    missed = quadrant * QUADRANT_PARTS[2] - ((start - middle) - quadrant * QUADRANT_PARTS[1])
    x = middle - missed
    rest = (middle - x) - missed

    square = x * x
    cube = square * x
    sine = tl.full(x.shape, LONG_SINE[5], tl.float64)
    for term in tl.static_range(4, 0, -1):
        sine = LONG_SINE[term] + square * sine
    sine = x - ((square * (0.5 * rest - cube * sine) - rest) - cube * LONG_SINE[0])
    half = 0.5 * square
    near_unity = 1.0 - half
    cosine = tl.full(x.shape, LONG_COSINE[5], tl.float64)
    for term in tl.static_range(4, -1, -1):
        cosine = LONG_COSINE[term] + square * cosine
    cosine = square * cosine
    cosine = near_unity + (((1.0 - near_unity) - half) + (square * cosine - x * rest))
    return turn(cosine, sine, quadrant)


@triton.jit
def turn(cosine, sine, quadrant):
    """Return cosine and sine of an angle from those of its remainder after whole quadrants."""
    quadrant = quadrant - 4.0 * tl.floor(quadrant * 0.25)
    is_odd, turned = (quadrant == 1.0) | (quadrant == 3.0), quadrant >= 2.0
    turned_cosine = tl.where(is_odd, -1.0 * sine, cosine)
    turned_sine = tl.where(is_odd, cosine, sine)
    return tl.where(turned, -1.0 * turned_cosine, turned_cosine), tl.where(turned, -1.0 * turned_sine, turned_sine)


@triton.jit
def square_root(x):
    return tl.sqrt(x.to(tl.float64)).to(tl.float32)


@triton.jit
def sigmoid(logits, powers):
    """`powers` is the pointer to `powers_on`."""
    power = exponential(-1.0 * logits.to(tl.float64), powers).to(tl.float32)
    return tl.where(logits < -GREATEST_EXPONENT, 0.0, tl.div_rn(tl.full(logits.shape, 1.0, tl.float32), 1.0 + power))


@triton.jit
def exponential(x, powers):
    """`powers` is the pointer to `powers_on`."""
    x = tl.where(x < LEAST_EXPONENT, wide(LEAST_EXPONENT), tl.where(x > GREATEST_EXPONENT, wide(GREATEST_EXPONENT), x))
    steps = x * STEPS_PER_E
    whole = round_half_even(steps)
    rest = steps - whole
    place = tl.where(whole == whole, whole, wide(0.0)).to(tl.int64) - LEAST_STEP
    return ((rest * CUBIC + SQUARE) * (rest * rest) + (rest * LINEAR + 1.0)) * tl.load(powers + place)
