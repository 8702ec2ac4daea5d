from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.sources.lookahead import lookahead
from tests.sources.made_up import no_thread_left


@given(count=st.integers(0, 30), threads=st.integers(1, 5), ahead=st.integers(1, 40))
def test_results_come_in_order_once_and_never_further_ahead_than_asked(count: int, threads: int, ahead: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(count):
            taken += 1
            yield item

    results = []
    for result in lookahead(lambda item: item * item, items(), threads, ahead):
        results.append(result)
        assert min(count, ahead) <= taken <= len(results) + ahead - 1
    assert results == [item * item for item in range(count)]


def test_what_is_quick_waits_for_what_is_slow_before_it() -> None:
    def wait(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    assert list(lookahead(wait, [0.05, 0.0, 0.02, 0.0], threads=4, ahead=4)) == [0.05, 0.0, 0.02, 0.0]


def test_an_error_is_raised_in_the_place_of_its_result() -> None:
    with no_thread_left():
        results = lookahead(lambda item: 12 // item, [3, 2, 0, 1], threads=2, ahead=4)
        assert next(results) == 4
        assert next(results) == 6
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_closing_early_leaves_no_thread_and_begins_nothing_more() -> None:
    begun: list[int] = []
    with no_thread_left():
        results = lookahead(begun.append, range(1000), threads=2, ahead=1000)
        next(results)
        results.close()
        at_close = len(begun)
        time.sleep(0.02)
    assert len(begun) == at_close < 1000
