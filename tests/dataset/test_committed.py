from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset.committed import Committed, HeldFrames, committed_in
from phoenix_ray.dataset.coverage import Version
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.survey import take_survey
from tests.dataset.made_up import IDENTITY, commit, make_video, new_dataset
from tests.dataset.test_crashes import compact_all

VIDEO = make_video(frames=10)
CHANGED = replace(VIDEO, signature="2")
RANGE = st.tuples(st.integers(0, 9), st.integers(1, 10)).filter(lambda pair: pair[0] < pair[1])


def test_nothing_is_committed_at_first(tmp_path: Path) -> None:
    committed = committed_in(take_survey(new_dataset(tmp_path), IDENTITY))
    assert committed.missing_ranges(VIDEO) == [(0, 10)]
    assert committed.partitions == 0


@given(st.lists(RANGE, max_size=5))
def test_what_partitions_hold_is_not_missing(ranges: list[tuple[int, int]]) -> None:
    held = [HeldFrames(Version("1", 10), first, last, 0.0) for first, last in ranges]
    committed = Committed([], [("train", "video", frames) for frames in held])
    missing = {frame for first, last in committed.missing_ranges(VIDEO) for frame in range(first, last)}
    assert missing == set(range(10)) - {frame for first, last in ranges for frame in range(first, last)}
    assert committed.missing_ranges(replace(VIDEO, split="dev")) == [(0, 10)]
    assert committed.missing_ranges(CHANGED) == [(0, 10)]
    assert len(committed.stale_partitions(CHANGED)) == len(ranges)
    assert committed.stale_partitions(VIDEO) == []


@pytest.mark.parametrize("compacted", [False, True])
def test_a_committed_video_is_done_until_its_source_changes(tmp_path: Path, compacted: bool) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, VIDEO, 0, 10)
    if compacted:
        compact_all(storage)
    committed = committed_in(take_survey(storage, IDENTITY))
    assert committed.missing_ranges(VIDEO) == []
    assert committed.missing_ranges(CHANGED) == [(0, 10)]
    assert committed.missing_ranges(replace(VIDEO, frame_count=11)) == [(0, 11)]
    assert len(committed.stale_partitions(CHANGED)) == (0 if compacted else 1)


def test_the_new_version_of_a_compacted_video_counts_frame_by_frame(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, VIDEO, 0, 10)
    compact_all(storage)
    commit(storage, CHANGED, 0, 4)
    committed = committed_in(take_survey(storage, IDENTITY))
    assert committed.missing_ranges(CHANGED) == [(4, 10)]
    assert committed.missing_ranges(VIDEO) == []
    commit(storage, CHANGED, 4, 10)
    committed = committed_in(take_survey(storage, IDENTITY))
    assert committed.missing_ranges(CHANGED) == []
    assert committed.missing_ranges(VIDEO) == [(0, 10)]


def test_a_damaged_partition_is_missing(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, VIDEO, 0, 5)
    storage.write(commit(storage, VIDEO, 5, 10).name, b"PAR1")
    committed = committed_in(take_survey(storage, IDENTITY))
    assert committed.missing_ranges(VIDEO) == [(5, 10)]
    assert len(committed.damaged) == 1


@pytest.mark.parametrize("harm", ["gone", "cut short", "footer"])
@pytest.mark.parametrize("table", [True, False])
def test_the_videos_of_a_damaged_data_file_are_missing(tmp_path: Path, harm: str, table: bool) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, VIDEO, 0, 10)
    compact_all(storage)
    (file,) = read_manifest(storage, IDENTITY).files
    content = storage.read(file.name)
    if harm == "gone":
        storage.delete(file.name)
    else:
        storage.write(file.name, content[:-1] if harm == "cut short" else content[:-600] + bytes(600))
    if not table:
        storage.delete("videos.parquet")
    committed = committed_in(take_survey(storage, IDENTITY))
    if harm == "footer" and table:
        # The table of videos stands in for the footer; compaction and reading meet the damage.
        assert committed.missing_ranges(VIDEO) == []
    else:
        assert committed.missing_ranges(VIDEO) == [(0, 10)]
        assert [damage.name for damage in committed.damaged] == [file.name]
