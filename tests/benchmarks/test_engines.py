from __future__ import annotations

import inspect
from collections import defaultdict

import pytest

from benchmarks.ceiling import NETWORKS
from benchmarks.engines import WATCHED, FrameTimes, network_rates, watch
from phoenix_ray.models.holistic.networks import Networks


class Calculator:
    def double(self, values: list[int]) -> list[int]:
        return [2 * value for value in values]

    def fail(self) -> None:
        raise ValueError("no")


def test_watched_functions_give_what_they_gave_and_are_put_back() -> None:
    before = Calculator.double
    seconds: dict[str, float] = defaultdict(float)
    items: dict[str, int] = defaultdict(int)
    with watch(Calculator, {"double": "arithmetic", "fail": "arithmetic"}, seconds, items):
        assert Calculator().double([21, 4, 0]) == [42, 8, 0]
        with pytest.raises(ValueError, match="no"):
            Calculator().fail()
        assert seconds["arithmetic"] > 0
        assert items == {"arithmetic": 3}
    assert Calculator.double is before


def test_watched_functions_are_put_back_after_a_failure() -> None:
    before = Calculator.double
    with pytest.raises(KeyError), watch(Calculator, {"double": "arithmetic"}, {}, {}):
        raise KeyError
    assert Calculator.double is before


def test_every_network_of_the_pipeline_is_timed() -> None:
    assert set(NETWORKS) == {name for name, _ in inspect.getmembers(Networks, inspect.isfunction) if name[0] != "_"}


def test_all_that_is_timed_exists() -> None:
    for owner, names in WATCHED:
        assert all(callable(getattr(owner, name)) for name in names)


def test_a_frame_is_the_sum_of_its_parts() -> None:
    times = FrameTimes({"pose_detection": 10.0, "pose_landmark": 14.0}, 3.0, 1.0, 1.5, 0.5, 400.0, {})
    assert (times.in_networks, times.whole) == (24.0, 30.0)


def test_a_networks_rate_counts_the_crops_that_it_saw_in_its_best_round() -> None:
    rounds = [
        FrameTimes(
            {"hand_landmark": ms, "face_landmark": 0.0}, 0, 0, 0, 0, 0, {"hand_landmark": 0.5, "face_landmark": 0}
        )
        for ms in (4.0, 2.0)
    ]
    assert network_rates(rounds, {"hand_landmark": 0.4e9, "face_landmark": 1e9}) == {"hand_landmark": 100.0}
