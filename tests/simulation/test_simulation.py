"""The short form of `make simulate`: small scenarios to their end, large ones at random, and the mutants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.simulation import drop_scenarios, scenarios
from tests.simulation.explorer import Explorer, Scenario, ViolationError
from tests.simulation.mutants import DROP_MUTANTS, LOSS, MUTANTS, RETURN, Mutant
from tests.simulation.scenarios import simulated

pytestmark = pytest.mark.slow

Make = Callable[..., Scenario]

SMALL: list[tuple[Make, dict[str, Any]]] = [
    (scenarios.two_publish, {"crashes": 1}),
    (scenarios.publish_beside_sweep, {"crashes": 0}),
    (scenarios.publish_beside_sweep, {"crashes": 1}),
    (scenarios.reader_beside_rewriting, {"torn": False}),
    (scenarios.reader_beside_upgrade, {"crashes": 1}),
    (drop_scenarios.drop_beside_reader, {}),
    (scenarios.reader_beside_conversion, {"crashes": 1}),
]
LARGE: list[tuple[Make, dict[str, Any]]] = [
    (scenarios.two_publish, {"crashes": 2, "torn": True}),
    (scenarios.two_publish_the_same, {"crashes": 2}),
    (scenarios.two_drivers, {"crashes": 2, "torn": True}),
    (scenarios.two_convert, {"crashes": 2, "torn": True}),
    (scenarios.driver_beside_publish, {"crashes": 2}),
    (scenarios.sweeps_without_manifest, {"crashes": 2}),
    (scenarios.repair_beside_publish, {"crashes": 2}),
    (scenarios.workers_beside_compaction, {"crashes": 2, "torn": True}),
    (scenarios.changed_video, {"crashes": 2}),
    (scenarios.slow_publisher, {}),
    (scenarios.slow_sweeper, {"crashes": 1}),
    (scenarios.publishing_thrice, {"crashes": 1}),
    (scenarios.reader_beside_two, {"torn": True}),
    (drop_scenarios.drop_beside_publish, {"crashes": 2}),
    (drop_scenarios.drop_beside_compaction, {"crashes": 1, "torn": True}),
    (drop_scenarios.drop_beside_sweep, {"crashes": 2}),
    (drop_scenarios.drop_beside_reader, {"torn": True}),
    (drop_scenarios.two_drops, {"crashes": 2}),
]
SEED, SAMPLE = 0, 60


@pytest.fixture(autouse=True)
def _simulated() -> Iterator[None]:
    with simulated():
        yield


def name_of(argument: Make | dict[str, Any]) -> str:
    """Return the name of a scenario, or its choices: the same in every process."""
    return str(argument) if isinstance(argument, dict) else argument.__name__


@pytest.mark.parametrize(("make", "choices"), SMALL, ids=name_of)
def test_no_schedule_loses_a_row_or_shows_it_twice(make: Make, choices: dict[str, Any]) -> None:
    report = Explorer(make(**choices)).explore()
    assert report.complete
    assert report.schedules > 1_000_000, report
    print(report)


@pytest.mark.parametrize("crashes", [0, 1])
def test_no_schedule_of_a_drop_beside_a_worker_brings_the_row_back(crashes: int) -> None:
    report = Explorer(drop_scenarios.drop_beside_worker(crashes)).explore()
    assert report.complete
    assert report.schedules > 50, report


@pytest.mark.parametrize(("make", "choices"), LARGE, ids=name_of)
def test_no_random_schedule_loses_a_row_or_shows_it_twice(make: Make, choices: dict[str, Any]) -> None:
    report = Explorer(make(**choices)).sample(SEED, SAMPLE)
    assert report.schedules > SAMPLE // 2, report
    print(report)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_simulation_finds_each_mistake(mutant: Mutant) -> None:
    explorer = Explorer(mutant.scenario())
    with mutant.applied(), pytest.raises(ViolationError, match=LOSS):
        explorer.sample(SEED, 4000)


@pytest.mark.parametrize("mutant", DROP_MUTANTS, ids=lambda mutant: mutant.name)
def test_the_simulation_finds_each_way_to_bring_a_dropped_row_back(mutant: Mutant) -> None:
    explorer = Explorer(mutant.scenario())
    with mutant.applied(), pytest.raises(ViolationError, match=RETURN):
        explorer.sample(SEED, 4000)
