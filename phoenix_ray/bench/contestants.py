"""Runs each contestant once, in processes of its own, and returns what was measured.

Ours is the command that a user types. MediaPipe's is `mediapipe_practice.py`, run by the reference environment.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from phoenix_ray.bench import mediapipe_practice
from phoenix_ray.bench.frames import BenchmarkFrames
from phoenix_ray.bench.results import Measurement
from phoenix_ray.errors import ConfigError, PhoenixRayError

REFERENCE_VARIABLE = "PHOENIX_RAY_REFERENCE_PYTHON"
REFERENCE_PYTHON = Path(".venv-reference", "bin", "python")


def find_reference_python() -> Path:
    """Return the Python of the environment that has MediaPipe.

    Raises:
        ConfigError: There is none.
    """
    python = Path(os.environ.get(REFERENCE_VARIABLE) or REFERENCE_PYTHON)
    if not python.is_file():
        raise ConfigError(
            f"MediaPipe's side needs an environment of its own, and there is no {python}. `make reference` makes "
            f"it; ${REFERENCE_VARIABLE} names the Python of another; --no-peers measures us alone."
        )
    # Resolving it would follow the link out of the environment.
    return python.absolute()


def our_settings(table: Path, workers: int) -> dict[str, dict[str, Any]]:
    """Return the settings that our command runs with, beside `output.path`; all others have their defaults."""
    return {
        "source": {"kind": "table", "path": str(table)},
        "model": {"engine": "litert"},
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


def run_ours(frames: BenchmarkFrames, workers: int, passes: int, scratch: Path) -> Measurement:
    """Measure `python -m phoenix_ray.run`: pictures to a committed, compacted dataset, through a local Ray.

    Args:
        frames: What to compute.
        workers: Actors.
        passes: How often each video is computed, each time as another video.
        scratch: An empty folder; the dataset is written below it.

    Raises:
        PhoenixRayError: The run failed.
    """
    output = scratch / "dataset"
    config = scratch / "settings.yaml"
    table = write_table(frames, passes, scratch / "videos.csv")
    config.write_text(yaml.safe_dump(our_settings(table, workers) | {"output": {"path": str(output)}}))
    # The run starts a Ray of its own, whatever cluster the caller's environment points to.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    wall_seconds = _run([sys.executable, "-m", "phoenix_ray.run", "--config", str(config)], scratch, environment)
    summary = json.loads(next(output.glob("runs/*/summary.json")).read_text(encoding="utf-8"))
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


def run_mediapipe(
    python: Path, pictures: Sequence[str], workers: int, scratch: Path, *, stateless: bool
) -> Measurement:
    """Measure MediaPipe on pictures: static image mode, and with `stateless` also reset before each.

    Raises:
        PhoenixRayError: It failed.
    """
    request, result = scratch / "request.json", scratch / "result.json"
    asked = {"pictures": list(pictures), "workers": workers, "stateless": stateless}
    request.write_text(json.dumps(asked), encoding="utf-8")
    # -I: this package's folder must not be where the other environment looks for modules.
    command = [str(python), "-I", mediapipe_practice.__file__, str(request), str(result)]
    wall_seconds = _run(command, scratch, os.environ)
    said = json.loads(result.read_text(encoding="utf-8"))
    return Measurement(
        frames=said["frames"],
        steady_seconds=said["steady_seconds"],
        wall_seconds=wall_seconds,
        peak_memory_mb=said["peak_memory_mb"],
        details={name: said[name] for name in ("found", "versions")},
    )


def _run(command: Sequence[str], scratch: Path, environment: Mapping[str, str]) -> float:
    """Run a command to its end and return the seconds it took."""
    log = scratch / "log"
    with log.open("wb") as said:
        began = time.perf_counter()
        done = subprocess.run(command, stdout=said, stderr=subprocess.STDOUT, env=environment, check=False)
        seconds = time.perf_counter() - began
    if done.returncode:
        last_lines = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-60:])
        raise PhoenixRayError(f"{' '.join(command)} ended with exit code {done.returncode}:\n{last_lines}")
    return seconds
