"""The suite `job`: the command through Ray, from start-up to a compacted dataset, then again with nothing to do."""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks import waterfall
from benchmarks.ceiling import measure_ceiling
from benchmarks.contestants import in_scratch, own_environment, run_command, run_ours, write_command
from benchmarks.engines import FrameTimes, network_rates, time_worker
from benchmarks.frames import BenchmarkFrames
from benchmarks.report import Findings
from benchmarks.results import Measurement, Rounds
from benchmarks.suites import Request
from benchmarks.table import Table
from benchmarks.waterfall import Step
from phoenix_ray.errors import PhoenixRayError

POLL_SECONDS = 0.02
START_UP_DEADLINE_SECONDS = 180.0
WATERFALL = "waterfall.png"
SHARES = ("decode", "inference", "write", "idle")


def run(request: Request) -> Findings:
    """Measure one worker alone, the command with one and with all workers, its first commit, and its resume."""
    frames = request.frames
    alone: list[FrameTimes] = []
    runs: dict[int, list[Measurement]] = defaultdict(list)
    first: list[float] = []
    resume: list[float] = []
    for number in range(1, request.rounds + 1):
        alone.append(in_scratch(request.output, partial(time_worker, frames)))
        for workers in sorted({1, request.workers}):
            runs[workers].append(in_scratch(request.output, partial(run_ours, frames, workers, request.passes)))
        commit_seconds, resume_seconds = in_scratch(request.output, partial(_start_and_resume, frames, request.workers))
        first.append(commit_seconds)
        resume.append(resume_seconds)
        rates = ", ".join(f"{count} workers {measured[-1].steady_rate:.1f}" for count, measured in runs.items())
        request.announce(f"round {number}: frames/s: {rates}; first commit after {commit_seconds:.1f} s")
    efficiency = {
        count: Rounds.of(
            measurement.steady_rate * worker.whole / 1000 / count
            for measurement, worker in zip(measured, alone, strict=True)
        )
        for count, measured in runs.items()
    }
    quantities = {
        "frames/s through Ray ÷ one worker alone ÷ workers": efficiency[request.workers],
        "seconds from the command to the first committed video": Rounds.of(first),
    }
    raw = {
        "alone": [asdict(worker) for worker in alone],
        "runs": {count: [asdict(measurement) for measurement in measured] for count, measured in runs.items()},
        "first_commit_seconds": first,
        "resume_seconds": resume,
    }
    fall = _waterfall(alone, runs[request.workers], request.workers)
    tables = [_rates(runs, efficiency), _moments(runs[request.workers], first, resume), waterfall.to_table(fall)]
    pictures = [WATERFALL] if waterfall.draw(fall, request.output / WATERFALL) else []
    described = f"{frames}, {request.passes} times"
    return Findings(described, request.rounds, tables, quantities, _notes(), pictures, raw)


def _start_and_resume(frames: BenchmarkFrames, workers: int, scratch: Path) -> tuple[float, float]:
    """Return the seconds from the command's start to its first commit, and the seconds of the same command again."""
    command, output = write_command(frames, workers, 1, scratch)
    began = time.perf_counter()
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=own_environment())
    try:
        while not any(path.name[0].isdigit() for path in output.glob("partitions/**/*.parquet")):
            if process.poll() is not None or time.perf_counter() - began > START_UP_DEADLINE_SECONDS:
                raise PhoenixRayError(f"{' '.join(command)} committed nothing; see {scratch / 'log'}.")
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - began
        if process.wait():
            raise PhoenixRayError(f"{' '.join(command)} failed; see {scratch / 'log'}.")
    finally:
        process.kill()
    return seconds, run_command(command, scratch, own_environment())


def _waterfall(alone: Sequence[FrameTimes], measured: Sequence[Measurement], workers: int) -> list[Step]:
    """Return the steps in the round with the median rate, so that all were measured at about the same time."""
    middle = sorted(range(len(measured)), key=lambda number: measured[number].steady_rate)[len(measured) // 2]
    median = measured[middle]
    ceiling = measure_ceiling()
    ceiling = ceiling.raised(network_rates(alone, ceiling.operations))
    return waterfall.steps(alone[middle], ceiling, workers, median.steady_rate, median.whole_rate)


def _rates(runs: Mapping[int, Sequence[Measurement]], efficiency: Mapping[int, Rounds]) -> Table:
    rows = []
    for count, measured in runs.items():
        shares = [_shares(measurement) for measurement in measured]
        rows.append(
            (
                f"{count}",
                Rounds.of(measurement.steady_rate for measurement in measured).show(),
                efficiency[count].show(2),
                *(f"{Rounds.of(values[share] for values in shares).median:.1%}" for share in SHARES),
            )
        )
    return Table(("workers", "frames/s, steady", "÷ one alone ÷ workers", *SHARES), rows)


def _moments(measured: Sequence[Measurement], first: Sequence[float], resume: Sequence[float]) -> Table:
    ends = Rounds.of(measurement.wall_seconds - measurement.steady_seconds for measurement in measured)
    rows = [
        ("from the command to the first committed video, including Ray's start", Rounds.of(first).show()),
        ("start and end of the command, without computing but with compaction", ends.show()),
        ("the same command again, with nothing left to do", Rounds.of(resume).show()),
    ]
    return Table(("moment", "seconds"), rows)


def _shares(measurement: Measurement) -> dict[str, float]:
    timings = measurement.details["timings"]
    if not isinstance(timings, Mapping):
        raise PhoenixRayError(f"The run's summary.json has no timings: {timings!r}")
    whole = sum(timings[share] for share in SHARES)
    return {share: timings[share] / whole for share in SHARES}


def _notes() -> list[str]:
    return [
        "The limit: the operations of all networks at the highest rate of one core in this run, times the workers.",
        "One worker alone: the actor's own code without Ray, measured in the same round, on all frames once.",
        "Decode, inference, write, idle: shares of the workers' time. Decode is waiting for frames from the threads.",
    ]
