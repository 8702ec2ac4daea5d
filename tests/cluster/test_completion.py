from __future__ import annotations

from pathlib import Path

from phoenix_ray.cluster.completion import ROUNDS, recompute_lost, remove_half_written, without_given_up
from phoenix_ray.dataset.shards import CommittedFrames, Expected, version_key
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import committed_in, take_survey
from tests.dataset.made_up import IDENTITY, commit, make_video, new_dataset
from tests.dataset.test_crashes import compact_all

VIDEOS = [make_video("a"), make_video("b"), make_video("c")]


def plan(storage: LocalStorage) -> Expected:
    """Plan all videos, and commit what is missing of them."""
    expected = Expected(committed_in(take_survey(storage, IDENTITY)))
    for video in VIDEOS:
        for first, last in expected.missing_ranges(video):
            commit(storage, video, first, last)
    return expected


def test_a_run_whose_rows_are_all_there_computes_nothing_again(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, VIDEOS[0], 0, 10)
    compact_all(storage)
    expected = plan(storage)

    def never(missing: int, committed: CommittedFrames) -> bool:
        raise AssertionError(missing)

    assert recompute_lost(storage, IDENTITY, expected, (), never) == 0


def test_what_was_deleted_meanwhile_is_computed_again(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, VIDEOS[0], 0, 10)
    compact_all(storage)
    expected = plan(storage)
    for file in list(storage.list("data")):
        storage.delete(file.name)
    storage.delete(next(iter(storage.list("partitions"))).name)
    # Somebody removed this too.
    storage.delete("dataset.json")
    calls: list[int] = []

    def compute(missing: int, committed: CommittedFrames) -> bool:
        calls.append(missing)
        for video in VIDEOS:
            for first, last in committed.missing_ranges(video):
                commit(storage, video, first, last)
        return True

    assert recompute_lost(storage, IDENTITY, expected, (), compute) == 0
    assert calls == [2]
    assert (tmp_path / "dataset.json").exists()


def test_what_goes_on_vanishing_is_reported_and_what_was_given_up_is_left(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    expected = plan(storage)
    calls: list[list[str]] = []
    given_up = {version_key(VIDEOS[1])}

    def lose(missing: int, committed: CommittedFrames) -> bool:
        ranges = without_given_up(committed, given_up)
        calls.append([video.video_id for video in VIDEOS if ranges(video)])
        return True

    for file in list(storage.list("partitions")):
        storage.delete(file.name)
    assert recompute_lost(storage, IDENTITY, expected, given_up, lose) == 2
    assert calls == [["a", "c"]] * ROUNDS


def test_a_run_that_is_stopped_looks_no_further(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    expected = plan(storage)
    for file in list(storage.list("partitions")):
        storage.delete(file.name)
    assert recompute_lost(storage, IDENTITY, expected, (), lambda *_: False) == 3


def test_partitions_that_killed_workers_had_not_finished_are_removed(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, VIDEOS[0], 0, 10)
    (whole,) = [file.name for file in storage.list("partitions")]
    half_written = tmp_path / whole.rpartition("/")[0] / ".tmp-0123456789abcdef"
    half_written.write_bytes(b"PAR1")
    status = tmp_path / "runs" / "run" / ".tmp-0123456789abcdef"
    status.parent.mkdir(parents=True)
    status.write_bytes(b"{")
    remove_half_written(storage)
    assert [file.name for file in storage.list("partitions")] == [whole]
    assert status.exists()
