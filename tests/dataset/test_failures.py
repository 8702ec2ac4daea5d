from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from phoenix_ray.dataset.failures import FailureRecord, clear_failures, read_failures, record_failure
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError

FAILURE = FailureRecord(
    "train", "../a b", 10, 20, "model", "it broke", "node-1", 3, "Traceback …", "run-1", 1_800_000_000.5
)


def test_failures_are_listed_in_order_and_once_a_shard(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    later = replace(FAILURE, first=20, last=30)
    other = replace(FAILURE, split="dev", failure_class="input", first=0, last=0)
    for failure in (later, FAILURE, other, replace(FAILURE, run_id="run-2")):
        record_failure(storage, failure)
    assert read_failures(storage) == [other, replace(FAILURE, run_id="run-2"), later]
    assert {path.name for path in tmp_path.iterdir()} == {"failures"}


@pytest.mark.parametrize(
    ("first", "last", "left"),
    [(10, 20, 1), (0, 11, 1), (19, 40, 0), (0, 10, 2), (30, 40, 2)],
)
def test_frames_that_succeed_clear_what_is_recorded_of_them(tmp_path: Path, first: int, last: int, left: int) -> None:
    storage = LocalStorage(str(tmp_path))
    record_failure(storage, FAILURE)
    record_failure(storage, replace(FAILURE, first=20, last=30))
    record_failure(storage, replace(FAILURE, first=0, last=0, message="the video could not be planned"))
    record_failure(storage, replace(FAILURE, video_id="other"))
    clear_failures(storage, "train", "../a b", first, last)
    failures = read_failures(storage)
    assert failures[-1].video_id == "other"
    assert len(failures) == left + 1


def test_clearing_the_last_failure_leaves_no_folder(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    record_failure(storage, FAILURE)
    clear_failures(storage, "train", "../a b", 0, 100)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{}", b'{"split": 1, "more": 2}'])
def test_a_record_that_cannot_be_understood_is_named(tmp_path: Path, content: bytes) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("failures/split=train/00/x/00000000-00000001.json", content)
    with pytest.raises(OutputError, match=r"00000000-00000001\.json is not a failure record"):
        read_failures(storage)
