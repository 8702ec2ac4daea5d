from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.bench.results import (
    BARS,
    EFFICIENCY,
    VERSUS_STATELESS,
    VERSUS_STATIC,
    VERSUS_STATIC_WHOLE,
    WORKER_MEMORY,
    Bar,
    EngineTimes,
    Measurement,
    Round,
    Spread,
    judge,
    quantities,
)

ENGINE = EngineTimes(networks=25.0, crops=3.0, rest=1.0, decode=1.2, write=0.3)


def measured(rate: float, whole: float = 10.0, memory: float = 300.0) -> Measurement:
    return Measurement(frames=100, steady_seconds=100 / rate, wall_seconds=100 / whole, peak_memory_mb=memory)


def test_ratios_are_taken_within_a_round_so_that_a_slow_minute_hits_both_sides() -> None:
    quiet = Round(measured(60), ENGINE, static=measured(30), stateless=measured(15))
    busy = Round(measured(30), ENGINE, static=measured(15), stateless=measured(7.5))
    found = quantities([quiet, busy, busy], workers=2)
    for name, ratio in ((VERSUS_STATIC, 2.0), (VERSUS_STATELESS, 4.0)):
        assert (found[name].median, found[name].low, found[name].high) == pytest.approx((ratio, ratio, ratio))


def test_the_whole_command_is_compared_by_its_own_time() -> None:
    found = quantities([Round(measured(60, whole=8), ENGINE, static=measured(30, whole=16))], workers=2)
    assert found[VERSUS_STATIC_WHOLE].median == pytest.approx(0.5)


def test_efficiency_is_one_when_every_worker_does_nothing_but_run_networks() -> None:
    found = quantities([Round(measured(2 * 1000 / ENGINE.networks), ENGINE)], workers=2)
    assert found[EFFICIENCY].median == pytest.approx(1.0)


def test_what_was_not_measured_has_no_quantity_and_no_verdict() -> None:
    found = quantities([Round(measured(60), ENGINE)], workers=2)
    assert set(found) == {WORKER_MEMORY, EFFICIENCY}
    assert {verdict.bar.quantity: verdict.met for verdict in judge(found)} == {
        VERSUS_STATIC: None,
        VERSUS_STATELESS: None,
        WORKER_MEMORY: True,
    }


@pytest.mark.parametrize(
    ("ours", "memory", "met"),
    [(37.5, 450.0, (True, True, True)), (37.4, 450.1, (False, True, False)), (34.4, 100.0, (False, False, True))],
)
def test_a_bar_is_met_at_its_limit(ours: float, memory: float, met: tuple[bool, ...]) -> None:
    one = Round(measured(ours, memory=memory), ENGINE, static=measured(30), stateless=measured(15))
    assert tuple(verdict.met for verdict in judge(quantities([one], workers=2))) == met


def test_the_bars_are_those_that_were_promised() -> None:
    assert [(bar.quantity, bar.sense, bar.limit) for bar in BARS] == [
        (VERSUS_STATIC, "at least", 1.25),
        (VERSUS_STATELESS, "at least", 2.3),
        (WORKER_MEMORY, "at most", 450.0),
    ]


@given(st.lists(st.floats(0.01, 1000), min_size=1, max_size=9))
def test_a_spread_encloses_its_median(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread.low <= spread.median <= spread.high
    assert {spread.low, spread.high} <= set(values)


@given(st.floats(0, 1000), st.floats(0, 1000))
def test_at_least_and_at_most_disagree_except_at_the_limit(value: float, limit: float) -> None:
    verdicts = Bar("x", "at least", limit).met_by(value), Bar("x", "at most", limit).met_by(value)
    assert verdicts == ((True, True) if value == limit else (value > limit, value < limit))
