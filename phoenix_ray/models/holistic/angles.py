"""The angle of a direction, to the last bit of the C library that MediaPipe calls.

`geometry` and `attention` turn regions of interest by it. numpy asks the C library itself; torch has an `atan2` of its
own, on each device another, that differs in every sixth value.
"""

from __future__ import annotations

from array_api_compat import is_torch_array

from phoenix_ray.models.holistic.arrays import Array, namespace

# `atan` between these tangents is developed around the one whose arc follows, in two parts: what float32 can hold, and
# the rest. (fdlibm, `s_atanf.c`, which the GNU C library has until version 2.40; later ones round correctly.)
_TANGENTS = (7 / 16, 11 / 16, 19 / 16, 39 / 16)
_ARCS = (
    (4.6364760399e-01, 5.0121582440e-09),
    (7.8539812565e-01, 3.7748947079e-08),
    (9.8279368877e-01, 3.4473217170e-08),
    (1.5707962513, 7.5497894159e-08),
)
# Odd and even coefficients of the development, from the highest power to the lowest.
_EVEN = (1.6285819933e-02, 4.9768779427e-02, 6.6610731184e-02, 9.0908870101e-02, 1.4285714924e-01, 3.3333334327e-01)
_ODD = (-3.6531571299e-02, -5.8335702866e-02, -7.6918758452e-02, -1.1111110449e-01, -2.0000000298e-01)
_PI, _REST_OF_PI = 3.1415927410, -8.7422776573e-08


def atan2(y: Array, x: Array) -> Array:
    """Return the angle of finite directions (x, y), float32, in radians from -pi to pi; NaN where one is NaN."""
    xp = namespace(y)
    if not is_torch_array(y):
        return xp.atan2(y, x)
    tangent = xp.where((y == 0) & (x == x), 0.0, xp.abs(y / x))
    # From the last interval, which has no end, to the first, which needs no development around another arc.
    reduced, arc, rest = -1.0 / tangent, *(xp.full_like(tangent, part) for part in _ARCS[3])
    nearer = (
        (tangent - 1.5) / (1.0 + 1.5 * tangent),
        (tangent - 1.0) / (tangent + 1.0),
        (2.0 * tangent - 1.0) / (2.0 + tangent),
    )
    for limit, value, parts in zip(_TANGENTS[:0:-1], nearer, _ARCS[2::-1], strict=True):
        within = tangent < limit
        reduced = xp.where(within, value, reduced)
        arc, rest = xp.where(within, parts[0], arc), xp.where(within, parts[1], rest)
    is_small = tangent < _TANGENTS[0]
    reduced = xp.where(is_small, tangent, reduced)

    square = reduced * reduced
    fourth = square * square
    even, odd = xp.full_like(tangent, _EVEN[0]), xp.full_like(tangent, _ODD[0])
    for coefficient in _EVEN[1:]:
        even = coefficient + fourth * even
    for coefficient in _ODD[1:]:
        odd = coefficient + fourth * odd
    correction = reduced * (square * even + fourth * odd)
    angle = xp.where(is_small, reduced - correction, arc - ((correction - rest) - reduced))
    angle = xp.where(x < 0, _PI - (angle - _REST_OF_PI), angle)
    return xp.where(xp.signbit(y), -angle, angle)
