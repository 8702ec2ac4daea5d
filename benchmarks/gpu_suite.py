"""The suite `gpu`: the measurements of `benchmarks.gpu` on the benchmark's frames, with the installed weights."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import get_args

from benchmarks.gpu_report import chapters, speed_bars
from benchmarks.gpu_results import GpuReport, to_plain
from benchmarks.machine import this_machine
from benchmarks.report import Findings
from benchmarks.results import Rounds
from benchmarks.suites import Request
from phoenix_ray.errors import MissingExtraError, ModelError
from phoenix_ray.models.weights import ensure_installed
from phoenix_ray.setting_types import Precision

FACE_POINTS = 468
# The speeds in `gpu_report.SPEED_BARS` are for this device.
JUDGED_DEVICE = "H200"


def check_machine() -> None:
    """Do nothing if torch is installed and sees a CUDA device.

    Raises:
        MissingExtraError: torch is not installed.
        ModelError: torch sees no CUDA device.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("The suite gpu", "torch") from None
    if not torch.cuda.is_available():
        raise ModelError(
            f"torch {torch.__version__} sees no CUDA device here. `python -m benchmarks.gpu` can measure other devices."
        )


def run(request: Request) -> Findings:
    """Measure once; each time is already a mean over at least half a second."""
    from benchmarks.gpu_benchmark import GPU_BATCH_SIZES, LEAST_SECONDS, MINUTES, MOST_FRAMES, GpuBenchmark
    from phoenix_ray.models.holistic.torch_engine.engine import choose_device

    pictures = [Path(picture).read_bytes() for picture in request.frames.pictures[:MOST_FRAMES]]
    weights, threads = ensure_installed(announce=request.announce), this_machine().cores
    deadline = time.monotonic() + 60 * MINUTES
    benchmark = GpuBenchmark(weights, choose_device("cuda"), FACE_POINTS, pictures, threads, LEAST_SECONDS, deadline)
    # Each report contains those before it.
    (report,) = deque(benchmark.run(get_args(Precision), GPU_BATCH_SIZES, None), maxlen=1)
    return to_findings(report)


def to_findings(report: GpuReport) -> Findings:
    """Return a report as the findings of a suite."""
    read = chapters(report)
    return Findings(
        frames=f"{report.conditions.device}, {report.conditions}",
        rounds=1,
        tables=[chapter.table for chapter in read],
        quantities=quantities(report),
        notes=[f"{chapter.title}: {chapter.words}" for chapter in read]
        + [f"Left out: {reason}." for reason in report.left_out],
        raw=to_plain(report),
    )


def quantities(report: GpuReport) -> dict[str, Rounds]:
    """Return the quantities that bars limit: landmarks on any device, speeds only on the device they are for."""
    found = {}
    if "exact" in report.parity:
        found["bars of parity that exact landmarks miss"] = Rounds.of([len(report.parity["exact"].failures())])
    if JUDGED_DEVICE in report.conditions.device:
        for bar in speed_bars(report):
            found[f"{bar.name}, ÷ what one {JUDGED_DEVICE} should reach"] = Rounds.of([bar.best / bar.wanted])
    return found
