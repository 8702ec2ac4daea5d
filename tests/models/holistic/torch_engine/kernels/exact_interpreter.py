"""Makes Triton's interpreter round as a GPU does where a kernel asks for fused multiply-adds.

The interpreter computes `tl.dot` with numpy's matrix product and `tl.fma` with two roundings. On a GPU `tl.dot` of
float32 with `input_precision="ieee"` is one chain of fused multiply-adds for each output, in ascending order of K and
starting from the accumulator (`test_compiled.py` checks it in the compiled code).

Nor does the interpreter waste time: it computes for each operation on integers whether it overflows and drops the
result, and looks for what to replace in Triton whenever a kernel calls a function.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import triton.language as tl
from numpy.typing import ArrayLike, NDArray
from triton.runtime import interpreter

from benchmarks.gpu_probe import fused_multiply_add

# The bits of a float64 that float32 lacks, and those of them that the middle of two float32 numbers has.
_BELOW_FLOAT32, _MIDDLE_OF_FLOAT32 = 2**29 - 1, 2**28
# Sums that are computed at a time, so that they stay in a processor's cache.
_CACHED = 8192
_replace_builtins = interpreter._patch_lang


def add_products(a: ArrayLike, b: ArrayLike, sums: ArrayLike) -> NDArray[np.float32]:
    """Return sums + a @ b of float32 (M, K), (K, N) and (M, N), as one chain of fused multiply-adds for each sum.

    In float64 products are exact, and rounding a sum to float64 and then to float32 is right unless the first result
    lies in the middle of two float32 numbers. Such sums are computed again by `fused_multiply_add`; so are all where
    products can be smaller than any normal float32, whose middles lie elsewhere.
    """
    left, right = (np.asarray(values, np.float32).astype(np.float64) for values in (a, b))
    total = np.array(sums, np.float32)
    least = [np.abs(values[values != 0]).min(initial=np.inf) for values in (left, right)]
    has_small = least[0] * least[1] < np.finfo(np.float32).smallest_normal
    block = max(1, _CACHED // max(len(left), 1))
    for first in range(0, right.shape[1], block):
        columns = right[:, first : first + block]
        part = total[:, first : first + block].astype(np.float64)
        following, bits = np.empty_like(part), np.empty(part.shape, np.int64)
        for k in range(left.shape[1]):
            np.multiply(left[:, k, None], columns[k], out=following)
            following += part
            np.bitwise_and(following.view(np.int64), _BELOW_FLOAT32, out=bits)
            if has_small or (bits == _MIDDLE_OF_FLOAT32).any():
                part[:] = fused_multiply_add(left[:, k, None], columns[k], part)
            else:
                part[:] = following.astype(np.float32)
        total[:, first : first + block] = part
    return total


def _dot(builder: Any, a: Any, b: Any, d: Any, input_precision: Any, max_num_imprecise_acc: Any) -> Any:
    return interpreter.TensorHandle(add_products(a.data, b.data, d.data), d.dtype.scalar)


def _fma(builder: Any, x: Any, y: Any, z: Any) -> Any:
    if x.data.dtype != np.float32:
        raise NotImplementedError(f"fma of {x.data.dtype}")
    return interpreter.TensorHandle(fused_multiply_add(x.data, y.data, z.data), z.dtype.scalar)


def _replace_builtins_once(function: Any) -> Any:
    modules = [module for module in function.__globals__.values() if module is tl or module is tl.core]
    is_done = all(not tl.core.is_builtin(module.load) for module in modules)
    return interpreter._LangPatchScope() if is_done else _replace_builtins(function)


def make_exact() -> None:
    """Replace both in the interpreter, and what it wastes time with, for this process."""
    interpreter.interpreter_builder.options = replace(interpreter.interpreter_builder.options, sanitize_overflow=False)
    interpreter.InterpreterBuilder.create_dot = _dot
    interpreter.InterpreterBuilder.create_fma = _fma
    interpreter._patch_lang = _replace_builtins_once
