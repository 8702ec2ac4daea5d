"""`python -m benchmarks`: how fast phoenix_ray is, beside which tools, and how far from the machine's limits."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchmarks.benchmark import run_suites
from benchmarks.suites import SUITES, Request
from phoenix_ray.errors import PhoenixRayError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("suites", nargs=-1, metavar="[SUITE]...")
@click.option("--source", type=click.Path(path_type=Path), help="Folders of frames. Default: the sample videos.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Repeats of everything.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes of each contestant."
)
@click.option(
    "--passes",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="How often each frame is computed in a round, so that its ends weigh little.",
)
@click.option("--peers/--no-peers", default=True, help="Install and measure other programs too.")
@click.option(
    "--videos",
    type=click.IntRange(min=1),
    default=1_000_000,
    show_default=True,
    help="Size of the largest dataset of the suite scale, which is staged once and kept.",
)
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("bench-results"), show_default=True, help="Folder."
)
@click.option(
    "--environments",
    type=click.Path(path_type=Path),
    default=Path(".venv-peers"),
    show_default=True,
    help="Folder for an environment of each peer; kept for the next time.",
)
@click.option("--list", "listed", is_flag=True, help="Say what the suites are, and measure nothing.")
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

    Runs the suites that are named; without a name all that can run on this machine. Writes SUITE.md and SUITE.json into
    the output folder; docs/performance.md says how to read them.

    \b
    Exit codes:
      0  every bar that was measured is met
      1  a bar is missed
      2  a suite is not known, or an environment cannot be made; other errors have the code of their kind, also that
         a named suite cannot run on this machine
    """
    if listed:
        for suite in SUITES:
            click.echo(f"{suite.name:10} {suite.description}")
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
