from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset.coverage import FrameRange, Version, live_holdings, missing_frames, pick_once

RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).map(lambda pair: (min(pair), max(pair))))


def frames_of(ranges: list[FrameRange]) -> set[int]:
    return {frame for first, last in ranges for frame in range(first, last)}


@given(RANGES, st.integers(0, 30))
def test_missing_frames_are_the_complement(ranges: list[FrameRange], frame_count: int) -> None:
    missing = missing_frames(ranges, frame_count)
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
    assert live_holdings([Held(OLD, 0, 10)], OLD) is None
    assert live_holdings([], OLD) is None
    assert live_holdings([], None) is None


def test_compacted_rows_stay_the_video_until_the_new_version_is_whole() -> None:
    half = [Held(NEW, 0, 4, 9.0)]
    assert live_holdings(half, OLD) is None
    whole = [*half, Held(NEW, 4, 8, 9.0)]
    assert live_holdings(whole, OLD) == whole


def test_a_whole_version_wins_over_a_younger_unfinished_one() -> None:
    whole = [Held(OLD, 0, 10, 1.0)]
    assert live_holdings([*whole, Held(NEW, 0, 4, 2.0)], None) == whole


def test_of_two_whole_versions_the_younger_wins() -> None:
    younger = [Held(NEW, 0, 8, 2.0)]
    assert live_holdings([*younger, Held(OLD, 0, 10, 1.0)], None) == younger


def test_unfinished_videos_show_what_there_is() -> None:
    half = [Held(NEW, 0, 4)]
    assert live_holdings(half, None) == half


def test_a_frame_count_that_changed_is_another_version() -> None:
    assert live_holdings([Held(Version("old", 11), 0, 11)], OLD) == [Held(Version("old", 11), 0, 11)]
