"""Elementary functions that give the same bits on every processor: those of the GNU C library that MediaPipe calls.

IEEE 754 fixes the result of + - * / and the square root, and of nothing else. For an angle, a sine or an exponential,
numpy, torch and the C library each use different polynomials, by processor and release, and the networks amplify a last
bit into pixels. So these functions consist of + - * / alone, each rounded once, in the order of the C library's source;
they work on numpy and torch arrays alike.

`sine`, `cosine` and the exponential are glibc's since version 2.28 (`s_sincosf.h`, `e_expf.c`). `atan2` is glibc's up
to 2.40 (fdlibm's `s_atanf.c`); later versions round it correctly, which moves the last bit of some angles.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache
from math import ldexp
from typing import Any

from array_api_compat import device

from phoenix_ray.models.holistic.arrays import Array, namespace

# Between these tangents `atan` is expanded around a point in the interval. Its arc follows in two parts: the nearest
# float32, and the rest.
TANGENTS = (7 / 16, 11 / 16, 19 / 16, 39 / 16)
ARCS = (
    (4.6364760399e-01, 5.0121582440e-09),
    (7.8539812565e-01, 3.7748947079e-08),
    (9.8279368877e-01, 3.4473217170e-08),
    (1.5707962513, 7.5497894159e-08),
)
# Even and odd coefficients of the expansion, from the highest power to the lowest.
EVEN = (1.6285819933e-02, 4.9768779427e-02, 6.6610731184e-02, 9.0908870101e-02, 1.4285714924e-01, 3.3333334327e-01)
ODD = (-3.6531571299e-02, -5.8335702866e-02, -7.6918758452e-02, -1.1111110449e-01, -2.0000000298e-01)
PI, REST_OF_PI = 3.1415927410, -8.7422776573e-08
# From this tangent on, glibc returns a quarter turn, although a smaller float32 would be nearer.
STEEP = 2.0**25
# Stands for the tangent of a quarter turn itself.
STEEPEST = 2.0**60

# Quadrants per radian in units of 2^-24, and a quadrant in radians (glibc: `hpi_inv`, `hpi`).
QUADRANT_UNIT = 2.0**24
UNITS_PER_RADIAN = float.fromhex("0x1.45F306DC9C883p+23")
QUADRANT = float.fromhex("0x1.921FB54442D18p0")
# Coefficients of x^3, x^5, x^7 and of x^2, x^4, x^6, x^8 (glibc: `s1` to `s3`, `c1` to `c4`).
SINE = tuple(map(float.fromhex, ("-0x1.555545995a603p-3", "0x1.1107605230bc4p-7", "-0x1.994eb3774cf24p-13")))
COSINE = tuple(
    map(
        float.fromhex,
        ("-0x1.ffffffd0c621cp-2", "0x1.55553e1068f19p-5", "-0x1.6c087e89a359dp-10", "0x1.99343027bf8c3p-16"),
    )
)

# The same in double precision: a quadrant in three parts of which the first two have 33 bits, and coefficients of
# x^3 to x^13 and of x^4 to x^14 (fdlibm: `e_rem_pio2.c`, `k_sin.c`, `k_cos.c`).
QUADRANTS_PER_RADIAN = 6.36619772367581382433e-01
QUADRANT_PARTS = (1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21)
LONG_SINE = (
    *(-1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04),
    *(2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10),
)
LONG_COSINE = (
    *(4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05),
    *(-2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11),
)

# exp(x) is 2^(k / 32) times a polynomial of what remains of x in these steps (glibc: `InvLn2N`, `poly_scaled`).
STEPS_PER_OCTAVE = 32
STEPS_PER_E = float.fromhex("0x1.71547652b82fep+0") * STEPS_PER_OCTAVE
CUBIC, SQUARE, LINEAR = (
    float.fromhex(coefficient) / STEPS_PER_OCTAVE**power
    for coefficient, power in (("0x1.c6af84b912394p-5", 3), ("0x1.ebfce50fac4f3p-3", 2), ("0x1.62e42ff0c52d6p-1", 1))
)
# exp of the first is 0 in float32, that of the last is just not infinite (glibc: `expf` overflows above 0x1.62e42ep6).
LEAST_EXPONENT, GREATEST_EXPONENT = -104.0, float.fromhex("0x1.62e42ep6")


def atan2(y: Array, x: Array) -> Array:
    """Return the angle of finite directions (x, y), float32, in radians from -pi to pi; NaN where one is NaN."""
    xp = namespace(y)
    tangent = xp.where((x == 0) & (y == y), STEEPEST, xp.abs(y / xp.where(x == 0, 1.0, x)))
    tangent = xp.where((y == 0) & (x == x), 0.0, tangent)
    is_small = tangent < TANGENTS[0]
    # From the last interval, which has no end, to the first, which is expanded around zero.
    reduced = xp.where(tangent >= STEEP, 0.0, -1.0 / xp.where(is_small, 1.0, tangent))
    arc, rest = (xp.full_like(tangent, part) for part in ARCS[3])
    nearer = (
        (tangent - 1.5) / (1.0 + 1.5 * tangent),
        (tangent - 1.0) / (tangent + 1.0),
        (2.0 * tangent - 1.0) / (2.0 + tangent),
    )
    for limit, value, parts in zip(TANGENTS[:0:-1], nearer, ARCS[2::-1], strict=True):
        within = tangent < limit
        reduced = xp.where(within, value, reduced)
        arc, rest = xp.where(within, parts[0], arc), xp.where(within, parts[1], rest)
    reduced = xp.where(is_small, tangent, reduced)

    square = reduced * reduced
    fourth = square * square
    even, odd = xp.full_like(tangent, EVEN[0]), xp.full_like(tangent, ODD[0])
    for coefficient in EVEN[1:]:
        even = coefficient + fourth * even
    for coefficient in ODD[1:]:
        odd = coefficient + fourth * odd
    correction = reduced * (square * even + fourth * odd)
    angle = xp.where(is_small, reduced - correction, arc - ((correction - rest) - reduced))
    angle = xp.where(x < 0, PI - (angle - REST_OF_PI), angle)
    return xp.where(xp.signbit(y), -angle, angle)


def cosine_and_sine(angle: Array) -> tuple[Array, Array]:
    """Return cosine and sine of float32 angles of a few turns (glibc: `cosf`, `sinf`).

    Within a turn, and a ROI needs no more, every result is glibc's. From about 80 radians on, where glibc fuses
    products and sums to remove whole turns, one in a million differs.
    """
    xp = namespace(angle)
    x = xp.astype(angle, xp.float64)
    # The nearest quadrant. glibc counts in integers; floor gives the same result and lets NaN pass.
    quadrant = xp.floor((xp.trunc(x * UNITS_PER_RADIAN) + 0.5 * QUADRANT_UNIT) * (1 / QUADRANT_UNIT))
    x = x - quadrant * QUADRANT

    square = x * x
    cube, fourth = x * square, square * square
    third, fifth, seventh = SINE
    sine = (x + cube * third) + (cube * square) * (fifth + square * seventh)
    second, fourth_power, sixth, eighth = COSINE
    cosine = ((1.0 + square * second) + fourth * fourth_power) + (fourth * square) * (sixth + square * eighth)
    cosine, sine = _turn(cosine, sine, quadrant)
    return xp.astype(cosine, angle.dtype), xp.astype(sine, angle.dtype)


def long_cosine_and_sine(angle: Array) -> tuple[Array, Array]:
    """Return cosine and sine of float64 angles of a few turns, within one unit in the last place (fdlibm)."""
    xp = namespace(angle)
    quadrant = xp.round(angle * QUADRANTS_PER_RADIAN)
    first, second, third = QUADRANT_PARTS
    start = angle - quadrant * first
    middle = start - quadrant * second
    missed = quadrant * third - ((start - middle) - quadrant * second)
    x = middle - missed
    rest = (middle - x) - missed

    square = x * x
    cube = square * x
    sine = _polynomial(LONG_SINE[1:], square)
    sine = x - ((square * (0.5 * rest - cube * sine) - rest) - cube * LONG_SINE[0])
    half = 0.5 * square
    near_one = 1.0 - half
    cosine = square * _polynomial(LONG_COSINE, square)
    cosine = near_one + (((1.0 - near_one) - half) + (square * cosine - x * rest))
    return _turn(cosine, sine, quadrant)


def square_root(values: Array) -> Array:
    """Return correctly rounded square roots of float32; torch's own in single precision are not so on a CPU."""
    xp = namespace(values)
    return xp.astype(xp.sqrt(xp.astype(values, xp.float64)), values.dtype)


def sigmoid(logits: Array) -> Array:
    """Return 1 / (1 + exp(-logits)) of float32, each of the three operations rounded once (glibc: `expf`)."""
    xp = namespace(logits)
    power = exponential(-xp.astype(logits, xp.float64))
    # exp is infinite there, and numpy would warn.
    return xp.where(logits < -GREATEST_EXPONENT, 0.0, 1.0 / (1.0 + xp.astype(power, logits.dtype)))


def exponential(x: Array) -> Array:
    """Return exp of float32 values in float64, exact enough that rounding to float32 gives the result of `expf`."""
    xp = namespace(x)
    x = xp.where(x < LEAST_EXPONENT, LEAST_EXPONENT, xp.where(x > GREATEST_EXPONENT, GREATEST_EXPONENT, x))
    steps = x * STEPS_PER_E
    whole = xp.round(steps)
    rest = steps - whole
    # NaN has no place in the table; it passes through the rest.
    place = xp.astype(xp.where(whole == whole, whole, 0.0), xp.int64) - least_step()
    power = xp.reshape(xp.take(powers_of_two(xp, device(x)), xp.reshape(place, (-1,))), place.shape)
    return ((CUBIC * rest + SQUARE) * (rest * rest) + (LINEAR * rest + 1.0)) * power


def _turn(cosine: Array, sine: Array, quadrant: Array) -> tuple[Array, Array]:
    """Return cosine and sine of an angle from those of its remainder after whole quadrants."""
    xp = namespace(quadrant)
    quadrant = quadrant - 4.0 * xp.floor(quadrant * 0.25)
    is_odd, turned = (quadrant == 1.0) | (quadrant == 3.0), quadrant >= 2.0
    turned_cosine = xp.where(is_odd, -sine, cosine)
    turned_sine = xp.where(is_odd, cosine, sine)
    return xp.where(turned, -turned_cosine, turned_cosine), xp.where(turned, -turned_sine, turned_sine)


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """Return the polynomial whose coefficients ascend from that of x^0, by Horner's rule."""
    *lower, value = coefficients
    for coefficient in reversed(lower):
        value = coefficient + x * value
    return value


def least_step() -> int:
    """Return the number k of the first entry of `powers_of_two`."""
    return int(LEAST_EXPONENT * STEPS_PER_E) - 1


@lru_cache(maxsize=8)
def powers_of_two(library: Any, where: Any) -> Array:
    """Return 2^(k / 32) for each step k that a float32 needs, float64, on a device."""
    with localcontext() as context:
        context.prec = 40
        octave = [float(Decimal(2) ** (Decimal(step) / STEPS_PER_OCTAVE)) for step in range(STEPS_PER_OCTAVE)]
    steps = range(least_step(), int(GREATEST_EXPONENT * STEPS_PER_E) + 2)
    powers = [ldexp(octave[step % STEPS_PER_OCTAVE], step // STEPS_PER_OCTAVE) for step in steps]
    return library.asarray(powers, dtype=library.float64, device=where)
