from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.report.runs import RUNS_READ, read_history
from tests.report.made_up import write_summary


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage(str(tmp_path))


def test_the_newest_runs_come_first_and_the_others_are_counted(storage: LocalStorage) -> None:
    for number in range(RUNS_READ + 3):
        write_summary(storage, f"20261128-0809{number:02}-abcd")
    history = read_history(storage)
    assert [run.run_id for run in history.runs[:2]] == ["20261128-080922-abcd", "20261128-080921-abcd"]
    assert (len(history.runs), history.older) == (RUNS_READ, 3)
    assert history.runs[0].began == "2026-11-28 08:09"
    assert history.runs[0].timings.shares() == {"decode": 0.2, "inference": 0.6, "write": 0.1, "idle": 0.1}


def test_a_run_without_a_summary_is_read_from_its_status(storage: LocalStorage) -> None:
    storage.write("runs/a/status.json", b'{"run_id": "a", "state": "running", "frames_done": 7, "workers": 2}')
    (run,) = read_history(storage).runs
    assert (run.ended, run.state, run.frames_computed, run.timings.shares()) == (False, "running", 7, {})


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"[]",
        b'{"state": "finished"}',
        b'{"state": "finished", "frames_computed": -1, "timings": {}}',
        b'{"state": "finished", "frames_computed": 1, "timings": {"decode": NaN}}',
        b'{"state": "finished", "frames_computed": 1, "timings": {"decode": -1}}',
        b'{"state": ["x"], "frames_computed": 1, "timings": {}}',
    ],
)
def test_a_file_that_makes_no_sense_is_named_and_the_others_are_read(storage: LocalStorage, damage: bytes) -> None:
    write_summary(storage, "a")
    storage.write("runs/b/summary.json", damage)
    history = read_history(storage)
    assert [run.run_id for run in history.runs] == ["a"]
    (line,) = history.damaged
    assert line.startswith("runs/b/summary.json is damaged (")


def test_a_dataset_without_runs_has_an_empty_history(storage: LocalStorage) -> None:
    history = read_history(storage)
    assert (history.runs, history.older, history.at_work, history.damaged) == ((), 0, (), ())


@pytest.mark.parametrize(
    ("missing", "finished"), [([0, 7], True), ([7, 0], True), ([7, 3], False), ([None], True), ([None, 7], True)]
)
def test_an_array_is_finished_when_any_share_found_nothing_missing(
    storage: LocalStorage, missing: list[int | None], finished: bool
) -> None:
    for number, videos in enumerate(reversed(missing)):
        share = "" if videos is None else f"{number}/2"
        write_summary(storage, f"20261128-08090{number}-abcd", share=share, videos_missing=videos)
    assert read_history(storage).is_finished == finished
