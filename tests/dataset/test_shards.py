from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.shards import (
    CommittedFrames,
    FrameRange,
    PartitionRange,
    Version,
    live_ranges,
    missing_ranges,
    pick_once,
)
from phoenix_ray.dataset.survey import committed_in, take_survey
from tests.dataset.made_up import IDENTITY, commit, make_video, new_dataset
from tests.dataset.test_crashes import compact_all

RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: (min(pair), max(pair))))


def frames_of(ranges: list[FrameRange]) -> set[int]:
    return {frame for first, last in ranges for frame in range(first, last)}


@given(RANGES, st.integers(0, 30))
def test_missing_frames_are_the_complement(ranges: list[FrameRange], frame_count: int) -> None:
    missing = missing_ranges(ranges, frame_count)
    assert frames_of(missing) == set(range(frame_count)) - frames_of(ranges)
    assert missing == sorted(missing)
    assert all(first < last for first, last in missing)
    assert all(one[1] < other[0] for one, other in pairwise(missing))


@given(RANGES)
def test_every_frame_is_picked_once_in_order_from_a_range_that_has_it(ranges: list[FrameRange]) -> None:
    picks = pick_once(ranges)
    frames = [frame for pick in picks for frame in range(pick.first, pick.last)]
    assert frames == sorted(frames_of(ranges))
    for pick in picks:
        assert ranges[pick.source][0] <= pick.first < pick.last <= ranges[pick.source][1]


@dataclass(frozen=True)
class Held:
    version: Version
    first: int
    last: int
    modified: float = 0.0


OLD = Version("old", 10)
NEW = Version("new", 8)


def test_without_partitions_of_another_version_compacted_rows_are_the_video() -> None:
    assert live_ranges([Held(OLD, 0, 10)], OLD) is None
    assert live_ranges([], OLD) is None
    assert live_ranges([], None) is None


def test_compacted_rows_stay_the_video_until_the_new_version_is_whole() -> None:
    half = [Held(NEW, 0, 4, 9.0)]
    assert live_ranges(half, OLD) is None
    whole = [*half, Held(NEW, 4, 8, 9.0)]
    assert live_ranges(whole, OLD) == whole


def test_a_whole_version_wins_over_a_younger_unfinished_one() -> None:
    whole = [Held(OLD, 0, 10, 1.0)]
    assert live_ranges([*whole, Held(NEW, 0, 4, 2.0)], None) == whole


def test_of_two_whole_versions_the_younger_wins() -> None:
    younger = [Held(NEW, 0, 8, 2.0)]
    assert live_ranges([*younger, Held(OLD, 0, 10, 1.0)], None) == younger


def test_unfinished_videos_show_what_there_is() -> None:
    half = [Held(NEW, 0, 4)]
    assert live_ranges(half, None) == half


def test_a_frame_count_that_changed_is_another_version() -> None:
    assert live_ranges([Held(Version("old", 11), 0, 11)], OLD) == [Held(Version("old", 11), 0, 11)]


VIDEO = make_video(frames=10)
CHANGED = replace(VIDEO, signature="2")
RANGE = st.tuples(st.integers(0, 9), st.integers(1, 10)).filter(lambda pair: pair[0] < pair[1])


def test_nothing_is_committed_at_first(tmp_path: Path) -> None:
    committed = committed_in(take_survey(new_dataset(tmp_path), IDENTITY))
    assert committed.missing_ranges(VIDEO) == [(0, 10)]
    assert committed.partitions == 0


@given(st.lists(RANGE, max_size=5))
def test_what_partitions_hold_is_not_missing(ranges: list[tuple[int, int]]) -> None:
    held = [PartitionRange(Version("1", 10), first, last, 0.0) for first, last in ranges]
    committed = CommittedFrames([], [("train", "video", frames) for frames in held])
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
