from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts import BLAZEPOSE
from tests.prepare.made_up import make_video


def without_frames() -> VideoLandmarks:
    video = make_video(1)
    return replace(
        video,
        frame_index=video.frame_index[:0],
        frame_names=(),
        timestamps=video.timestamps[:0],
        sizes=video.sizes[:0],
        status=(),
        points={part: values[:0] for part, values in video.points.items()},
        scores={part: values[:0] for part, values in video.scores.items()},
    )


def test_the_repr_of_a_video_is_a_line() -> None:
    video = make_video(30, {"left_hand": range(3)})
    video = replace(video, split="train", video_id="monday/1", status=("ok",) * 28 + ("unreadable",) * 2)
    assert repr(video) == (
        "<VideoLandmarks train/monday/1: 30 frames at 25 fps, 2 unreadable; "
        "pose 100%, pose_world 100%, left_hand 90%, right_hand 100%, face 100% (holistic-468)>"
    )


def test_a_video_without_frames_or_clock_has_a_repr() -> None:
    assert repr(replace(without_frames(), fps=None)).startswith("<VideoLandmarks train/video-0: 0 frames; pose 0%")


@given(st.text(max_size=300), st.text(max_size=300), st.lists(st.text(max_size=100), max_size=30))
def test_the_repr_of_a_video_is_short_whatever_it_holds(split: str, video_id: str, statuses: list[str]) -> None:
    video = replace(make_video(1), split=split, video_id=video_id * 50, status=tuple(statuses))
    assert len(repr(video)) < 500
    assert len(repr(video).splitlines()) == 1


def test_a_video_is_a_table_with_a_row_for_each_frame() -> None:
    video = make_video(8, {"left_hand": [2]})
    table = video.to_pandas()
    assert list(table.columns[:7]) == [
        *("frame_index", "timestamp", "status", "frame_name", "width", "height"),
        "pose_score",
    ]
    assert table.shape == (8, 6 + 4 + 33 * 4 + 33 * 3 + 2 * 21 * 3 + 468 * 3)
    assert table.columns.is_unique
    np.testing.assert_array_equal(table["left_hand_8_x"], video.points["left_hand"][:, 8, 0])
    np.testing.assert_array_equal(table["pose_15_visibility"], video.points["pose"][:, 15, 3])
    np.testing.assert_array_equal(table["face_467_z"], video.points["face"][:, 467, 2])
    np.testing.assert_array_equal(table["face_score"], video.scores["face"])
    assert table["left_hand_8_x"].isna().tolist() == [row == 2 for row in range(8)]
    assert table["left_hand_8_x"].dtype == np.float32
    assert (table["left_hand_8_x"] * table["width"]).max() < 210


def test_a_long_table_has_a_row_for_each_point() -> None:
    video = make_video(4, {"left_hand": [2]})
    table = video.to_pandas(long=True)
    assert len(table) == 4 * (33 + 33 + 21 + 21 + 468)
    hand = table[(table["part"] == "left_hand") & (table["point"] == 8)]
    assert hand["name"].tolist() == ["index_finger_tip"] * 4
    assert hand["frame_index"].tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(hand["y"], video.points["left_hand"][:, 8, 1])
    np.testing.assert_array_equal(hand["score"], video.scores["left_hand"])
    assert hand["visibility"].isna().all()
    pose = table[(table["part"] == "pose") & (table["name"] == "left_wrist")]
    np.testing.assert_array_equal(pose["visibility"], video.points["pose"][:, 15, 3])
    assert table.groupby("part", observed=True).size().to_dict()["face"] == 4 * 468


@pytest.mark.parametrize("long", [False, True])
def test_a_table_has_the_wanted_parts_in_the_wanted_order(long: bool) -> None:
    table = make_video(3).to_pandas(["right_hand", "left_hand"], long)
    if long:
        assert table["part"].unique().tolist() == ["right_hand", "left_hand"]
    else:
        assert [name for name in table.columns if name.endswith("_0_x")] == ["right_hand_0_x", "left_hand_0_x"]
    with pytest.raises(KeyError, match="no part 'foot'"):
        make_video(3).to_pandas(["foot"], long)


def test_a_part_may_be_named_alone() -> None:
    video = make_video(3)
    assert np.array_equal(video.array("left_hand"), video.array(["left_hand"]), equal_nan=True)
    assert list(video.to_pandas("left_hand").columns) == list(video.to_pandas(["left_hand"]).columns)
    assert video.layout.only("left_hand") == video.layout.only(["left_hand"])
    with pytest.raises(KeyError, match="no part 'hand': its parts are pose, "):
        video.array("hand")


@pytest.mark.parametrize("long", [False, True])
def test_a_video_without_frames_parts_or_clock_is_a_table(long: bool) -> None:
    assert len(without_frames().to_pandas(long=long)) == 0
    assert len(make_video(2).to_pandas([], long)) == (0 if long else 2)
    pose = make_video(2, fps=None, layout=BLAZEPOSE).to_pandas(long=long)
    assert pose["timestamp"].isna().all()
    assert isinstance(pose, pandas.DataFrame)
