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
    run_mediapipe_tracking,
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
from phoenix_ray.models.weights import weights_folder

OURS = "phoenix_ray"
OURS_TRACKING = "phoenix_ray tracking"
OURS_HEAVY = "phoenix_ray tracking heavy"
MEDIAPIPE_TRACKING = "MediaPipe tracking in a pool"
MEDIAPIPE_HEAVY = "MediaPipe heavy tracking in a pool"
POSE_FORMAT_DEFAULTS = "pose-format videos_to_poses with its defaults"
# Stateless MediaPipe rebuilds its graph for each frame. It is slow, and a quarter of the frames gives the same rate.
STATELESS_EVERY = 4
HEAVY_NETWORK = "pose_landmark_heavy.tflite"
# In the order in which they run, those that are compared next to each other. The bars use the same names.
DESCRIPTIONS = {
    OURS: "**phoenix_ray**, pictures to committed and compacted Parquet through Ray",
    "MediaPipe static": "MediaPipe in static image mode in a process pool, with one pickle at the end",
    "MediaPipe stateless": "the same, reset before each frame",
    "pose-format static": "pose-format's `videos_to_poses`, static image mode, the same pixels as video files",
    "Ray Data": "Ray Data `map_batches` with an actor pool around static MediaPipe, `write_parquet`",
    OURS_TRACKING: "**phoenix_ray**, `model.mode=tracking`",
    MEDIAPIPE_TRACKING: "MediaPipe with its defaults (tracking) in a pool: a video at a time, reset before each",
    POSE_FORMAT_DEFAULTS: "pose-format's `videos_to_poses` with its defaults (tracking)",
    OURS_HEAVY: "**phoenix_ray**, `model.mode=tracking model.complexity=2`",
    MEDIAPIPE_HEAVY: "MediaPipe tracking in a process pool with `model_complexity=2`",
}
# Which of our modes does the same as a peer; the default mode where none is named.
RIVALS = {
    MEDIAPIPE_TRACKING: OURS_TRACKING,
    POSE_FORMAT_DEFAULTS: OURS_TRACKING,
    MEDIAPIPE_HEAVY: OURS_HEAVY,
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
    quantities = {
        f"÷ {name}": ratios(measured[RIVALS.get(name, OURS)], theirs)
        for name, theirs in measured.items()
        if not name.startswith(OURS)
    }
    frames = f"{request.frames}, {request.passes} times, {request.workers} processes each"
    raw = {name: [asdict(measurement) for measurement in runs] for name, runs in measured.items()}
    return Findings(frames, request.rounds, [_table(measured)], quantities, _notes(measured), raw=raw)


def _contestants(request: Request) -> dict[str, Run]:
    frames, workers, passes = request.frames, request.workers, request.passes
    heavy = weights_folder() / HEAVY_NETWORK
    runs: dict[str, Run] = {
        OURS: partial(run_ours, frames, workers, passes),
        OURS_TRACKING: partial(run_ours, frames, workers, passes, model={"mode": "tracking"}),
    }
    if heavy.is_file():
        runs[OURS_HEAVY] = partial(run_ours, frames, workers, passes, model={"mode": "tracking", "complexity": 2})
    else:
        request.announce(_without_heavy(heavy))
    if request.peers:
        mediapipe, pose_format, ray_data = install_peers(request.environments, request.announce)
        pictures, videos = frames.pictures * passes, [frames.paths(video) for video in frames.videos] * passes
        stateless = frames.pictures[::STATELESS_EVERY]
        runs |= {
            "MediaPipe static": partial(run_mediapipe, mediapipe, pictures, workers, stateless=False),
            "MediaPipe stateless": partial(run_mediapipe, mediapipe, stateless, workers, stateless=True),
            "pose-format static": _pose_format_run(request, pose_format, static=True),
            "Ray Data": partial(run_ray_data, ray_data, pictures, workers),
            MEDIAPIPE_TRACKING: partial(run_mediapipe_tracking, mediapipe, videos, workers),
            POSE_FORMAT_DEFAULTS: _pose_format_run(request, pose_format, static=False),
        }
        if heavy.is_file():
            runs[MEDIAPIPE_HEAVY] = partial(run_mediapipe_tracking, mediapipe, videos, workers, heavy=heavy)
    return {name: runs[name] for name in DESCRIPTIONS if name in runs}


def _without_heavy(heavy: Path) -> str:
    return (
        f"{OURS_HEAVY} and {MEDIAPIPE_HEAVY} are left out: there is no {heavy}. "
        "A run with model.complexity=2 installs it."
    )


def _pose_format_run(request: Request, python: Path, *, static: bool) -> Run:
    """Return a run of pose-format, having measured how long its command takes to start."""
    frames, workers = request.frames, request.workers
    start_seconds = in_scratch(request.output, partial(_pose_format_start, python, frames, workers, static))
    return partial(_pose_format, python, frames, workers, request.passes, start_seconds, static)


def _pose_format(
    python: Path,
    frames: BenchmarkFrames,
    workers: int,
    passes: int,
    start_seconds: float,
    static: bool,
    scratch: Path,
) -> Measurement:
    videos = write_videos(frames, passes, scratch / "videos")
    count = len(frames.pictures) * passes
    return run_pose_format(python, videos, count, workers, scratch, start_seconds, static=static)


def _pose_format_start(python: Path, frames: BenchmarkFrames, workers: int, static: bool, scratch: Path) -> float:
    """Return the seconds of the command on as many videos of one frame as there are workers."""
    videos = write_videos(frames.shortened(1), workers, scratch / "videos")
    for surplus in sorted(videos.iterdir())[workers:]:
        surplus.unlink()
    return run_command(pose_format_command(python, videos, workers, static=static), scratch, own_environment())


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
                "" if name.startswith(OURS) else ratios(measured[RIVALS.get(name, OURS)], runs).show(2),
            )
        )
    head = (
        "",
        "frames",
        "frames/s, steady",
        "frames/s, whole command",
        "MB per process",
        "phoenix_ray in its mode ÷ it",
    )
    return Table(head, rows)


def _notes(measured: Mapping[str, Sequence[Measurement]]) -> list[str]:
    notes = [
        "Contestants run in turn, and ratios are taken within a round. No process is pinned to cores.",
        "Steady: from when the first process is ready until the last frame is done; for phoenix_ray, until the last "
        "commit. pose-format does not report when it is ready, so the time of its command on one frame for each worker "
        "is subtracted. Whole command: from its start to its exit, including Ray's start and compaction.",
        "Tracking is compared with tracking, the heavy pose network with the heavy one; all of them smooth the pose.",
    ]
    if OURS_HEAVY not in measured:
        notes.append(_without_heavy(weights_folder() / HEAVY_NETWORK))
    for name, runs in measured.items():
        versions = runs[0].details.get("versions")
        if isinstance(versions, Mapping):
            notes.append(f"{name}: {', '.join(f'{package} {version}' for package, version in versions.items())}.")
    return notes
