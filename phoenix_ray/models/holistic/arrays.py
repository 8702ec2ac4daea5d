"""Batched arithmetic for whatever array library an engine computes with.

Everything that `geometry`, `decoding`, `attention` and `pipeline` compute goes through the array API standard (see
`namespace`), never changes an array in place and never loops over frames: the same lines serve numpy on a CPU and torch
on a GPU.

They follow the rounding of MediaPipe's C++, because the networks amplify it: a ROI that differs in its last bit is
cropped to other grey values here and there, and landmarks move by up to a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from array_api_compat import array_namespace, device, is_torch_array

# An array of any library that follows the array API standard. The standard has no type that all of them share.
Array = Any

# Enough for a window of 9 x 9 cells, and for all boxes that overlap one person's.
TERMS_IN_ORDER = 81

_NAMESPACES: dict[type, Any] = {}


def namespace(array: Array) -> Any:
    """Return the array API namespace of an array: that of array-api-compat, looked up once for each type of array."""
    found = _NAMESPACES.get(type(array))
    if found is None:
        found = _NAMESPACES.setdefault(type(array), array_namespace(array))
    return found


def indices(count: int, like: Array) -> Array:
    """Return 0, 1, ... `count` - 1 as int64 (count,) on the device of an array."""
    return namespace(like).arange(count, device=device(like))


def constant(values: Sequence[int], like: Array) -> Array:
    """Return int64 (len(values),) on the device of an array, where it is brought only once."""
    return _constant(tuple(values), namespace(like), device(like))


@lru_cache(maxsize=64)
def _constant(values: tuple[int, ...], library: Any, where: Any) -> Array:
    return library.asarray(values, device=where)


def shapes_are_fixed(like: Array) -> bool:
    """Return whether no array may be shaped by the values of another.

    True of torch: a GPU would have to be waited for, each new shape costs it a choice of kernels, and what is found in
    one frame must not change how another is computed. False of numpy, where leaving out what is missing saves time.
    """
    return bool(is_torch_array(like))


def missing(shape: tuple[int, ...], like: Array) -> Array:
    """Return NaN in a shape, with the type and on the device of an array."""
    xp = namespace(like)
    return xp.full(shape, xp.nan, dtype=like.dtype, device=device(like))


def cosine_and_sine(angle: Array) -> tuple[Array, Array]:
    """Return both, rounded from double precision as the C library's `cosf` and `sinf` are."""
    xp = namespace(angle)
    precise = xp.astype(angle, xp.float64)
    return xp.astype(xp.cos(precise), angle.dtype), xp.astype(xp.sin(precise), angle.dtype)


def square_root(values: Array) -> Array:
    """Return square roots, correctly rounded; torch's own in single precision are not, on a CPU."""
    xp = namespace(values)
    return xp.astype(xp.sqrt(xp.astype(values, xp.float64)), values.dtype)


def sigmoid(logits: Array) -> Array:
    """Return the logistic function with an exponential rounded from double precision, as the C library's `expf` is."""
    xp = namespace(logits)
    # exp(88) still fits into float32; logits below -88 are as improbable as that.
    power = xp.exp(-xp.astype(xp.where(logits < -88.0, -88.0, logits), xp.float64))
    return 1.0 / (1.0 + xp.astype(power, logits.dtype))


def sum_in_order(values: Array) -> Array:
    """Return the sums over K of values (N, K, ...) as (N, ...), rounded after each addition from first to last.

    Torch's running sums are rounded otherwise, so there the first `TERMS_IN_ORDER` are added one by one; what comes
    after them, most often zeros, is added in torch's own order.
    """
    xp = namespace(values)
    if not is_torch_array(values):
        return xp.cumulative_sum(values, axis=1)[:, -1, ...]
    total = values[:, 0, ...]
    for term in range(1, min(values.shape[1], TERMS_IN_ORDER)):
        total = total + values[:, term, ...]
    return total + xp.sum(values[:, TERMS_IN_ORDER:, ...], axis=1)


def scatter_rows(rows: Array, present: Array) -> Array:
    """Put the rows of present items back among all items.

    Args:
        rows: Array (M, ...), M at least 1, with one row for each true value of `present`, in order; or, where shapes
            are fixed, (N, ...) with a row for each value.
        present: Bool array (N,).

    Returns:
        Array (N, ...): `rows` where `present`, NaN elsewhere.
    """
    xp = namespace(rows)
    if shapes_are_fixed(rows):
        return xp.where(xp.reshape(present, (-1,) + (1,) * (rows.ndim - 1)), rows, xp.nan)
    if rows.shape[0] == present.shape[0]:
        return rows
    position = xp.cumulative_sum(xp.astype(present, xp.int64)) - 1
    return xp.take(
        xp.concat([rows, missing((1, *rows.shape[1:]), rows)]), xp.where(present, position, rows.shape[0]), axis=0
    )
