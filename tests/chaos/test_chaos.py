"""A few of the faults of `make chaos`, one of each kind and all of mode tracking, with one seed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.chaos.laboratory import Laboratory, on_this_machine, open_laboratory
from tests.chaos.matrix import CHAIN_TRIALS, TRIALS, Trial
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


@pytest.fixture(scope="module")
def tracking_laboratory() -> Iterator[Laboratory]:
    with open_laboratory(partial(on_this_machine, "tracking")) as laboratory:
        yield laboratory


@pytest.mark.parametrize("trial", CHAIN_TRIALS, ids=lambda trial: trial.name)
def test_a_chain_goes_on_with_the_same_bits(tracking_laboratory: Laboratory, trial: Trial) -> None:
    outcome = attempt(tracking_laboratory, trial, seed=0)
    assert outcome.passed, describe(outcome)


def test_the_core_names_trials() -> None:
    assert set(CORE) <= {trial.name for trial in TRIALS}


def test_there_are_at_least_25_faults() -> None:
    assert len({(trial.fault, trial.point) for trial in TRIALS}) == len(TRIALS) >= 25
