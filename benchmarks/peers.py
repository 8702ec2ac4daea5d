"""The suite `peers`: our command and what people run today, in turn on the same frames.

Ratios are taken within a round, so that noise that lasts longer than one contestant affects both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.contestants import (
    in_scratch,
    own_environment,
    pose_format_command,
    run_command,
    run_mediapipe,
    run_ours,
    run_pose_format,
    run_ray_data,
    write_videos,
)
from benchmarks.environments import install_peers
from benchmarks.frames import BenchmarkFrames
from benchmarks.report import Findings
from benchmarks.results import Measurement, Rounds, ratios
from benchmarks.suites import Request
from benchmarks.table import Table

OURS = "phoenix_ray"
# Stateless MediaPipe rebuilds its graph for each frame. It is slow, and a quarter of the frames gives the same rate.
STATELESS_EVERY = 4
# In the order in which they run. The bars use the same names.
DESCRIPTIONS = {
    OURS: "**phoenix_ray**, pictures to committed and compacted Parquet through Ray",
    "MediaPipe static": "MediaPipe in static image mode in a process pool, with one pickle at the end",
    "MediaPipe stateless": "the same, reset before each frame",
    "pose-format static": "pose-format's `videos_to_poses`, static image mode, the same pixels as video files",
    "Ray Data": "Ray Data `map_batches` with an actor pool around static MediaPipe, `write_parquet`",
}

Run = Callable[[Path], Measurement]


def run(request: Request) -> Findings:
    """Measure all contestants one after another, round after round."""
    contestants = _contestants(request)
    measured: dict[str, list[Measurement]] = defaultdict(list)
    for number in range(1, request.rounds + 1):
        for name, contestant in contestants.items():
            measurement = in_scratch(request.output, contestant)
            measured[name].append(measurement)
            steady, whole = measurement.steady_rate, measurement.whole_rate
            request.announce(f"round {number}: {name} {steady:.1f} frames/s, {whole:.1f} with start-up")
    quantities = {f"÷ {name}": ratios(measured[OURS], theirs) for name, theirs in measured.items() if name != OURS}
    frames = f"{request.frames}, {request.passes} times, {request.workers} processes each"
    raw = {name: [asdict(measurement) for measurement in runs] for name, runs in measured.items()}
    return Findings(frames, request.rounds, [_table(measured)], quantities, _notes(measured), raw=raw)


def _contestants(request: Request) -> dict[str, Run]:
    frames, workers, passes = request.frames, request.workers, request.passes
    ours: dict[str, Run] = {OURS: partial(run_ours, frames, workers, passes)}
    if not request.peers:
        return ours
    mediapipe, pose_format, ray_data = install_peers(request.environments, request.announce)
    pictures = frames.pictures * passes
    start_seconds = in_scratch(request.output, partial(_pose_format_start, pose_format, frames, workers))
    return {
        **ours,
        "MediaPipe static": partial(run_mediapipe, mediapipe, pictures, workers, stateless=False),
        "MediaPipe stateless": partial(
            run_mediapipe, mediapipe, frames.pictures[::STATELESS_EVERY], workers, stateless=True
        ),
        "pose-format static": partial(_pose_format, pose_format, frames, workers, passes, start_seconds),
        "Ray Data": partial(run_ray_data, ray_data, pictures, workers),
    }


def _pose_format(
    python: Path, frames: BenchmarkFrames, workers: int, passes: int, start_seconds: float, scratch: Path
) -> Measurement:
    videos = write_videos(frames, passes, scratch / "videos")
    return run_pose_format(python, videos, len(frames.pictures) * passes, workers, scratch, start_seconds)


def _pose_format_start(python: Path, frames: BenchmarkFrames, workers: int, scratch: Path) -> float:
    """Return the seconds of the command on as many videos of one frame as there are workers."""
    videos = write_videos(frames.shortened(1), workers, scratch / "videos")
    for surplus in sorted(videos.iterdir())[workers:]:
        surplus.unlink()
    return run_command(pose_format_command(python, videos, workers), scratch, own_environment())


def _table(measured: Mapping[str, Sequence[Measurement]]) -> Table:
    rows = []
    for name, runs in measured.items():
        memory = [found for measurement in runs if (found := measurement.peak_memory_mb) is not None]
        rows.append(
            (
                DESCRIPTIONS[name],
                f"{runs[0].frames:,}",
                Rounds.of(measurement.steady_rate for measurement in runs).show(),
                Rounds.of(measurement.whole_rate for measurement in runs).show(),
                f"{max(memory):.0f}" if memory else "",
                "" if name == OURS else ratios(measured[OURS], runs).show(2),
            )
        )
    head = ("", "frames", "frames/s, steady", "frames/s, whole command", "MB per process", "phoenix_ray ÷ it")
    return Table(head, rows)


def _notes(measured: Mapping[str, Sequence[Measurement]]) -> list[str]:
    notes = [
        "Contestants run in turn, and ratios are taken within a round. No process is pinned to cores.",
        "Steady: from when the first process is ready until the last frame is done; for phoenix_ray, until the last "
        "commit. pose-format does not report when it is ready, so the time of its command on one frame for each worker "
        "is subtracted. Whole command: from its start to its exit, including Ray's start and compaction.",
    ]
    for name, runs in measured.items():
        versions = runs[0].details.get("versions")
        if isinstance(versions, Mapping):
            notes.append(f"{name}: {', '.join(f'{package} {version}' for package, version in versions.items())}.")
    return notes
