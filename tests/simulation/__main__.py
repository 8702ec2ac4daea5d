"""`make simulate`: every scenario to its end, or as far as its share of states reaches, and some schedules at random.

Exit code 1 when a row was lost or seen twice, or anything else did not hold; the schedule is printed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import product

import click

from tests.simulation import drop_scenarios, scenarios
from tests.simulation.explorer import Explorer, Report, Scenario, ViolationError

ALL: tuple[Callable[..., Scenario], ...] = (
    scenarios.two_publish,
    scenarios.two_publish_the_same,
    scenarios.publish_beside_sweep,
    scenarios.driver_beside_publish,
    scenarios.two_drivers,
    scenarios.sweeps_without_manifest,
    scenarios.reader_beside_rewriting,
    scenarios.reader_beside_two,
    scenarios.reader_beside_upgrade,
    scenarios.slow_publisher,
    scenarios.slow_sweeper,
    scenarios.publishing_thrice,
    scenarios.repair_beside_publish,
    scenarios.workers_beside_compaction,
    scenarios.changed_video,
    scenarios.recomputed_meanwhile,
    drop_scenarios.drop_beside_publish,
    drop_scenarios.drop_beside_compaction,
    drop_scenarios.drop_beside_sweep,
    drop_scenarios.drop_beside_reader,
    drop_scenarios.drop_beside_worker,
    drop_scenarios.two_drops,
)


@click.command()
@click.option("--states", default=400_000, show_default=True, help="States of a scenario at most.")
@click.option("--sample", default=300, show_default=True, help="Random schedules of a scenario that is not complete.")
@click.option("--seed", default=0, show_default=True, help="Of the random schedules.")
@click.option("--crashes", default=2, show_default=True, help="Crashes of a schedule at most.")
@click.option("--only", default="", help="Only scenarios whose name contains this.")
def main(states: int, sample: int, seed: int, crashes: int, only: str) -> None:
    """Explore every scenario with 0 to `--crashes` crashes, its listings in one step or in several."""
    began = time.monotonic()
    reports: list[Report] = []
    samples: list[Report] = []
    with scenarios.simulated():
        for make, number, torn in product(ALL, range(crashes + 1), (False, True)):
            if only not in make.__name__:
                continue
            explorer = Explorer(make(crashes=number, torn=torn))
            try:
                reports.append(explorer.explore(states))
                print(f"{reports[-1]}; {number} crashes, {'torn' if torn else 'whole'} listings", flush=True)
                if not reports[-1].complete:
                    samples.append(explorer.sample(seed, sample))
                    print(samples[-1], flush=True)
            except ViolationError as error:
                print(error)
                sys.exit(1)
    complete = [report for report in reports if report.complete]
    print(
        f"{sum(report.schedules for report in reports):,} schedules, "
        f"{sum(report.states for report in reports):,} states, "
        f"{sum(report.runs for report in (*reports, *samples)):,} runs of the code, no violation; {len(complete)} of "
        f"{len(reports)} explorations are complete, {sum(report.schedules for report in samples):,} schedules were "
        f"random; {(time.monotonic() - began) / 60:.0f} min"
    )


if __name__ == "__main__":
    main()
