"""Measures Holistic in torch on a device: order of sums, landmarks against the CPU's, speed beside the limits, kernels.

    python -m benchmarks.gpu --weights DIR [--frames FOLDER] [--references FOLDER] [--minutes 8] --out DIR

It runs five steps in this order, each in a process of its own, so that a kernel that breaks the device's context ends
one step alone: compile, probe, parity, speed, profile. `gpu.md` and `gpu.json` are written anew after each table, so
that a program that is stopped leaves what it has measured; they list what there was no time for.

It needs torch and LiteRT's description of `.tflite` files, but neither Ray nor MediaPipe nor LiteRT itself.
`benchmarks.gpu_pack` packs it with all that it needs for a machine with little installed. The suite `gpu` of `python -m
benchmarks` measures the same. docs/engines.md says how to read the page.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, get_args

import click
import torch

from benchmarks.gpu_cases import CASES, cases_named
from benchmarks.gpu_conditions import take_conditions
from benchmarks.gpu_frames import read_frames
from benchmarks.gpu_task import CPU_BATCH_SIZES, GPU_BATCH_SIZES, GpuTask, Record
from benchmarks.machine import this_machine
from phoenix_ray.errors import PhoenixRayError
from phoenix_ray.models.holistic.torch_engine.device import choose_device
from phoenix_ray.setting_types import Precision

# Each step, and the share of the time after which it begins no measurement.
STEPS = {"compile": 0.15, "probe": 0.3, "parity": 0.55, "speed": 0.92, "profile": 1.0}
# Seconds after its deadline at which a step is stopped: a measurement that has begun may end.
GRACE = 45.0
# Defaults: most frames, minutes after which no measurement is begun, least seconds for one measurement.
MOST_FRAMES = 512
MINUTES = 8.0
LEAST_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line, by their names there."""

    weights: Path
    frames: Path | None
    limit: int
    references: Path | None
    out: Path
    seconds: float
    device: str
    precisions: tuple[Precision, ...]
    batch_sizes: tuple[int, ...]
    cases: tuple[str, ...]
    threads: int | None
    commit: str | None

    def arguments(self) -> Iterator[str]:
        """Yield the arguments that give these options to another process."""
        folders = {"--weights": self.weights, "--frames": self.frames, "--references": self.references}
        texts = {"--out": self.out, "--device": self.device, "--commit": self.commit}
        numbers = {"--limit": self.limit, "--seconds": self.seconds, "--threads": self.threads}
        for name, value in (folders | texts | numbers).items():
            if value is not None:
                yield from (name, str(value))
        repeated = {"--precision": self.precisions, "--batch-size": self.batch_sizes, "--case": self.cases}
        for name, values in repeated.items():
            for value in values:
                yield from (name, str(value))

    def task(self) -> GpuTask:
        """Return what is to be measured.

        Raises:
            ModelError: The machine lacks the device.
            SourceError: There is no picture.
        """
        device = choose_device(self.device)
        on_gpu = device.type == "cuda"
        threads = self.threads or this_machine().cores
        if device.type == "cpu":
            torch.set_num_threads(threads)
        return GpuTask(
            weights=self.weights,
            frames=read_frames(self.frames, self.limit),
            device=device,
            threads=threads,
            least_seconds=self.seconds,
            precisions=self.precisions or (get_args(Precision) if on_gpu else ("exact",)),
            batch_sizes=self.batch_sizes or (GPU_BATCH_SIZES if on_gpu else CPU_BATCH_SIZES),
            cases=cases_named(self.cases),
            references=self.references,
        )


def run_step(name: str, task: GpuTask, record: Record) -> None:
    """Run a step in this process."""
    import_module(f"benchmarks.gpu_{name}").run(task, record)


def run_steps(options: Options, minutes: float) -> None:
    """Run all steps, each in a process of its own, and write what they print into files of their names.

    Raises:
        PhoenixRayError: What the steps need is missing.
    """
    began = time.time()
    begin(options)
    for name, share in STEPS.items():
        deadline = began + 60 * minutes * share
        step = ["--step", name, "--until", str(deadline)]
        command = [sys.executable, "-m", "benchmarks.gpu", *options.arguments(), *step]
        left = max(deadline - time.time(), 0.0) + GRACE
        with (options.out / f"{name}.log").open("w", encoding="utf-8") as log:
            code = run_process(command, log, left)
        ended = f"ended with exit code {code}" if code else f"was stopped {GRACE:.0f} s after its time was up"
        click.echo(f"{name}: {time.time() - began:.0f} s since the start", err=True)
        if code != 0:
            lines = (options.out / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines()
            Record.resume(options.out, deadline).leave_out(f"{name}: the step {ended}: {lines[-1] if lines else ''}")
            click.echo("\n".join(lines[-20:]), err=True)


def run_process(command: Sequence[str], log: IO[str], seconds: float) -> int | None:
    """Run a program and return its exit code; None where it took longer, and then it and its children are killed."""
    process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Children that it has left behind would disturb the next step.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def begin(options: Options) -> None:
    """Write the first page: conditions alone."""
    task = options.task()
    record = Record(options.out, time.time())
    record.results.conditions = take_conditions(task.device, task.frames, task.threads, options.commit)
    record.save()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--weights", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the .tflite files."
)
@click.option(
    "--frames",
    type=click.Path(path_type=Path),
    help="Folder tree of pictures; pictures of one folder are a video. Default: the samples.",
)
@click.option("--limit", type=click.IntRange(min=1), default=MOST_FRAMES, show_default=True, help="Most frames to use.")
@click.option(
    "--references",
    type=click.Path(path_type=Path),
    help="Folder of the CPU engine's landmarks: read where files exist, else written if LiteRT is installed.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option("--minutes", type=float, default=MINUTES, show_default=True, help="After these, no measurement is begun.")
@click.option("--seconds", type=float, default=LEAST_SECONDS, show_default=True, help="Least time for one measurement.")
@click.option("--device", default="auto", show_default=True, help="auto, cuda, mps or cpu.")
@click.option("--precision", "precisions", multiple=True, type=click.Choice(get_args(Precision)), help="Repeatable.")
@click.option("--batch-size", "batch_sizes", multiple=True, type=click.IntRange(min=1), help="Repeatable.")
@click.option(
    "--case", "cases", multiple=True, type=click.Choice([case.name for case in CASES]), help="Repeatable. Default: all."
)
@click.option("--threads", type=click.IntRange(min=1), help="Decoding threads. Default: one for each core.")
@click.option("--commit", help="The code's commit. Default: ask Git.")
@click.option("--step", type=click.Choice(list(STEPS)), help="Run this step alone, and add to the results in --out.")
@click.option("--until", type=float, help="Unix time after which a --step begins no measurement. Default: --minutes.")
def main(minutes: float, step: str | None, until: float | None, **options: Any) -> None:
    """Measure Holistic in torch on this machine."""
    chosen = Options(**options)
    try:
        chosen.out.mkdir(parents=True, exist_ok=True)
        if step is None:
            run_steps(chosen, minutes)
            click.echo((chosen.out / "gpu.md").read_text(encoding="utf-8"))
        else:
            deadline = time.time() + 60 * minutes if until is None else until
            run_step(step, chosen.task(), Record.resume(chosen.out, deadline))
    except PhoenixRayError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
