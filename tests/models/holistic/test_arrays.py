from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from phoenix_ray.models.holistic.arrays import scatter_rows, sigmoid, square_root, sum_in_order

logits = arrays.arrays(np.float32, 5, elements=st.floats(-1000, 1000, width=32))


@given(logits)
def test_sigmoid_stays_a_probability_and_never_overflows(values: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = sigmoid(values)
    assert result.dtype == np.float32
    assert ((result >= 0) & (result <= 1)).all()
    np.testing.assert_allclose(result, 1 / (1 + np.exp(-values.astype(np.float64).clip(-700, 700))), atol=1e-7)


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


@given(arrays.arrays(np.float32, 5, elements=st.floats(0, 1e6, width=32)))
def test_square_roots_are_rounded_correctly_in_torch_too(values: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(square_root(values), np.sqrt(values))
    np.testing.assert_array_equal(np.asarray(square_root(torch.from_numpy(values))), np.sqrt(values))


@given(st.lists(st.booleans(), min_size=1, max_size=8).filter(any))
def test_scattered_rows_come_back_at_their_items_and_nan_fills_the_others(flags: list[bool]) -> None:
    present = np.array(flags)
    rows = np.arange(2 * present.sum(), dtype=np.float32).reshape(-1, 2)
    scattered = scatter_rows(rows, present)
    assert scattered.dtype == np.float32
    np.testing.assert_array_equal(scattered[present], rows)
    assert np.isnan(scattered[~present]).all()
