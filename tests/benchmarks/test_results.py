from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.results import Bar, Measurement, Rounds, judge, ratios, read_bars
from benchmarks.suites import SUITES, Suite


def measured(rate: float) -> Measurement:
    return Measurement(frames=100, steady_seconds=100 / rate, wall_seconds=10.0)


def test_ratios_are_taken_within_a_round_so_that_a_slow_minute_hits_both_sides() -> None:
    found = ratios([measured(60), measured(30), measured(30)], [measured(30), measured(15), measured(15)])
    assert (found.median, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))


def test_a_missing_round_gives_no_ratio() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([measured(60), measured(30)], [measured(30)])


def test_what_was_not_measured_has_no_verdict() -> None:
    bars = [Bar("speed", "at least", 2.0), Bar("memory", "at most", 450.0)]
    verdicts = judge({"memory": Rounds.of([450.0, 451.0, 449.0])}, bars)
    assert [verdict.met for verdict in verdicts] == [None, True]


def test_bars_are_read_by_suite(tmp_path: Path) -> None:
    file = tmp_path / "bars.yaml"
    file.write_text("one: {speed: {at_least: 2}}\ntwo: {memory: {at_most: 3.5}, size: {at_least: 1, at_most: 2}}\n")
    assert read_bars("one", file) == [Bar("speed", "at least", 2)]
    assert read_bars("two", file)[1:] == [Bar("size", "at least", 1), Bar("size", "at most", 2)]
    assert read_bars("three", file) == []


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_every_suite_has_bars_that_can_be_met(suite: Suite) -> None:
    bars = read_bars(suite.name)
    assert bars
    assert all(bar.met_by(bar.limit) for bar in bars)


@given(st.lists(st.floats(0.01, 1000), min_size=1, max_size=9))
def test_a_spread_encloses_its_median(values: list[float]) -> None:
    spread = Rounds.of(values)
    assert spread.low <= spread.median <= spread.high
    assert {spread.low, spread.high} <= set(values)


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_at_least_and_at_most_disagree_except_at_the_limit(value: float, limit: float) -> None:
    verdicts = Bar("x", "at least", limit).met_by(value), Bar("x", "at most", limit).met_by(value)
    assert verdicts == ((True, True) if value == limit else (value > limit, value < limit))


def test_a_spread_without_width_is_one_number() -> None:
    assert Rounds(1.5, 1.5, 1.5).show(2) == "1.50"
    assert Rounds(1.5, 1.2, 1.7).show() == "1.5 (1.2 to 1.7)"
