"""The suite `peers`: our command beside what people run today, on the same frames, in turn.

Ratios are taken within a round, so that noise that lasts longer than a contestant hits both sides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks import environments
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
from benchmarks.frames import BenchmarkFrames
from benchmarks.report import Findings
from benchmarks.results import Measurement, Spread, ratios
from benchmarks.suites import Request
from benchmarks.table import Table

OURS = "phoenix_ray"
# Stateless MediaPipe rebuilds its graph for each frame; a quarter of the frames gives its rate just as well.
STATELESS_EVERY = 4
# In the order they run; a name is also what the bars call the peer.
DESCRIPTIONS = {
    OURS: "**phoenix_ray**, pictures to committed and compacted Parquet through Ray",
    "MediaPipe static": "MediaPipe in static image mode in a process pool, one pickle at the end",
    "MediaPipe stateless": "the same, reset before each frame",
    "pose-format static": "pose-format's `videos_to_poses`, static image mode, the same pixels as video files",
    "Ray Data": "Ray Data `map_batches` with an actor pool around static MediaPipe, `write_parquet`",
}

Contestant = Callable[[Path], Measurement]


def run(request: Request) -> Findings:
    """Measure all contestants, one after the other, round after round."""
    contestants = _contestants(request)
    measured: dict[str, list[Measurement]] = defaultdict(list)
    for number in range(1, request.rounds + 1):
        for name, contestant in contestants.items():
            one = in_scratch(request.output, contestant)
            measured[name].append(one)
            request.tell(f"round {number}: {name} {one.steady_rate:.1f} frames/s, {one.whole_rate:.1f} with start-up")
    quantities = {f"÷ {name}": ratios(measured[OURS], theirs) for name, theirs in measured.items() if name != OURS}
    frames = f"{request.frames}, {request.passes} times, {request.workers} processes each"
    raw = {name: [asdict(one) for one in runs] for name, runs in measured.items()}
    return Findings(frames, request.rounds, [_table(measured)], quantities, _notes(measured), raw=raw)


def _contestants(request: Request) -> dict[str, Contestant]:
    frames, workers, passes = request.frames, request.workers, request.passes
    ours: dict[str, Contestant] = {OURS: partial(run_ours, frames, workers, passes)}
    if not request.peers:
        return ours
    mediapipe, pose_format, ray_data = (
        environments.prepare(one, request.environments, request.tell)
        for one in (environments.MEDIAPIPE, environments.POSE_FORMAT, environments.RAY_DATA)
    )
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
    """Return the seconds of the command on a video of one frame for each worker."""
    videos = write_videos(frames.shortened(1), workers, scratch / "videos")
    for surplus in sorted(videos.iterdir())[workers:]:
        surplus.unlink()
    return run_command(pose_format_command(python, videos, workers), scratch, own_environment())


def _table(measured: Mapping[str, Sequence[Measurement]]) -> Table:
    rows = []
    for name, runs in measured.items():
        memory = [one.peak_memory_mb for one in runs if one.peak_memory_mb is not None]
        rows.append(
            (
                DESCRIPTIONS[name],
                f"{runs[0].frames:,}",
                Spread.of(one.steady_rate for one in runs).show(),
                Spread.of(one.whole_rate for one in runs).show(),
                f"{max(memory):.0f}" if memory else "",
                "" if name == OURS else ratios(measured[OURS], runs).show(2),
            )
        )
    head = ("", "frames", "frames/s, steady", "frames/s, whole command", "MB a process", "phoenix_ray ÷ it")
    return Table(head, rows)


def _notes(measured: Mapping[str, Sequence[Measurement]]) -> list[str]:
    notes = [
        "Contestants run in turn, and ratios are taken within a round. No process is pinned to cores.",
        "Steady: from the first process that is ready to the last frame that is done; ours ends with the last commit. "
        "pose-format does not tell when it is ready: what its command takes on one frame a worker is left out instead. "
        "Whole command: from its start to its exit, Ray's start and compaction included.",
    ]
    for name, runs in measured.items():
        versions = runs[0].details.get("versions")
        if isinstance(versions, Mapping):
            notes.append(f"{name}: {', '.join(f'{package} {version}' for package, version in versions.items())}.")
    return notes
