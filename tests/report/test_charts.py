from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.report.charts import bar_plot, cumulative, line_plot, value_axis
from phoenix_ray.report.markup import Element

POSITIVE = st.lists(st.floats(0, 1e9), min_size=1, max_size=30)


@given(POSITIVE)
def test_an_axis_holds_the_largest_value_between_a_few_ticks(values: list[float]) -> None:
    axis = value_axis("label", np.array(values))
    assert axis.low < axis.high
    assert axis.high >= max(values) * (1 - 1e-6)
    assert 2 <= len(axis.ticks) <= 8
    assert [axis.place(tick) for tick in (axis.low, axis.high)] == pytest.approx([0, 1])


def test_values_far_apart_get_a_logarithmic_axis() -> None:
    assert value_axis("", np.array([0.5, 1, 2, 3000])).logarithmic
    assert not value_axis("", np.array([0.5, 1, 2, 3])).logarithmic
    assert not value_axis("", np.zeros(3)).logarithmic


def test_a_curve_of_a_million_values_has_few_points_and_the_right_shares() -> None:
    points = cumulative(np.arange(1_000_000, dtype=np.float64))
    assert len(points) <= 120
    assert points[-1] == (999_999, 1)
    for value, share in points:
        assert share == pytest.approx((value + 1) / 1_000_000)


@given(POSITIVE)
def test_a_curve_stays_inside_of_its_plot(values: list[float]) -> None:
    array = np.array(values)
    plot = line_plot(value_axis("x", array), "y", {"pose": cumulative(array)})
    (curve,) = (child for child in plot if child.get("class") == "curve pose")
    xs = [float(number) for number in re.findall(r"[MH]([0-9.]+)", curve.get("d", ""))]
    assert xs == sorted(xs)
    assert xs[0] >= 58
    assert xs[-1] <= 460


def test_bars_are_as_long_as_their_shares() -> None:
    plot = bar_plot("x", [("pose", [("pose", 0.25)]), ("run", [("phase-idle", 0.5), ("phase-write", 0.5)])])
    pose, idle, write = (_rectangle(child) for child in plot if child.tag == "rect")
    assert pose[1] * 2 == pytest.approx(idle[1], abs=0.2)
    assert idle[0] + idle[1] == pytest.approx(write[0], abs=0.2)


def _rectangle(child: Element) -> tuple[float, float]:
    return float(child.get("x", "")), float(child.get("width", ""))
