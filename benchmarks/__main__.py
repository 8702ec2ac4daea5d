"""`python -m benchmarks` measures how fast phoenix_ray is, beside its peers and beside the machine's limits."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchmarks.benchmark import run_suites
from benchmarks.suites import SUITES, Request
from phoenix_ray.errors import PhoenixRayError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    help="Dataset of frame folders to measure on. Default: the sample videos.",
)
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="How often each measurement is repeated."
)
@click.option(
    "--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes that each contestant runs."
)
@click.option(
    "--passes",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="How often each frame is computed in a round. More make start and end of the round weigh less.",
)
@click.option("--peers/--no-peers", default=True, help="Also install and measure other programs.")
@click.option(
    "--videos",
    type=click.IntRange(min=1),
    default=1_000_000,
    show_default=True,
    help="Videos in the largest dataset of suite scale, which is written once and kept.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("bench-results"),
    show_default=True,
    help="Folder for the reports.",
)
@click.option(
    "--environments",
    type=click.Path(path_type=Path),
    default=Path(".venv-peers"),
    show_default=True,
    help="Folder with one environment for each peer, kept for the next time.",
)
@click.option("--list", "listed", is_flag=True, help="List the suites, and measure nothing.")
def bench(
    suites: tuple[str, ...],
    source: Path | None,
    rounds: int,
    workers: int,
    passes: int,
    peers: bool,
    videos: int,
    output: Path,
    environments: Path,
    listed: bool,
) -> None:
    """Measure phoenix_ray, and its peers on the same frames in the same run.

    Runs each SUITE, or, if none is named, every suite that can run on this machine. Writes SUITE.md and SUITE.json into
    the output folder; docs/performance.md says how to read them.

    \b
    Exit codes:
      0  every bar that was measured is met
      1  a bar is missed, or a measurement failed
      2  there is no such SUITE, a peer cannot be installed, or an extra is missing
      4  the frames of --source cannot be read
      5  weights cannot be installed, or SUITE needs a GPU that this machine lacks
    """
    if listed:
        for suite in SUITES:
            click.echo(f"{suite.name:13} {suite.description}")
        return
    request = Request(source, rounds, passes, workers, peers, videos, output, environments, click.echo)
    try:
        passed = run_suites(suites, request)
    except PhoenixRayError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    bench(prog_name="python -m benchmarks")
