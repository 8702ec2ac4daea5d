from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.model_comparison.sample import FrameRun, choose_runs, read_runs
from phoenix_ray.sources.base import Video
from tests.model_comparison.made_up import listed


def places(runs: list[FrameRun]) -> list[tuple[str, int, int]]:
    return [(run.video.video_id, run.first, run.end) for run in runs]


def test_runs_lie_in_the_middle_of_videos_at_equal_distances() -> None:
    videos = listed({f"v{number}": 100 for number in range(10)})
    assert places(choose_runs(videos, 40, 2)) == [("v2", 40, 60), ("v7", 40, 60)]


def test_short_videos_leave_their_frames_to_others() -> None:
    assert places(choose_runs(listed({"a": 100, "b": 4, "c": 100}), 40, 3)) == [
        ("a", 41, 59),
        ("b", 0, 4),
        ("c", 41, 59),
    ]


def test_few_frames_come_from_few_videos_so_that_they_follow_each_other() -> None:
    videos = listed({f"v{number}": 100 for number in range(100)})
    assert len(choose_runs(videos, 200)) == 10
    assert [run.end - run.first for run in choose_runs(videos, 20)] == [10, 10]
    assert len(choose_runs(videos, 3)) == 1
    assert len(choose_runs(videos, 3, 50)) == 3


def test_with_labels_runs_lie_where_most_labels_are() -> None:
    videos = listed({"a": 100, "b": 100, "c": 100})
    labelled = {("train", "b"): [3, 5, 6, 80], ("train", "c"): [50]}
    assert places(choose_runs(videos, 20, 2, labelled)) == [("b", 3, 13), ("c", 45, 55)]


def test_videos_without_frames_give_none() -> None:
    assert choose_runs(listed({"a": 0}), 10) == []
    assert choose_runs([], 10) == []
    assert choose_runs(listed({"a": 5}), 10, labelled={}) == []


@given(
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=12),
    frames=st.integers(1, 200),
    most=st.integers(1, 12) | st.none(),
    labels=st.lists(st.integers(0, 59), max_size=6),
)
def test_a_sample_has_as_many_frames_as_there_are(
    counts: list[int], frames: int, most: int | None, labels: list[int]
) -> None:
    videos = listed({f"v{number:02}": count for number, count in enumerate(counts)})
    labelled = {
        (video.split, video.video_id): [index for index in labels if index < video.frame_count] for video in videos
    }
    for given_labels in (None, labelled):
        runs = choose_runs(videos, frames, most, given_labels)
        assert all(0 <= run.first < run.end <= run.video.frame_count for run in runs)
        total = sum(run.end - run.first for run in runs)
        assert total <= frames
        assert total == min(frames, sum(run.video.frame_count for run in runs)) or not runs
        assert runs == choose_runs(videos, frames, most, given_labels)


def test_a_sample_of_which_no_frame_can_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a picture")
    video = Video("train", "a", "frame_folder", str(tmp_path), 1, "s")
    with pytest.raises(SourceError, match="No frame of the sample can be read"):
        read_runs([FrameRun(video, 0, 1)], DecodeSettings(), lambda done, total, remark="": None)
