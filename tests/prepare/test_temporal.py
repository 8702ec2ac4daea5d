from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.prepare import AddMotion, FillGaps, ImageHeights, ShoulderWidth, ToFrameRate, ToLength
from tests.prepare.made_up import assert_same, make_video, prepare, videos


@given(video=videos(), frames=st.integers(1, 30))
@settings(max_examples=40)
def test_values_lie_between_their_neighbours_and_come_from_present_ones(video: VideoLandmarks, frames: int) -> None:
    before, after = prepare(video), prepare(video, ToLength(frames))
    assert len(after) == frames
    assert np.array_equal(np.isnan(after.points).any(axis=2), ~after.mask)
    place = np.interp(after.times, before.times, np.arange(len(before)))
    sides = before.points[np.floor(place + 1e-9).astype(int)], before.points[np.ceil(place - 1e-9).astype(int)]
    low, high = np.fmin(*sides), np.fmax(*sides)
    inside = (after.points >= low - 1e-6) & (after.points <= high + 1e-6)
    assert inside[after.mask].all()


@given(video=videos())
@settings(max_examples=30)
def test_the_own_rate_and_length_change_nothing(video: VideoLandmarks) -> None:
    before = prepare(video)
    assert_same(prepare(video, ToFrameRate(25)), before, 1e-6)
    assert_same(prepare(video, ToLength(len(video))), before, 1e-6)


@given(video=videos())
@settings(max_examples=30)
def test_twice_the_frames_hold_the_old_ones(video: VideoLandmarks) -> None:
    before, after = prepare(video), prepare(video, ToFrameRate(50))
    assert len(after) == 2 * len(before) - 1
    np.testing.assert_allclose(after.points[::2], before.points, atol=1e-6)


def test_beside_a_gap_the_nearer_frame_decides() -> None:
    video = make_video(2, {"left_hand": [1]})
    prepared = prepare(video, ToLength(4))
    hand = prepared.column(("left_hand", 0))
    assert prepared.mask[:, hand].tolist() == [True, True, False, False]
    assert np.array_equal(prepared.points[1, hand], video.points["left_hand"][0, 0])


def test_what_comes_from_a_filled_frame_is_marked_and_has_no_confidence() -> None:
    prepared = prepare(make_video(3, {"left_hand": [1]}), FillGaps(), ToLength(5))
    hand = prepared.column(("left_hand", 0))
    assert prepared.filled[:, hand].tolist() == [False, True, True, True, False]
    assert (prepared.confidence[:, hand] > 0).tolist() == [True, False, False, False, True]


@given(video=videos(), frames=st.integers(1, 30), rate=st.sampled_from([10.0, 24.0, 50.0]))
@settings(max_examples=40)
def test_confidence_is_0_exactly_where_a_point_is_missing_or_filled(
    video: VideoLandmarks, frames: int, rate: float
) -> None:
    for transform in (ToLength(frames), ToFrameRate(rate)):
        for fill in (FillGaps("linear"), FillGaps("hold", 2)):
            after = prepare(video, fill, transform)
            assert np.array_equal(after.confidence > 0, after.mask & ~after.filled)


def test_a_video_without_frames_stays_empty() -> None:
    assert len(prepare(make_video(0), ToLength(8))) == len(prepare(make_video(0), ToFrameRate(5))) == 0


def test_resampling_after_normalising_each_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="comes before normalising each frame"):
        prepare(make_video(), ImageHeights(), ShoulderWidth("frame"), ToLength(4))
    assert len(prepare(make_video(), ImageHeights(), ShoulderWidth("video"), ToLength(4))) == 4


@given(video=videos())
@settings(max_examples=30)
def test_dropping_the_motion_gives_the_points_back(video: VideoLandmarks) -> None:
    before = prepare(video)
    for motion in (AddMotion(), AddMotion(acceleration=True)):
        after = motion(before)
        assert_same(motion.inverse(after), before)
        assert np.isfinite(after.points[before.mask]).all()
        assert np.isnan(after.points[~before.mask]).all()


def test_motion_is_change_per_second() -> None:
    video = make_video(5)
    time = np.arange(5, dtype=np.float32) / 25
    video.points["pose"][:, :, 0] = (2 * time)[:, np.newaxis]
    video.points["pose"][:, :, 1] = (time**2)[:, np.newaxis]
    prepared = prepare(video, AddMotion(acceleration=True), axes="xy")
    assert prepared.axes == ("x", "y", "dx", "dy", "ddx", "ddy")
    shoulder = prepared.points[:, 0]
    np.testing.assert_allclose(shoulder[:, 2], 2, rtol=1e-4)
    np.testing.assert_allclose(shoulder[1:-1, 3], 2 * time[1:-1], rtol=1e-3)
    np.testing.assert_allclose(shoulder[2, 4:], [0, 2], atol=1e-3)


def test_a_gap_gives_one_sided_motion_and_a_lone_frame_none() -> None:
    video = make_video(6, {"left_hand": [1, 3]})
    video.points["left_hand"][[0, 2, 4, 5]] = np.array([0, 1, 2, 3], np.float32)[:, np.newaxis, np.newaxis]
    prepared = prepare(video, AddMotion(), axes="xy")
    speed = prepared.points[:, prepared.column(("left_hand", 0)), 2]
    np.testing.assert_allclose(speed, [0, np.nan, 0, np.nan, 25, 25], rtol=1e-5)
