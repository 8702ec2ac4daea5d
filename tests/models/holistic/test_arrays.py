from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from phoenix_ray.models.holistic.arrays import divide, scatter_rows, sum_in_order


@given(arrays.arrays(np.float32, (2, 40), elements=st.floats(-1e6, 1e6, width=32)))
def test_sum_in_order_rounds_after_each_addition(values: np.ndarray) -> None:
    expected = np.zeros(2, dtype=np.float32)
    for column in values.T:
        expected = expected + column
    np.testing.assert_array_equal(sum_in_order(values), expected)


@given(arrays.arrays(np.float32, (2, 40), elements=st.floats(-1e6, 1e6, width=32)))
def test_torch_adds_up_in_the_same_order(values: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    # Behind the boxes that count come thousands that do not.
    padded = np.pad(values, ((0, 0), (0, 1000)))
    np.testing.assert_array_equal(np.asarray(sum_in_order(torch.from_numpy(padded))), sum_in_order(values))


@given(arrays.arrays(np.float32, (1, 200), elements=st.floats(-1e6, 1e6, width=32)))
def test_more_terms_than_count_are_all_added(values: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    expected = values.astype(np.float64).sum()
    tolerance = 1e-5 * np.abs(values).sum(dtype=np.float64)
    assert abs(float(sum_in_order(torch.from_numpy(values))[0]) - expected) <= tolerance


@given(arrays.arrays(np.float32, 5, elements=st.floats(-1e6, 1e6, width=32)), st.sampled_from([0.4, 3, 192, 224]))
def test_a_division_is_rounded_once_in_each_library(values: np.ndarray, number: float) -> None:
    torch = pytest.importorskip("torch")
    expected = values / np.float32(number)
    np.testing.assert_array_equal(divide(values, number), expected)
    np.testing.assert_array_equal(np.asarray(divide(torch.from_numpy(values), number)), expected)


@given(st.lists(st.booleans(), min_size=1, max_size=8).filter(any))
def test_scattered_rows_come_back_at_their_items_and_nan_fills_the_others(flags: list[bool]) -> None:
    present = np.array(flags)
    rows = np.arange(2 * present.sum(), dtype=np.float32).reshape(-1, 2)
    scattered = scatter_rows(rows, present)
    assert scattered.dtype == np.float32
    np.testing.assert_array_equal(scattered[present], rows)
    assert np.isnan(scattered[~present]).all()
