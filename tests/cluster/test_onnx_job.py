"""A network in an ONNX file on a real Ray: the same bits however the job is cut, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from phoenix_ray.dataset.reader import Dataset
from tests.cluster.conftest import Run, Start, environment

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from tests.models.onnx.made_up import rtmw_like

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

LENGTHS = {"short": 5, "wide": 17, "long": 60}
SIZES = {"short": (260, 210), "wide": (120, 200), "long": (260, 210)}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos, of two sizes, of coloured rectangles that move."""
    root = tmp_path_factory.mktemp("videos")
    random = np.random.default_rng(17)
    for name, length in LENGTHS.items():
        folder = root / "train" / name
        folder.mkdir(parents=True)
        blocks = random.integers(0, 256, (13, 10, 3), np.uint8)
        for index in range(length):
            picture = cv2.resize(np.roll(blocks, index, axis=1), SIZES[name][::-1], interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(folder / f"{index:04}.png"), picture)
    return root


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of a network of RTMW's shapes, which lies beside it."""
    return rtmw_like(tmp_path_factory.mktemp("network"))


def words(videos: Path, manifest: Path, output: Path, workers: int, *more: str) -> list[str]:
    return [
        *("run", "--num-workers", str(workers), f"source.path={videos}", f"output.path={output}"),
        *(f"model.name={manifest}", "cluster.num_gpus=0", *more),
    ]


def digest(output: Path) -> int:
    return Dataset.open(str(output)).digest()


@pytest.fixture(scope="module")
def whole(videos: Path, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos computed in one go by one worker, the manifest given by its path in the folder of the run."""
    output = tmp_path_factory.mktemp("whole") / "output"
    command = [sys.executable, "-m", "phoenix_ray.cli", *words(videos, Path(manifest.name), output, 1)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment(), cwd=manifest.parent, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_was_killed_is_finished_with_the_same_bits(
    videos: Path,
    manifest: Path,
    whole: Path,
    tmp_path: Path,
    start: Start,
    run_command: Run,
    workers: int,
) -> None:
    output = tmp_path / "output"
    command = words(videos, manifest, output, workers, "cluster.shard_frames=4", "model.batch_size=4")
    process = start(command)
    deadline = time.monotonic() + 120
    while not list(output.glob("partitions/**/[0-9]*.parquet")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "no partition was committed in time"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (output / "videos.parquet").exists()
    done = run_command(*command)
    assert done.returncode == 0, done.stderr
    assert digest(output) == digest(whole)


def test_the_dataset_says_which_network_computed_it_and_computing_it_again_finds_the_same(
    videos: Path, manifest: Path, whole: Path, run_command: Run
) -> None:
    recorded = json.loads((whole / "dataset.json").read_text())
    assert recorded["layout"] == "coco-wholebody-133"
    assert recorded["model"]["model"] == "rtmw"
    assert recorded["model"]["weights"] == yaml.safe_load(manifest.read_text())["weights"]["sha256"]
    assert sum(len(video.frame_index) for video in Dataset.open(str(whole))) == sum(LENGTHS.values())
    done = run_command("verify", str(whole), "--recompute", "--set", f"model.name={manifest}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_another_network_under_the_same_name_is_refused(
    videos: Path, manifest: Path, whole: Path, tmp_path: Path, run_command: Run
) -> None:
    other = rtmw_like(tmp_path)
    tree = yaml.safe_load(other.read_text())
    other.write_text(yaml.safe_dump({**tree, "missing_below": 0.5}))
    done = run_command(*words(videos, other, whole, 1))
    assert done.returncode == 6, done.stderr
    assert "missing_below: 0.3 → 0.5" in done.stderr
