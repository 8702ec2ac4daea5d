"""The arithmetic that stands for a GPU's fused multiply-adds, against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.gpu_probe import fused_multiply_add
from tests.models.holistic.torch_engine.kernels.exact_interpreter import add_products

Array = NDArray[np.float32]


def nearest_float32(value: Fraction) -> np.float32:
    """Return the nearest float32, of two the even one."""
    guess = np.float32(float(value))
    around: list[np.float32] = [np.nextafter(guess, np.float32(way)) for way in (-np.inf, np.inf)]
    return min((guess, *around), key=lambda near: (abs(Fraction(float(near)) - value), int(near.view(np.uint32)) & 1))


def in_order(a: Array, b: Array, sums: Array) -> Array:
    total: Array = sums.copy()
    for row, column in np.ndindex(*sums.shape):
        for k in range(a.shape[1]):
            exact = Fraction(float(a[row, k])) * Fraction(float(b[k, column])) + Fraction(float(total[row, column]))
            total[row, column] = nearest_float32(exact)
    return total


def numbers(kind: str, *shape: int) -> Array:
    random = np.random.default_rng(len(kind))
    if kind == "few bits":
        # Sums of these often lie in the middle of two float32 numbers.
        values = random.integers(-3, 4, shape) * 2.0 ** random.integers(-12, 13, shape)
    elif kind == "tiny":
        values = random.normal(0, 1, shape) * 2.0 ** random.integers(-75, -60, shape)
    else:
        values = random.normal(0, 1, shape)
    return np.asarray(values, np.float32)


@pytest.mark.parametrize("kind", ["few bits", "tiny", "normal"])
def test_products_are_added_up_one_after_the_other_and_rounded_once(kind: str) -> None:
    a, b, sums = numbers(kind, 8, 24), numbers(kind, 24, 9), numbers(kind, 8, 9)
    np.testing.assert_array_equal(add_products(a, b, sums), in_order(a, b, sums))


def test_a_sum_in_the_middle_is_rounded_once() -> None:
    """In float64 the sum rounds to the middle of two float32 numbers, and from there to the wrong one."""
    a, b, c = (np.array([[value]], np.float32) for value in (1 + 2.0**-23, 2.0**-25 * (1 + 2.0**-23), 1.0))
    expected = nearest_float32(Fraction(float(a[0, 0])) * Fraction(float(b[0, 0])) + 1)
    middle = np.array([[1 + 2.0**-23]], np.float32), np.array([[2.0**-24]], np.float32)
    assert fused_multiply_add(a, b, c)[0, 0] == expected
    for left, right, start in ((a, b, c), (*middle, c)):
        exact = Fraction(float(left[0, 0])) * Fraction(float(right[0, 0])) + Fraction(float(start[0, 0]))
        assert add_products(left, right, start)[0, 0] == nearest_float32(exact)
