"""`make chaos`: every fault with several seeds, and the table for `docs/guarantees.md` in `chaos-results/chaos.md`.

Exit code 1 when a row was lost, came twice, or anything else was not as it should be.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median

import click

from tests.chaos import bucket, hosts, matrix, network
from tests.chaos.laboratory import Laboratory, on_this_machine, open_laboratory
from tests.chaos.matrix import Trial
from tests.chaos.trials import Outcome, attempt, describe
from tests.clusters.s3 import gateway

RESULTS = Path("chaos-results")


@click.command()
@click.option("--seeds", default=3, show_default=True, help="How often each fault is tried.")
@click.option("--only", default="", help="Only faults whose name contains this.")
@click.option(
    "--bucket", "in_bucket", is_flag=True, help="Write to a real S3 gateway, with its faults too, and not to folders."
)
def main(seeds: int, only: str, in_bucket: bool) -> None:
    """Try every fault at its crash point."""
    began = time.monotonic()
    laboratories = in_a_bucket() if in_bucket else in_folders()
    outcomes: list[Outcome] = []
    RESULTS.mkdir(exist_ok=True)
    for make, trials in laboratories:
        chosen = [trial for trial in trials if only in trial.name]
        if not chosen:
            continue
        with open_laboratory(make) as laboratory:
            for trial, seed in product(chosen, range(seeds)):
                outcomes.append(attempt(laboratory, trial, seed))
                print(describe(outcomes[-1]), flush=True)
                (RESULTS / "chaos.md").write_text(to_markdown(outcomes))
            print(f"An undisturbed run takes {laboratory.clean_seconds:.0f} s.")
    failed = sum(not outcome.passed for outcome in outcomes)
    minutes = (time.monotonic() - began) / 60
    faults = len({outcome.trial for outcome in outcomes})
    print(f"{len(outcomes)} runs of {faults} faults in {minutes:.0f} min, {failed} failed: {RESULTS}/chaos.md")
    sys.exit(failed > 0)


def in_folders() -> list[tuple[Callable[[], Laboratory], Sequence[Trial]]]:
    """Return the laboratories whose runs write to folders, and what is tried there."""
    laboratories: list[tuple[Callable[[], Laboratory], Sequence[Trial]]] = [
        (on_this_machine, matrix.TRIALS),
        (partial(on_this_machine, "tracking"), matrix.CHAIN_TRIALS),
    ]
    if reason := hosts.why_not():
        print(f"Faults of the network are left out: {reason}.")
    else:
        laboratories.append((network.NetworkLaboratory, network.TRIALS))
    return laboratories


def in_a_bucket() -> list[tuple[Callable[[], Laboratory], Sequence[Trial]]]:
    """Return the laboratories whose runs write to a bucket, and what is tried there."""
    if reason := gateway.why_not():
        sys.exit(f"There can be no S3 gateway: {reason}.")
    return [
        (bucket.BucketLaboratory, (*bucket.TRIALS, *matrix.TRIALS)),
        (partial(bucket.BucketLaboratory, "tracking"), matrix.CHAIN_TRIALS),
    ]


def to_markdown(outcomes: Sequence[Outcome]) -> str:
    """Return the table: a line for each fault, over all its seeds."""
    lines = [
        "| fault | crash point | runs tried | rows lost | rows twice | seconds to recover |",
        "|---|---|---|---|---|---|",
    ]
    for trial in dict.fromkeys(outcome.trial for outcome in outcomes):
        tried = [outcome for outcome in outcomes if outcome.trial == trial]
        lost = sum(outcome.judgement.lost for outcome in tried)
        twice = sum(outcome.judgement.twice for outcome in tried)
        wrong = sum(not outcome.passed for outcome in tried)
        runs = f"{len(tried)}" + (f" ({wrong} failed)" if wrong else "")
        seconds = median(outcome.seconds for outcome in tried)
        lines.append(f"| {trial.fault} | {trial.point} | {runs} | {lost} | {twice} | {seconds:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
