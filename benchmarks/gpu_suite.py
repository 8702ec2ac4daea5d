"""The suite `gpu`: the measurements of `benchmarks.gpu` on the benchmark's frames, with the installed weights."""

from __future__ import annotations

from pathlib import Path

from benchmarks.gpu_report import bars_chapter, exact_landmarks, in_order, speed_bars
from benchmarks.gpu_results import GpuResults
from benchmarks.report import Findings
from benchmarks.results import Rounds
from benchmarks.suites import Request
from phoenix_ray.errors import MissingExtraError, ModelError
from phoenix_ray.models.weights import ensure_installed

RESULTS = "gpu-results"


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
    from benchmarks.gpu import LEAST_SECONDS, MINUTES, MOST_FRAMES, Options, run_steps

    options = Options(
        weights=ensure_installed(announce=request.announce),
        frames=Path(request.frames.root),
        limit=MOST_FRAMES,
        references=None,
        out=request.output / RESULTS,
        seconds=LEAST_SECONDS,
        device="cuda",
        precisions=(),
        batch_sizes=(),
        # Weights of other pose networks may not be installed.
        cases=("static-468", "tracking-468", "static-478"),
        threads=None,
        commit=None,
    )
    run_steps(options, MINUTES)
    return to_findings(GpuResults.from_json((options.out / "gpu.json").read_text(encoding="utf-8")))


def to_findings(results: GpuResults) -> Findings:
    """Return results as the findings of a suite."""
    read = [bars_chapter(results), *in_order(results.chapters)]
    return Findings(
        frames=f"{results.conditions.device}, {results.conditions}" if results.conditions else "",
        rounds=1,
        tables=[chapter.table for chapter in read],
        quantities=quantities(results),
        notes=[f"{chapter.title}: {chapter.words}" for chapter in read]
        + [f"Left out: {reason}." for reason in results.left_out],
        raw=results.data,
    )


def quantities(results: GpuResults) -> dict[str, Rounds]:
    """Return the quantities that bars limit: landmarks on any device, speeds only on devices that have bars."""
    found = {}
    missed = [len(compared["report"]["failures"]) for compared in exact_landmarks(results).values()]
    if missed:
        found["bars of parity that exact landmarks miss"] = Rounds.of([sum(missed)])
    for bar in speed_bars(results):
        found[f"{bar.name}, ÷ the device's bar"] = Rounds.of([bar.found / bar.wanted])
    return found
