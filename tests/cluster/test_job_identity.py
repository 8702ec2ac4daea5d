"""When a run makes an output its dataset: once a worker has loaded the model, and before any row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_ray.dataset.identity import read_identity
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import EXIT_MODEL, EXIT_OUTPUT
from tests.cluster.conftest import Run, environment

pytestmark = pytest.mark.cluster

# Runs the command line with workers that do something when they load the model.
DISTURBED = """
import sys
from unittest import mock
import ray
from phoenix_ray.cluster.worker import ShardWorker

class DisturbedWorker(ShardWorker):
    def ready(self):
        from dataclasses import replace
        from phoenix_ray.dataset.identity import claim_dataset
        from phoenix_ray.errors import ModelError
        {body}
        return super().ready()

from phoenix_ray.cli import main
with mock.patch("phoenix_ray.cluster.actors.ShardActor", ray.remote(DisturbedWorker)):
    main(sys.argv[1:])
"""


def run_disturbed(body: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DISTURBED.format(body=body), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env=environment())


def words_for(source: Path, output: Path) -> list[str]:
    return ["run", str(source), str(output), "model.name=synthetic", "--num-workers", "1"]


def test_a_run_whose_workers_cannot_load_the_model_leaves_the_output_to_other_settings(
    frame_folders: Path, tmp_path: Path, run_command: Run
) -> None:
    output = tmp_path / "output"
    words = words_for(frame_folders, output)
    failed = run_disturbed("raise ModelError('no such engine here')", *words, "--limit-frames", "2")
    assert failed.returncode == EXIT_MODEL, failed.stderr
    assert "no such engine here" in failed.stderr
    assert "Failed; what is committed is kept." in failed.stderr.splitlines()
    assert not (output / "dataset.json").exists()
    looked = run_command("status", str(output))
    assert looked.returncode == 0, looked.stderr
    assert "failed" in looked.stdout

    done = run_command(*words)
    assert done.returncode == 0, done.stderr
    assert read_identity(LocalStorage(str(output))).limit_frames is None


def test_a_run_that_another_one_forestalled_with_other_settings_commits_nothing(
    frame_folders: Path, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    other = "claim_dataset(self._storage, replace(self._identity, limit_frames=3))"
    beaten = run_disturbed(other, *words_for(frame_folders, output))
    assert beaten.returncode == EXIT_OUTPUT, beaten.stderr
    assert "source.limit_frames: 3 → none" in beaten.stderr
    assert read_identity(LocalStorage(str(output))).limit_frames == 3
    assert not list(output.glob("partitions/**/*.parquet"))
    assert not (output / "lease.json").exists()


def test_an_identity_that_was_lost_is_recorded_again_though_nothing_is_left_to_compute(
    frame_folders: Path, tmp_path: Path, run_command: Run
) -> None:
    output = tmp_path / "output"
    words = words_for(frame_folders, output)
    assert run_command(*words).returncode == 0
    before = json.loads((output / "dataset.json").read_text())
    (output / "dataset.json").unlink()
    again = run_command(*words)
    assert again.returncode == 0, again.stderr
    assert " 0 frames to compute" in again.stderr
    assert json.loads((output / "dataset.json").read_text()) == before
