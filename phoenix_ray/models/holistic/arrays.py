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


def divide(values: Array, number: float) -> Array:
    """Return values / number, rounded once on every device.

    On CUDA torch multiplies by the reciprocal where a tensor is divided by a Python number, which moves the last bit.
    """
    if not is_torch_array(values):
        return values / number
    return values / _scalar(number, namespace(values), device(values), values.dtype)


@lru_cache(maxsize=64)
def _scalar(number: float, library: Any, where: Any, dtype: Any) -> Array:
    return library.asarray(number, dtype=dtype, device=where)


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


def sum_in_order(values: Array) -> Array:
    """Return the sums over K of values (N, K, ...) as (N, ...), rounded after each addition from first to last.

    Torch's running sums are rounded otherwise, so there the first `TERMS_IN_ORDER` are added one by one. What comes
    after them, most often zeros, is folded in halves: the order of torch's own sum depends on the processor.
    """
    xp = namespace(values)
    if not is_torch_array(values):
        return xp.cumulative_sum(values, axis=1)[:, -1, ...]
    total = values[:, 0, ...]
    for term in range(1, min(values.shape[1], TERMS_IN_ORDER)):
        total = total + values[:, term, ...]
    rest = values[:, TERMS_IN_ORDER:, ...]
    while (count := rest.shape[1]) > 1:
        half = count // 2
        rest = xp.concat([rest[:, :half, ...] + rest[:, half : 2 * half, ...], rest[:, 2 * half :, ...]], axis=1)
    return total if rest.shape[1] == 0 else total + rest[:, 0, ...]


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
