"""`make bench`: us and MediaPipe side by side, in one run, on the same frames.

Exit code 0 when every bar that was measured is met, 1 when one is missed; an error has the code of its kind.
docs/performance.md says how to read what it prints.
"""

from __future__ import annotations

import datetime
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from phoenix_ray.bench.contestants import find_reference_python, our_settings, run_mediapipe, run_ours
from phoenix_ray.bench.engine import time_engine
from phoenix_ray.bench.frames import BenchmarkFrames, choose_source, list_frames
from phoenix_ray.bench.machine import this_machine
from phoenix_ray.bench.report import Report, to_json, to_markdown
from phoenix_ray.bench.results import Measurement, Round, judge, quantities
from phoenix_ray.config import ModelSettings
from phoenix_ray.errors import PhoenixRayError
from phoenix_ray.models import registry

EXIT_MISSED = 1
# Stateless MediaPipe rebuilds its graph for each frame; a quarter of the frames gives its rate just as well.
STATELESS_EVERY = 4

Measured = TypeVar("Measured")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--source", type=click.Path(path_type=Path), help="Folders of frames. Default: the sample videos.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each contestant.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True, help="Processes of each.")
@click.option(
    "--passes",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="How often each frame is computed in a round, so that its ends weigh little.",
)
@click.option("--peers/--no-peers", default=True, help="Measure MediaPipe too; needs `make reference`.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("bench-results"), show_default=True, help="Folder."
)
def main(source: Path | None, rounds: int, workers: int, passes: int, peers: bool, output: Path) -> None:
    """Measure phoenix_ray and MediaPipe side by side and hold the ratios against the bars."""
    try:
        report = measure(source, rounds, workers, passes, find_reference_python() if peers else None, output)
    except PhoenixRayError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    text = to_markdown(report)
    (output / "results.md").write_text(text, encoding="utf-8")
    (output / "results.json").write_text(to_json(report), encoding="utf-8")
    click.echo(f"\n{text}\nIn {output}: results.md, results.json")
    sys.exit(0 if report.passed else EXIT_MISSED)


def measure(
    source: Path | None, rounds: int, workers: int, passes: int, reference: Path | None, output: Path
) -> Report:
    """Run all rounds.

    Args:
        source: Dataset; None takes the sample videos.
        rounds: Runs of each contestant.
        workers: Processes of each.
        passes: How often each frame is computed in a round; stateless MediaPipe sees each once.
        reference: Python that has MediaPipe; None leaves it out.
        output: Folder to work in, so that datasets are written where the caller's disk is.

    Raises:
        PhoenixRayError: Something cannot be measured.
    """
    machine = this_machine()
    began = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
    registry.prepare(ModelSettings(engine="litert"), click.echo)
    frames = list_frames(choose_source(source))
    click.echo(f"{frames}; {machine.processor}, {machine.cores} cores, load {machine.load}")
    output.mkdir(parents=True, exist_ok=True)
    done = []
    for number in range(1, rounds + 1):
        click.echo(f"round {number} of {rounds}")
        done.append(_measure_round(frames, workers, passes, reference, output))
    found = quantities(done, workers)
    settings = our_settings(Path("videos.csv"), workers)
    return Report(began, machine, f"{frames}, {passes} times", workers, settings, done, found, judge(found))


def _measure_round(frames: BenchmarkFrames, workers: int, passes: int, reference: Path | None, output: Path) -> Round:
    ours = _in_scratch(output, lambda scratch: run_ours(frames, workers, passes, scratch))
    _tell("phoenix_ray", ours)
    engine = _in_scratch(output, lambda scratch: time_engine(frames, scratch))
    click.echo(f"  one worker alone: networks {engine.networks:.1f} ms a frame")
    if reference is None:
        return Round(ours, engine)
    pictures = frames.pictures * passes
    static = _in_scratch(output, lambda scratch: run_mediapipe(reference, pictures, workers, scratch, stateless=False))
    _tell("MediaPipe static", static)
    some = frames.pictures[::STATELESS_EVERY]
    stateless = _in_scratch(output, lambda scratch: run_mediapipe(reference, some, workers, scratch, stateless=True))
    _tell("MediaPipe stateless", stateless)
    return Round(ours, engine, static, stateless)


def _in_scratch(output: Path, run: Callable[[Path], Measured]) -> Measured:
    """Run a contestant in an empty folder, which is kept only when it fails."""
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=output.absolute()))
    measured = run(scratch)
    shutil.rmtree(scratch)
    return measured


def _tell(name: str, measured: Measurement) -> None:
    click.echo(f"  {name}: {measured.steady_rate:.1f} frames/s steady, {measured.whole_rate:.1f} of the whole command")


if __name__ == "__main__":
    main()
