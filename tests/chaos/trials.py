"""One trial after the other: disturb a run, run again undisturbed, judge.

`python -m tests.chaos` tries all of them with several random seeds; `test_chaos` tries a few.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from random import Random

from tests.chaos.laboratory import Judgement, Laboratory, judge
from tests.chaos.matrix import Trial, expect


@dataclass(frozen=True)
class Outcome:
    """A trial that was tried with one seed.

    Attributes:
        trial: What.
        seed: With which random choices.
        judgement: Of the dataset in the end.
        seconds: To recover: the rerun, or what the disturbed run took longer than an undisturbed one.
    """

    trial: Trial
    seed: int
    judgement: Judgement
    seconds: float

    @property
    def passed(self) -> bool:
        return not (self.judgement.lost or self.judgement.twice or self.judgement.complaints)


def attempt(laboratory: Laboratory, trial: Trial, seed: int) -> Outcome:
    """Try a fault; what the disturbed run does wrong is part of the judgement."""
    output = laboratory.new_output("trial")
    began = time.monotonic()
    try:
        aftermath = trial.disturb(laboratory, Random(f"{trial.name} {seed}"), output)
        disturbed = time.monotonic() - began
        rerun = laboratory.start(output)
        expect(rerun, 0)
        seconds = max(0.0, disturbed - laboratory.clean_seconds)
        if not aftermath.survived:
            seconds = time.monotonic() - began - disturbed
        judgement = judge(laboratory, output, aftermath.flagged)
        if aftermath.survived and " 0 frames to compute" not in rerun.said():
            judgement = Judgement(judgement.lost, judgement.twice, (*judgement.complaints, "the rerun found work"))
    except AssertionError as error:
        judgement, seconds = Judgement(0, 0, (str(error),)), time.monotonic() - began
    laboratory.renew_nodes()
    outcome = Outcome(trial, seed, judgement, seconds)
    if outcome.passed:
        laboratory.dispose(output)
    return outcome


def describe(outcome: Outcome) -> str:
    """Return an outcome in a line, with what is wrong below it."""
    verdict = "ok    " if outcome.passed else "FAILED"
    wrong = "".join(f"\n    {complaint}" for complaint in outcome.judgement.complaints)
    return f"{verdict} {outcome.seconds:5.1f} s  {outcome.trial.name} (seed {outcome.seed}){wrong}"
