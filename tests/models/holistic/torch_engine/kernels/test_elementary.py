"""Elementary functions inside of kernels: the bits of the array code."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from phoenix_ray.models.holistic import elementary as formulas
from phoenix_ray.models.holistic.torch_engine.kernels import elementary
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch

COUNT = 8192
RANDOM = np.random.default_rng(1)
SPECIAL = np.array(
    [0.0, -0.0, 1.0, -1.0, 7 / 16, 11 / 16, 19 / 16, 39 / 16, 2.0**25, 1e-40, -1e-40, math.nan], np.float32
)


@triton.jit
def angles(y, x, found, size: tl.constexpr):
    place = tl.arange(0, size)
    tl.store(found + place, elementary.atan2(tl.load(y + place), tl.load(x + place)))


@triton.jit
def cosines(angle, cosine, sine, size: tl.constexpr):
    place = tl.arange(0, size)
    c, s = elementary.cosine_and_sine(tl.load(angle + place))
    tl.store(cosine + place, c)
    tl.store(sine + place, s)


@triton.jit
def long_cosines(angle, cosine, sine, size: tl.constexpr):
    place = tl.arange(0, size)
    c, s = elementary.long_cosine_and_sine(tl.load(angle + place))
    tl.store(cosine + place, c)
    tl.store(sine + place, s)


@triton.jit
def roots(x, found, size: tl.constexpr):
    place = tl.arange(0, size)
    tl.store(found + place, elementary.square_root(tl.load(x + place)))


@triton.jit
def probabilities(logits, powers, found, size: tl.constexpr):
    place = tl.arange(0, size)
    tl.store(found + place, elementary.sigmoid(tl.load(logits + place), powers))


def pairs() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    y, x = RANDOM.normal(0, 1, (2, COUNT)).astype(np.float32) * np.exp(RANDOM.normal(0, 8, (2, COUNT))).astype(
        np.float32
    )
    for number, (first, second) in enumerate((a, b) for a in SPECIAL for b in SPECIAL):
        y[number], x[number] = first, second
    return y, x


def spread(low: float, high: float, dtype: type = np.float32) -> NDArray[Any]:
    values: NDArray[Any] = RANDOM.uniform(low, high, COUNT).astype(dtype)
    values[: len(SPECIAL)] = SPECIAL
    return values


def assert_same_bits(expected: NDArray[Any], found: NDArray[Any]) -> None:
    """Fail unless all numbers have the same bits, but for those of NaN."""
    bits = f"u{expected.itemsize}"
    same = (expected.view(bits) == found.view(bits)) | (np.isnan(expected) & np.isnan(found))
    assert same.all(), f"{np.count_nonzero(~same)} of {same.size} differ: {expected[~same][:3]}, {found[~same][:3]}"


CASES: dict[str, tuple[Any, Callable[..., Any], tuple[NDArray[Any], ...]]] = {
    "atan2": (angles, formulas.atan2, pairs()),
    "cosine_and_sine": (cosines, formulas.cosine_and_sine, (spread(-20, 20),)),
    "long_cosine_and_sine": (long_cosines, formulas.long_cosine_and_sine, (spread(-20, 20, np.float64),)),
    "square_root": (roots, formulas.square_root, (np.abs(spread(-1e4, 1e4)),)),
    "sigmoid": (probabilities, formulas.sigmoid, (spread(-120, 120),)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_kernels_function_gives_the_bits_of_the_array_code(name: str, device_name: str) -> None:
    values: tuple[NDArray[Any], ...]
    kernel, formula, values = CASES[name]
    with np.errstate(all="ignore"):
        expected = formula(*values)
    expected = expected if isinstance(expected, tuple) else (expected,)
    names = [parameter for parameter in kernel.arg_names if parameter not in ("size", "powers")]
    given = [torch.from_numpy(array).to(device_name) for array in values]
    found = [torch.empty_like(given[0]) for _ in expected]
    arguments = dict(zip(names, [*given, *found], strict=True))
    if name == "sigmoid":
        arguments["powers"] = elementary.powers_on(given[0].device)
    launch(kernel, (1,), arguments, {"size": COUNT})
    for right, result in zip(expected, found, strict=True):
        assert_same_bits(right, result.cpu().numpy())
