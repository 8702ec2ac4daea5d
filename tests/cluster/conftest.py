"""A small dataset of frame folders, and the job run in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

VIDEOS = {"train": {"alpha": 21, "beta/take 2": 40, "γάμμα": 9}, "dev": {"delta": 13}, "test": {"epsilon": 30}}
FRAMES = sum(sum(videos.values()) for videos in VIDEOS.values())

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[[Sequence[str]], "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module", autouse=True)
def rays_variables() -> Iterator[None]:
    """Put back the variables that `ray.init` sets: a later cluster would demand a token that its clients lack."""
    before = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    yield
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def frame_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos of random flat pictures in three splits; the synthetic model finds something in most."""
    root = tmp_path_factory.mktemp("frames")
    random = np.random.default_rng(7)
    for split, videos in VIDEOS.items():
        for video_id, frames in videos.items():
            folder = root / split / video_id
            folder.mkdir(parents=True)
            for index in range(frames):
                picture = random.integers(0, 256, (26, 21, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f"{index}.png"), picture)
    return root


@pytest.fixture
def run_command() -> Run:
    """Run `phoenix-ray` with words, in a new process, and return what it said, which a failing test shows."""

    def run(*words: str, timeout: float = 200.0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "phoenix_ray.cli", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment())
        print(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
        return done

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `phoenix-ray` with words in the background; whatever is left of it dies with the test."""
    with background_commands(tmp_path) as begin:
        yield begin


@contextmanager
def background_commands(logs: Path) -> Iterator[Start]:
    """Yield what starts `phoenix-ray` with words; its output goes to `log 0`, `log 1`, …; kill all at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(words: Sequence[str]) -> subprocess.Popen[bytes]:
        log = (logs / f"log {len(started)}").open("wb")
        command = [sys.executable, "-m", "phoenix_ray.cli", *words]
        started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment(), start_new_session=True))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def environment() -> dict[str, str]:
    """The environment of a command that starts a Ray of its own, whatever Ray the tests use."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
