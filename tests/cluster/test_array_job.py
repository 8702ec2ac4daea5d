"""Runs of shares on real Rays of their own: one dataset, whatever order they end in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import EXIT_OUTPUT, EXIT_USAGE
from tests.cluster.conftest import FRAMES, Run, environment
from tests.cluster.test_job import digest, rows_by_video, summaries
from tests.commands.test_status import hold

pytestmark = pytest.mark.cluster


def words_for(source: Path, output: Path, *words: str) -> list[str]:
    return ["run", str(source), str(output), "model.name=synthetic", "--num-workers", "1", *words]


@pytest.mark.slow
def test_shares_that_run_at_the_same_time_make_the_dataset_of_one_run(
    frame_folders: Path, tmp_path: Path, run_command: Run
) -> None:
    output, whole = tmp_path / "shares", tmp_path / "whole"
    commands = [words_for(frame_folders, output, f"run.share={index}/2") for index in range(2)]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "phoenix_ray.cli", *words], stderr=subprocess.PIPE, env=environment(), text=True
        )
        for words in commands
    ]
    said = [process.communicate(timeout=200)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert run_command(*words_for(frame_folders, whole)).returncode == 0
    assert rows_by_video(output) == rows_by_video(whole)
    assert digest(output) == digest(whole)
    ended = summaries(output)
    assert {summary["share"] for summary in ended} == {"0/2", "1/2"}
    assert sum(int(str(summary["frames_computed"])) for summary in ended) == FRAMES
    assert 0 in [summary["videos_missing"] for summary in ended]
    assert sum("Compacting" in text for text in said) == 1
    assert not (output / "leases").exists()


def test_a_run_and_a_share_refuse_each_other(frame_folders: Path, tmp_path: Path, run_command: Run) -> None:
    storage = LocalStorage(str(tmp_path / "output"))
    hold(storage, "their-run", share="1/3")
    for words in ([], ["run.share=1/3"], ["run.share=0/2"]):
        refused = run_command(*words_for(frame_folders, tmp_path / "output", *words))
        assert refused.returncode == EXIT_OUTPUT
        assert "(share 1/3)" in refused.stderr


def test_what_is_no_share_is_refused(frame_folders: Path, tmp_path: Path, run_command: Run) -> None:
    refused = run_command(*words_for(frame_folders, tmp_path / "output", "run.share=3/3"))
    assert refused.returncode == EXIT_USAGE
    assert "give I/N" in refused.stderr
