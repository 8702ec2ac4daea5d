from __future__ import annotations

import ctypes
import platform
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from phoenix_ray.models.holistic.elementary import (
    atan2,
    cosine_and_sine,
    long_cosine_and_sine,
    sigmoid,
    square_root,
)
from tests.models.holistic.floats import float32

Values = NDArray[Any]
COUNT = 100_000


def libraries() -> list[Any]:
    try:
        import torch
    except ImportError:
        return [pytest.param(np.asarray, id="numpy")]
    return [pytest.param(np.asarray, id="numpy"), pytest.param(torch.from_numpy, id="torch")]


@pytest.fixture(params=libraries())
def library(request: pytest.FixtureRequest) -> Callable[[Values], Any]:
    """Takes a numpy array to the library under test."""
    make: Callable[[Values], Any] = request.param
    return make


def glibc() -> tuple[int, ...]:
    name, version = platform.libc_ver()
    return tuple(map(int, version.split("."))) if name == "glibc" else ()


def of_the_c_library(name: str, kind: Any = ctypes.c_float) -> Callable[..., Values]:
    """Return a function of the C library itself, element by element: numpy has polynomials of its own."""
    function = getattr(ctypes.CDLL("libm.so.6"), name)
    function.restype = kind
    dtype = np.float32 if kind is ctypes.c_float else np.float64

    def apply(*arguments: Values) -> Values:
        function.argtypes = [kind] * len(arguments)
        return np.array([function(*values) for values in zip(*map(np.ndarray.tolist, arguments), strict=True)], dtype)

    return apply


needs_glibc = pytest.mark.skipif(glibc() < (2, 28), reason="only glibc from 2.28 on computes like this")
needs_old_atan2 = pytest.mark.skipif(
    not (2, 28) <= glibc() <= (2, 40), reason="only glibc up to 2.40 rounds atan2f like MediaPipe's reference"
)


def random_floats(low: float, high: float) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(low, high, COUNT).astype(np.float32)


@needs_old_atan2
def test_an_angle_is_that_of_the_c_library_to_the_last_bit(library: Callable[[Values], Any]) -> None:
    random = np.random.default_rng(0)
    y, x = (random.standard_normal(COUNT).astype(np.float32) for _ in range(2))
    np.testing.assert_array_equal(np.asarray(atan2(library(y), library(x))), of_the_c_library("atan2f")(y, x))


@needs_old_atan2
def test_steep_and_flat_angles_are_those_of_the_c_library(library: Callable[[Values], Any]) -> None:
    x = np.abs(random_floats(0.01, 700))
    y = (x * np.float32(2) ** np.random.default_rng(0).uniform(-30, 30, COUNT)).astype(np.float32)
    for up, right in ((y, x), (-y, x), (y, -x), (-y, -x)):
        np.testing.assert_array_equal(
            np.asarray(atan2(library(up), library(right))), of_the_c_library("atan2f")(up, right)
        )


@needs_glibc
def test_sine_and_cosine_are_those_of_the_c_library_to_the_last_bit(library: Callable[[Values], Any]) -> None:
    powers = np.float32(2) ** np.arange(-40, 3, dtype=np.float32)
    angles = np.concatenate([random_floats(-10, 10), powers, -powers, float32([0, np.pi, np.pi / 2, np.pi / 4])])
    cosine, sine = cosine_and_sine(library(angles))
    np.testing.assert_array_equal(np.asarray(cosine), of_the_c_library("cosf")(angles))
    np.testing.assert_array_equal(np.asarray(sine), of_the_c_library("sinf")(angles))


@needs_glibc
def test_a_sigmoid_has_the_exponential_of_the_c_library(library: Callable[[Values], Any]) -> None:
    logits = np.concatenate([random_floats(-120, 110), random_floats(-1, 1), float32([-1000, 1000, -np.inf, np.inf])])
    expected = np.float32(1) / (np.float32(1) + of_the_c_library("expf")(-logits))
    np.testing.assert_array_equal(np.asarray(sigmoid(library(logits))), expected)


@needs_glibc
def test_long_sine_and_cosine_round_to_the_float_that_the_c_library_rounds_to(library: Callable[[Values], Any]) -> None:
    angles = np.concatenate(
        [np.random.default_rng(0).uniform(-10, 10, COUNT), np.radians([0, 90, 180, 270, 360, -90, 45])]
    )
    for name, values in zip(("cos", "sin"), long_cosine_and_sine(library(angles)), strict=True):
        expected = of_the_c_library(name, ctypes.c_double)(angles)
        np.testing.assert_array_equal(np.asarray(values).astype(np.float32), expected.astype(np.float32))
        np.testing.assert_array_max_ulp(np.asarray(values), expected, maxulp=1)


# Coordinates as they come: a difference that underflows is no direction.
coordinates = st.floats(-(2.0**20), 2.0**20, width=32).filter(lambda value: value == 0 or abs(value) > 1e-12)


@given(y=coordinates, x=coordinates)
def test_an_angle_is_right_to_less_than_two_units_in_the_last_place(y: float, x: float) -> None:
    if (y, x) == (0, 0):
        return
    expected = np.arctan2(y, x)
    angle = float(atan2(float32([y]), float32([x]))[0])
    assert abs(angle - expected) <= 2 * np.spacing(np.float32(abs(expected)))


def test_axes_have_their_angles_and_what_is_missing_stays_missing(library: Callable[[Values], Any]) -> None:
    y, x = float32([np.nan, 0, 0, 0, 1, -1, 0]), float32([0, np.nan, 1, -1, 0, 0, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        angles = np.asarray(atan2(library(y), library(x)))
    expected = float32([np.nan, np.nan, 0, np.pi, np.pi / 2, -np.pi / 2, 0])
    np.testing.assert_array_equal(angles, expected)


def test_missing_values_stay_missing_without_a_warning(library: Callable[[Values], Any]) -> None:
    missing = library(float32([np.nan, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = [*cosine_and_sine(missing), sigmoid(missing)]
    assert [np.isnan(np.asarray(result)).tolist() for result in results] == [[True, False]] * 3


@given(arrays.arrays(np.float32, 5, elements=st.floats(-1000, 1000, width=32)))
def test_a_sigmoid_stays_a_probability_and_never_overflows(logits: Values) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = sigmoid(logits)
    assert result.dtype == np.float32
    assert ((result >= 0) & (result <= 1)).all()
    np.testing.assert_allclose(result, 1 / (1 + np.exp(-logits.astype(np.float64).clip(-700, 700))), atol=1e-7)


@given(arrays.arrays(np.float32, 5, elements=st.floats(0, 1e6, width=32)))
def test_square_roots_are_rounded_correctly_in_torch_too(values: Values) -> None:
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(square_root(values), np.sqrt(values))
    np.testing.assert_array_equal(np.asarray(square_root(torch.from_numpy(values))), np.sqrt(values))
