"""Models with heads on a real Ray: the same bits however the job is cut, and after a run that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import phoenix_ray
from phoenix_ray.sources.sample import write_sample_dataset
from tests.cluster.conftest import Run, environment
from tests.models.heads.fer import folder_with_fer

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from tests.models.heads.made_up import emotion_head

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.mark.parametrize("mode", ["static", "tracking"])
def test_columns_of_heads_are_the_same_bits_whatever_workers_and_shards(
    mode: str, frame_folders: Path, tmp_path: Path, run_command: Run
) -> None:
    head = emotion_head(tmp_path)
    digests = []
    for workers, shard_frames in ((1, 512), (2, 7)):
        output = tmp_path / f"{mode}-{workers}"
        done = run_command(
            *("run", "--num-workers", str(workers), f"source.path={frame_folders}", f"output.path={output}"),
            *("model.name=synthetic", f"model.mode={mode}", f"model.heads=[{head}]"),
            *("model.batch_size=3", f"cluster.shard_frames={shard_frames}"),
        )
        assert done.returncode == 0, done.stderr
        dataset = phoenix_ray.open(output)
        digests.append(dataset.digest())
        for video in dataset:
            quality = video.head_columns()["emotion_quality"]
            assert (~(quality != quality) == video.present("face")).all()
    assert digests[0] == digests[1]


def test_a_run_with_fer_that_was_killed_is_finished_by_the_same_command_and_recomputed(
    tmp_path: Path, run_command: Run
) -> None:
    weights = folder_with_fer(_made(tmp_path / "weights"))
    pictures = write_sample_dataset(tmp_path / "sample")

    def words(output: Path) -> list[str]:
        return [
            *("run", "--num-workers", "2", f"source.path={pictures}", f"output.path={output}"),
            *("source.limit_frames=24", "cluster.shard_frames=8", "model.batch_size=8"),
            *("model.heads=[fer]", f"model.weights_path={weights}"),
        ]

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert run_command(*words(whole)).returncode == 0
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "phoenix_ray.cli", *words(stopped)]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment(), start_new_session=True)
        try:
            _wait_for_partition(stopped, process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    done = run_command(*words(stopped))
    assert done.returncode == 0, done.stderr
    dataset = phoenix_ray.open(stopped)
    assert dataset.layout.head("emotion").classes[3] == "happy"
    assert dataset.digest() == phoenix_ray.open(whole).digest()
    assert all(pq.read_schema(file).field("emotion_logits") for file in stopped.glob("data/**/*.parquet"))
    assert run_command("check", str(stopped)).returncode == 0
    recomputed = run_command(
        "verify", str(stopped), "--recompute", "--sample", "2", "--set", f"model.weights_path={weights}"
    )
    assert recomputed.returncode == 0, recomputed.stdout


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _wait_for_partition(output: Path, process: subprocess.Popen[bytes], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not list(output.glob("partitions/**/[0-9]*.parquet")):
        assert process.poll() is None, "the run ended before it could be disturbed"
        assert time.monotonic() < deadline, "no partition was committed in time"
        time.sleep(0.05)
