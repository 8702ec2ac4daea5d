"""Rows of batched arrays, for whatever array library an engine computes with.

Everything that `geometry`, `decoding`, `attention` and `pipeline` compute goes through the array API standard (the
namespace is found by `array_api_compat.array_namespace`), never changes an array in place and never loops over frames:
the same lines serve numpy on a CPU and torch on a GPU.
"""

from __future__ import annotations

from typing import Any

from array_api_compat import array_namespace

# An array of any library that follows the array API standard. The standard has no type that all of them share.
Array = Any


def sigmoid(logits: Array) -> Array:
    """Return the logistic function; written with tanh, so that no logit overflows."""
    xp = array_namespace(logits)
    return 0.5 * xp.tanh(0.5 * logits) + 0.5


def scatter_rows(rows: Array, present: Array) -> Array:
    """Put the rows of present items back among all items.

    Args:
        rows: Array (M, ...), M at least 1, with one row for each true value of `present`, in order.
        present: Bool array (N,).

    Returns:
        Array (N, ...): `rows` where `present`, NaN elsewhere.
    """
    xp = array_namespace(rows)
    if rows.shape[0] == present.shape[0]:
        return rows
    missing = xp.full_like(rows[:1, ...], xp.nan)
    position = xp.cumulative_sum(xp.astype(present, xp.int64)) - 1
    return xp.take(xp.concat([rows, missing]), xp.where(present, position, rows.shape[0]), axis=0)
