from __future__ import annotations

import platform

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.models.holistic.angles import atan2

torch = pytest.importorskip("torch")

# Coordinates as they come: a difference that underflows is no direction.
coordinates = st.floats(-(2.0**20), 2.0**20, width=32).filter(lambda value: value == 0 or abs(value) > 1e-12)


def in_torch(y: list[float], x: list[float]) -> np.ndarray:
    angle = atan2(torch.tensor(y, dtype=torch.float32), torch.tensor(x, dtype=torch.float32))
    assert angle.dtype == torch.float32
    return np.asarray(angle)


@given(y=coordinates, x=coordinates)
def test_the_angle_is_right_to_less_than_two_units_in_the_last_place(y: float, x: float) -> None:
    if (y, x) == (0, 0):
        return
    expected = np.arctan2(y, x)
    assert abs(float(in_torch([y], [x])[0]) - expected) <= 2 * np.spacing(np.float32(abs(expected)))


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or tuple(map(int, platform.libc_ver()[1].split("."))) > (2, 40),
    reason="other C libraries round otherwise",
)
def test_the_angle_is_that_of_the_c_library_to_the_last_bit() -> None:
    random = np.random.default_rng(0)
    y, x = (random.standard_normal(100_000).astype(np.float32) for _ in range(2))
    np.testing.assert_array_equal(np.asarray(atan2(torch.from_numpy(y), torch.from_numpy(x))), np.arctan2(y, x))


def test_what_is_missing_stays_missing_and_axes_are_told_apart() -> None:
    nan = float("nan")
    angles = in_torch([nan, 0, 0, 0, 1, -1], [0, nan, 1, -1, 0, 0])
    np.testing.assert_array_equal(angles, np.arctan2([nan, 0, 0, 0, 1, -1], [0, nan, 1, -1, 0, 0]).astype(np.float32))
