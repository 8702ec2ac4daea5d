"""Makes Triton's interpreter round as a GPU does where a kernel asks for fused multiply-adds.

The interpreter computes `tl.dot` with numpy's matrix product and `tl.fma` with two roundings. On a GPU `tl.dot` of
float32 with `input_precision="ieee"` is one chain of fused multiply-adds for each output, in ascending order of K and
starting from the accumulator (`test_compiled.py` checks it in the compiled code).

Nor does the interpreter waste time: it computes for each operation on integers whether it overflows and drops the
result, and looks for what to replace in Triton whenever a kernel calls a function.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton.language as tl
from numpy.typing import ArrayLike, NDArray
from triton.runtime import interpreter

_replace_builtins = interpreter._patch_lang


def fused_multiply_add(a: ArrayLike, b: ArrayLike, c: ArrayLike) -> NDArray[np.float32]:
    """Return a * b + c of float32, rounded once.

    In float64 the product is exact. The sum is rounded to odd there: two more bits than float32 has then suffice for a
    second rounding to be right.
    """
    a, b, c = (np.asarray(values, np.float32).astype(np.float64) for values in (a, b, c))
    product = a * b
    total = product + c
    back = total - product
    error = (product - (total - back)) + (c - back)
    bits = total.view(np.int64)
    step = np.where((error > 0) == (total > 0), 1, -1)
    return np.where((error != 0) & (bits & 1 == 0), bits + step, bits).view(np.float64).astype(np.float32)


def _dot(builder: Any, a: Any, b: Any, d: Any, input_precision: Any, max_num_imprecise_acc: Any) -> Any:
    total = d.data.astype(np.float32)
    for k in range(a.data.shape[-1]):
        total = fused_multiply_add(a.data[..., :, k, None], b.data[..., k, None, :], total)
    return interpreter.TensorHandle(total, d.dtype.scalar)


def _fma(builder: Any, x: Any, y: Any, z: Any) -> Any:
    if x.data.dtype != np.float32:
        raise NotImplementedError(f"fma of {x.data.dtype}")
    return interpreter.TensorHandle(fused_multiply_add(x.data, y.data, z.data), z.dtype.scalar)


def _replace_builtins_once(function: Any) -> Any:
    modules = [module for module in function.__globals__.values() if module is tl or module is tl.core]
    is_done = all(not tl.core.is_builtin(module.load) for module in modules)
    return interpreter._LangPatchScope() if is_done else _replace_builtins(function)


def make_exact() -> None:
    """Replace both in the interpreter, for this process."""
    interpreter.InterpreterBuilder.create_dot = _dot
    interpreter.InterpreterBuilder.create_fma = _fma
    object.__setattr__(interpreter.interpreter_builder.options, "sanitize_overflow", False)
    interpreter._patch_lang = _replace_builtins_once
