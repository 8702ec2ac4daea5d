"""The claim itself: whatever happens to a distributed run, its landmarks are those of one process, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from tests.cluster.conftest import background_commands, environment

# Ray is started four times, which takes minutes on a machine with other work.
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the command line in the background; whatever is left of it dies with the test."""
    with background_commands(tmp_path) as begin:
        yield lambda *words: begin(words)


def partitions(output: Path) -> int:
    """Count what is committed and not compacted yet; folders vanish while they are listed once they are empty."""
    return sum(
        file.endswith(".parquet") for _, _, files in os.walk(output / "partitions") for file in files if file[0] != "."
    )


def wait(condition: Callable[[], object], process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, f"the run ended before {what}"
        assert time.monotonic() < deadline, f"no sign of {what}"
        time.sleep(0.02)


def actors(driver: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the processes of the workers that a driver has started."""
    return [process for process in psutil.Process(driver.pid).children(recursive=True) if _is_actor(process)]


def _is_actor(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any("ray::ShardActor" in word for word in process.cmdline())
    return False


def kill_an_actor_then_the_driver_and_resume(words: list[str], output: Path, start: Start) -> None:
    driver = start(*words)
    wait(lambda: partitions(output) and actors(driver), driver, "the first partition")
    actors(driver)[0].kill()
    committed = partitions(output)
    wait(lambda: partitions(output) > committed + 1, driver, "more partitions after an actor was killed")
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert start(*words).wait(400) == 0


def verify(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "phoenix_ray.cli", "verify", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment())


def test_a_disturbed_run_of_several_workers_is_one_process_bit_for_bit(tmp_path: Path, start: Start) -> None:
    source, output = tmp_path / "source", tmp_path / "output"
    random = np.random.default_rng(11)
    for video in range(6):
        folder = source / "train" / f"video {video}"
        folder.mkdir(parents=True)
        for index in range(200):
            cv2.imwrite(str(folder / f"{index:03}.png"), random.integers(0, 256, (26, 21, 3), dtype=np.uint8))
    words = ["run", f"source.path={source}", f"output.path={output}", "model.name=synthetic", "--num-workers", "2"]
    kill_an_actor_then_the_driver_and_resume([*words, "--batch-size", "2", "cluster.shard_frames=4"], output, start)
    done = verify(str(output), "--recompute", "--full")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == "EQUAL bit for bit: 6 videos, 1,200 frames"


@pytest.mark.slow
@pytest.mark.samples
def test_a_disturbed_run_on_signing_videos_is_one_process_bit_for_bit(
    phoenix_sample: Path, tmp_path: Path, start: Start
) -> None:
    """Holistic itself on the samples: real weights, real hands."""
    output, alone = tmp_path / "output", tmp_path / "alone"
    words = ["run", f"source.path={phoenix_sample}", "--splits", "dev,test"]
    disturbed = [*words, f"output.path={output}", "--num-workers", "2", "cluster.shard_frames=16"]
    kill_an_actor_then_the_driver_and_resume(disturbed, output, start)
    done = verify(str(output), "--recompute", "--full", "--splits", "dev,test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("EQUAL bit for bit")

    assert start(*words, f"output.path={alone}", "--num-workers", "1").wait(400) == 0
    done = verify(str(alone), str(output), "--full", "--atol", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("EQUAL bit for bit")
