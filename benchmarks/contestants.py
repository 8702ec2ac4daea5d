"""Runs each contestant once, in its own processes, and returns the measurement.

Our contestant and pose-format's are the commands that a user types. MediaPipe and Ray Data are libraries; the programs
that their users write are `mediapipe_practice.py` and `ray_data_practice.py`, run in their own environments.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from benchmarks import mediapipe_practice, ray_data_practice
from benchmarks.frames import BenchmarkFrames
from benchmarks.results import Measurement
from phoenix_ray.errors import PhoenixRayError

Measured = TypeVar("Measured")

# pose-format needs a rate; any will do.
FRAME_RATE = 25


def in_scratch(output: Path, measure: Callable[[Path], Measured]) -> Measured:
    """Run a measurement in an empty folder below `output`, which is kept only if the measurement fails."""
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=output.absolute()))
    measured = measure(scratch)
    shutil.rmtree(scratch)
    return measured


def our_settings(table: Path, workers: int, model: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the settings of our command except `output.path`; all others have their defaults."""
    return {
        "source": {"kind": "table", "path": str(table)},
        "model": {"engine": "litert", **model},
        "cluster": {"num_workers": workers, "num_gpus": 0},
    }


def write_table(frames: BenchmarkFrames, passes: int, table: Path) -> Path:
    """Write a table source that names each video `passes` times, and return its path."""
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("video_id", "path", "split"))
        for number in range(passes):
            rows.writerows((f"{number}/{video.video_id}", video.location, video.split) for video in frames.videos)
    return table


def write_command(
    frames: BenchmarkFrames, workers: int, passes: int, scratch: Path, model: Mapping[str, Any] | None = None
) -> tuple[list[str], Path]:
    """Write the settings of a run, and return its command and the folder of its dataset.

    Args:
        frames: The frames to compute.
        workers: Number of workers.
        passes: How often each video is computed, each time under another ID.
        scratch: An empty folder; the dataset is written below it.
        model: Settings of the section `model` that differ from engine litert's defaults.
    """
    output, config = scratch / "dataset", scratch / "settings.yaml"
    table = write_table(frames, passes, scratch / "videos.csv")
    config.write_text(yaml.safe_dump(our_settings(table, workers, model or {}) | {"output": {"path": str(output)}}))
    return [sys.executable, "-m", "phoenix_ray.run", "--config", str(config)], output


def own_environment() -> dict[str, str]:
    """Return this process's environment variables without Ray's, so that a run starts its own Ray."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def run_ours(
    frames: BenchmarkFrames, workers: int, passes: int, scratch: Path, *, model: Mapping[str, Any] | None = None
) -> Measurement:
    """Measure `python -m phoenix_ray.run`, from pictures to a committed and compacted dataset, through a local Ray.

    `model` is as for `write_command`.

    Raises:
        PhoenixRayError: The run failed.
    """
    command, output = write_command(frames, workers, passes, scratch, model)
    wall_seconds = run_command(command, scratch, own_environment())
    summary = latest_summary(output)
    if summary["frames_computed"] != passes * len(frames.pictures):
        raise PhoenixRayError(
            f"The run computed {summary['frames_computed']} of {passes * len(frames.pictures)} frames."
        )
    return Measurement(
        frames=summary["frames_computed"],
        steady_seconds=summary["compute_seconds"],
        wall_seconds=wall_seconds,
        peak_memory_mb=summary["peak_memory_mb"],
        details={name: summary[name] for name in ("timings", "digest", "versions")},
    )


def latest_summary(output: Path) -> dict[str, Any]:
    """Return the `summary.json` of a dataset's latest run."""
    summary: dict[str, Any] = json.loads(max(output.glob("runs/*/summary.json")).read_text(encoding="utf-8"))
    return summary


def mediapipe_request(pictures: Sequence[str], workers: int, *, stateless: bool) -> dict[str, Any]:
    """Return the request for pictures in static image mode; with `stateless`, also reset before each picture."""
    return {
        "tasks": mediapipe_practice.share_out(list(pictures), workers),
        "workers": workers,
        "options": {"static_image_mode": True, "model_complexity": 1},
        "reset": "picture" if stateless else "never",
    }


def run_mediapipe(
    python: Path, pictures: Sequence[str], workers: int, scratch: Path, *, stateless: bool
) -> Measurement:
    """Measure MediaPipe on pictures in static image mode; with `stateless`, also reset before each picture.

    Raises:
        PhoenixRayError: The contestant failed.
    """
    return _run_mediapipe(python, mediapipe_request(pictures, workers, stateless=stateless), scratch)


def run_mediapipe_tracking(
    python: Path, videos: Sequence[Sequence[str]], workers: int, scratch: Path, *, heavy: Path | None = None
) -> Measurement:
    """Measure MediaPipe in tracking mode, with its defaults: a process takes a video at a time, and resets before it.

    Args:
        python: The Python of the environment that has MediaPipe.
        videos: The pictures of each video, in order.
        workers: Number of processes.
        scratch: An empty folder.
        heavy: File of the heavy pose network, to run with it (`model_complexity=2`); None for the default.

    Raises:
        PhoenixRayError: The contestant failed.
    """
    request = {
        # The longest first, so that no process waits at the end for another with a long video.
        "tasks": sorted(map(list, videos), key=len, reverse=True),
        "workers": workers,
        "options": {"static_image_mode": False, "model_complexity": 1 if heavy is None else 2},
        "reset": "task",
        **({} if heavy is None else {"heavy": str(heavy)}),
    }
    return _run_mediapipe(python, request, scratch)


def _run_mediapipe(python: Path, request: Mapping[str, Any], scratch: Path) -> Measurement:
    result, wall_seconds = run_script(python, mediapipe_practice.__file__, request, scratch)
    return Measurement(
        frames=result["frames"],
        steady_seconds=result["steady_seconds"],
        wall_seconds=wall_seconds,
        peak_memory_mb=result["peak_memory_mb"],
        details={name: result[name] for name in ("found", "versions")},
    )


def run_ray_data(python: Path, pictures: Sequence[str], workers: int, scratch: Path) -> Measurement:
    """Measure Ray Data: `map_batches` with an actor pool around static MediaPipe, and `write_parquet`.

    Raises:
        PhoenixRayError: The contestant failed.
    """
    request = {"pictures": list(pictures), "workers": workers, "output": str(scratch / "parquet")}
    result, wall_seconds = run_script(python, ray_data_practice.__file__, request, scratch)
    return Measurement(
        result["frames"], result["steady_seconds"], wall_seconds, details={"versions": result["versions"]}
    )


def run_pose_format(
    python: Path, videos: Path, frames: int, workers: int, scratch: Path, start_seconds: float, *, static: bool
) -> Measurement:
    """Measure pose-format's `videos_to_poses` on a folder of video files.

    The command does not report when its processes are ready, so its start-up is measured separately.

    Args:
        python: The Python of the environment that has pose-format.
        videos: Folder of video files; the poses are written beside them.
        frames: Number of frames in all videos.
        workers: Number of processes.
        scratch: An empty folder.
        start_seconds: How long the command takes on as many videos of one frame each as there are workers.
        static: As for `pose_format_command`.

    Raises:
        PhoenixRayError: The contestant failed.
    """
    command = pose_format_command(python, videos, workers, static=static)
    wall_seconds = run_command(command, scratch, os.environ)
    poses, files = (len(list(videos.glob(f"*.{suffix}"))) for suffix in ("pose", "mov"))
    if poses != files:
        raise PhoenixRayError(f"videos_to_poses wrote {poses} files for {files} videos.")
    return Measurement(frames, wall_seconds - start_seconds, wall_seconds)


def pose_format_command(python: Path, videos: Path, workers: int, *, static: bool) -> list[str]:
    """Return pose-format's parallel command: in static image mode, or with its defaults, which track and smooth."""
    options = ["--directory", str(videos), "--num-workers", str(workers)]
    if static:
        options += ["--additional-config", "static_image_mode=true"]
    return [str(python.parent / "videos_to_poses"), *options]


def write_videos(frames: BenchmarkFrames, passes: int, folder: Path) -> Path:
    """Write each video `passes` times as a video file of the same pixels (PNG in QuickTime), and return the folder."""
    import av
    import numpy as np
    from PIL import Image

    folder.mkdir()
    for video in frames.videos:
        video_name = video.video_id.replace("/", "-")
        pictures = [np.asarray(Image.open(Path(video.location, name)).convert("RGB")) for name in frames.names(video)]
        height, width = pictures[0].shape[:2]
        first = folder / f"0-{video_name}.mov"
        with av.open(str(first), "w") as container:
            stream = container.add_stream("png", rate=FRAME_RATE)
            stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        for number in range(1, passes):
            shutil.copy(first, folder / f"{number}-{video_name}.mov")
    return folder


def run_command(command: Sequence[str], scratch: Path, environment: Mapping[str, str]) -> float:
    """Run a command to its end and return the seconds it took.

    Raises:
        PhoenixRayError: The command failed; the message ends with its last lines.
    """
    log = scratch / "log"
    with log.open("wb") as output:
        began = time.perf_counter()
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False)
        seconds = time.perf_counter() - began
    if done.returncode:
        last_lines = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-60:])
        raise PhoenixRayError(f"{' '.join(command)} ended with exit code {done.returncode}:\n{last_lines}")
    return seconds


def script_command(python: Path, script: str, request: Mapping[str, Any], scratch: Path) -> list[str]:
    """Write a request for a peer's script and return the command, which writes `scratch/result.json`."""
    file = scratch / "request.json"
    file.write_text(json.dumps(request), encoding="utf-8")
    # -I keeps the other environment from finding modules in this package's folder.
    return [str(python), "-I", script, str(file), str(scratch / "result.json")]


def run_script(python: Path, script: str, request: Mapping[str, Any], scratch: Path) -> tuple[dict[str, Any], float]:
    """Run a peer's script; return its result, and the seconds it took."""
    wall_seconds = run_command(script_command(python, script, request, scratch), scratch, own_environment())
    result: dict[str, Any] = json.loads((scratch / "result.json").read_text(encoding="utf-8"))
    return result, wall_seconds
