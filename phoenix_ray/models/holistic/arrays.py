"""Batched arithmetic for whatever array library an engine computes with.

`geometry`, `decoding`, `attention` and `pipeline` compute through the array API standard (see `namespace`), never
change an array in place and never loop over frames: the same lines serve numpy on a CPU and torch on a GPU.

They follow the rounding of MediaPipe's C++, because the networks amplify it: a ROI that differs in its last bit is
cropped to slightly different grey values, and landmarks move by up to a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from array_api_compat import array_namespace, device, is_torch_array

# An array of any library that follows the array API standard, which defines no common type.
Array = Any

# Enough for a window of 9 x 9 cells, and for all boxes that overlap those of one person.
TERMS_IN_ORDER = 81

_NAMESPACES: dict[type, Any] = {}


def namespace(array: Array) -> Any:
    """Return the array API namespace of an array, from array-api-compat, looked up once for each type of array."""
    found = _NAMESPACES.get(type(array))
    if found is None:
        found = _NAMESPACES.setdefault(type(array), array_namespace(array))
    return found


def indices(count: int, like: Array) -> Array:
    """Return 0, 1, ... `count` - 1 as int64 (count,) on the device of an array."""
    return namespace(like).arange(count, device=device(like))


def constant(values: Sequence[int], like: Array) -> Array:
    """Return int64 (len(values),) on the device of an array; each constant is copied to a device only once."""
    return _constant(tuple(values), namespace(like), device(like))


@lru_cache(maxsize=64)
def _constant(values: tuple[int, ...], library: Any, where: Any) -> Array:
    return library.asarray(values, device=where)


def divide(values: Array, number: float) -> Array:
    """Return values / number, rounded once on every device.

    On CUDA torch divides a tensor by a Python number by multiplying with its reciprocal, which moves the last bit.
    """
    if not is_torch_array(values):
        return values / number
    return values / _scalar(number, namespace(values), device(values), values.dtype)


@lru_cache(maxsize=64)
def _scalar(number: float, library: Any, where: Any, dtype: Any) -> Array:
    return library.asarray(number, dtype=dtype, device=where)


def shapes_are_fixed(like: Array) -> bool:
    """Return whether the shape of an array must not depend on the values of another array.

    True for torch: the program would have to wait for the GPU, each new shape costs a choice of kernels, and what is
    found in one frame must not change how another is computed. False for numpy, where skipping what is missing saves
    time.
    """
    return bool(is_torch_array(like))


def missing(shape: tuple[int, ...], like: Array) -> Array:
    """Return NaN in a shape, with the dtype and on the device of an array."""
    xp = namespace(like)
    return xp.full(shape, xp.nan, dtype=like.dtype, device=device(like))


def sum_in_order(values: Array) -> Array:
    """Return the sums over K of values (N, K, ...) as (N, ...), rounded after each addition from first to last.

    Torch rounds running sums differently, so its first `TERMS_IN_ORDER` terms are added one by one. The rest, most
    often zeros, is folded in halves: the order of torch's own sum depends on the processor.
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
    """Return an array with a row for each item from the rows of the present items.

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
