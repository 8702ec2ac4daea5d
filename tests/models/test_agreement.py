from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.layouts import COCO_17
from phoenix_ray.models.agreement import ErrorDistribution, agree

errors = st.lists(st.just(0.0) | st.floats(1e-9, 1e5), min_size=1, max_size=200)


def distribution(values: list[float]) -> ErrorDistribution:
    return ErrorDistribution.of(np.array(values))


@given(errors)
def test_quantiles_are_upper_bounds_within_a_hundredth(values: list[float]) -> None:
    found = distribution(values)
    for share, quantile in ((0.5, found.median), (0.99, found.p99)):
        true = float(np.quantile(values, share, method="inverted_cdf"))
        assert true * (1 - 1e-9) <= quantile <= true * 1.0101 + 1e-10


@given(errors, errors)
def test_distributions_add_up_to_that_of_all_values(one: list[float], other: list[float]) -> None:
    together, added = distribution([*one, *other]), distribution(one) + distribution(other)
    assert added.count == together.count
    assert added.maximum == together.maximum == max(*one, *other)
    assert added.mean == pytest.approx(np.mean([*one, *other]))
    assert (added.median, added.p99) == (together.median, together.p99)


def test_no_error_at_all_is_exactly_zero() -> None:
    nothing = distribution([0.0] * 5)
    assert (nothing.mean, nothing.median, nothing.p99, nothing.maximum) == (0, 0, 0, 0)


def test_what_is_there_on_one_side_only_is_infinitely_far_and_still_plain_json() -> None:
    found = distribution([0.0, np.inf])
    assert found.p99 == np.inf
    assert found.median == 0
    assert json.loads(json.dumps(found.to_json(), allow_nan=False)) == {
        "mean": None,
        "median": 0.0,
        "p99": None,
        "maximum": None,
    }


def test_values_beyond_all_bins_are_told_by_their_maximum() -> None:
    assert distribution([3e7]).median == 3e7
    assert distribution([1e-12]).median == 1e-12


def test_points_that_both_sides_miss_alone_say_nothing_of_how_near_the_others_are() -> None:
    part = COCO_17.part("pose")
    reference = np.full((4, 17, 3), 0.5, np.float32)
    reference[:, :16, :2] = np.nan
    candidate = reference + np.array([0.01, 0, 0.25], np.float32)
    agreement = agree(part, np.full((4, 2), 100, np.int32), reference, candidate)
    assert (agreement.both, agreement.errors["xy px"].count, agreement.errors["confidence"].count) == (4, 4, 4 * 17)
    assert agreement.errors["xy px"].mean == pytest.approx(1, rel=1e-5)
    assert agreement.errors["confidence"].mean == 0.25
