"""Every fault of a store and of the way to it, once, on a real S3 gateway.

`python -m tests.chaos --bucket` tries each several times, and the faults of processes and nodes too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.bucket import TRIALS, BucketLaboratory
from tests.chaos.laboratory import Laboratory, open_laboratory
from tests.chaos.matrix import Trial
from tests.chaos.trials import attempt, describe
from tests.clusters.s3.gateway import why_not

pytestmark = [pytest.mark.slow, pytest.mark.cluster]


@pytest.fixture(scope="module")
def laboratory(_asked_for: None) -> Iterator[Laboratory]:
    if reason := why_not():
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
            # Set by the laboratory; put back when it is closed.
            patch.setenv(name, "")
        with open_laboratory(BucketLaboratory) as running:
            yield running


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: trial.name)
def test_no_row_is_lost_or_comes_twice(laboratory: Laboratory, trial: Trial) -> None:
    outcome = attempt(laboratory, trial, seed=0)
    assert outcome.passed, describe(outcome)
