"""A few of the faults of `make chaos`, one of each kind, with one seed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.laboratory import Laboratory, on_this_machine, open_laboratory
from tests.chaos.matrix import TRIALS, Trial
from tests.chaos.trials import attempt, describe

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

CORE = (
    "driver killed: between write and rename of the manifest",
    "worker killed: between write and rename",
    "segmentation fault on one frame: inference, always",
    "node killed: among commits",
)


@pytest.fixture(scope="module")
def laboratory() -> Iterator[Laboratory]:
    with open_laboratory(on_this_machine) as laboratory:
        yield laboratory


@pytest.mark.parametrize("trial", [trial for trial in TRIALS if trial.name in CORE], ids=lambda trial: trial.name)
def test_no_row_is_lost_or_comes_twice(laboratory: Laboratory, trial: Trial) -> None:
    outcome = attempt(laboratory, trial, seed=0)
    assert outcome.passed, describe(outcome)


def test_the_core_names_trials() -> None:
    assert set(CORE) <= {trial.name for trial in TRIALS}


def test_there_are_at_least_25_faults() -> None:
    assert len({(trial.fault, trial.point) for trial in TRIALS}) == len(TRIALS) >= 25
