from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts import Layout
from phoenix_ray.prepare import (
    AddMotion,
    Compose,
    FillGaps,
    ImageHeights,
    KeepPoints,
    Mirror,
    OneEuro,
    PartBoxes,
    SavitzkyGolay,
    ShoulderWidth,
    TakePoints,
    ToFrameRate,
    ToLength,
    WristCentred,
)
from phoenix_ray.prepare.prepared import Transform
from tests.prepare.made_up import LAYOUT, assert_same, make_video, prepare, videos


def test_points_come_in_the_order_of_the_words_with_nan_where_missing() -> None:
    video = make_video(4, {"left_hand": [1]})
    prepared = TakePoints("left_hand:0", "pose:12,11")(video)
    assert prepared.chosen == (("left_hand", 0), ("pose", 12), ("pose", 11))
    assert np.array_equal(prepared.points[:, 0], video.points["left_hand"][:, 0, :2], equal_nan=True)
    assert np.array_equal(prepared.points[:, 2], video.points["pose"][:, 11, :2])
    assert prepared.mask[:, 0].tolist() == [True, False, True, True]
    assert not prepared.filled.any()


def test_confidence_is_visibility_in_the_pose_and_the_score_elsewhere() -> None:
    video = make_video(3, {"right_hand": [2]})
    prepared = TakePoints("right_hand:3", "pose:7")(video)
    assert np.array_equal(prepared.confidence[:2, 0], video.scores["right_hand"][:2])
    assert prepared.confidence[2, 0] == 0
    assert np.array_equal(prepared.confidence[:, 1], video.points["pose"][:, 7, 3])


def test_times_come_from_the_source_or_else_from_an_assumed_rate() -> None:
    assert np.allclose(TakePoints("hands")(make_video(3, fps=50.0)).times, [0, 0.02, 0.04])
    assert np.allclose(TakePoints("hands", frame_rate=10)(make_video(3, fps=None)).times, [0, 0.1, 0.2])


def test_the_aspect_is_that_of_readable_frames() -> None:
    video = make_video(3)
    assert TakePoints("hands")(video).aspect == pytest.approx(210 / 260)
    video.sizes[0] = 0
    assert TakePoints("hands")(video).aspect == pytest.approx(210 / 260)
    assert TakePoints("hands")(replace(video, sizes=np.zeros_like(video.sizes))).aspect == 1.0


def test_kept_points_are_those_asked_for() -> None:
    prepared = TakePoints("pose:11-13")(make_video())
    kept = KeepPoints((("pose", 13), ("pose", 11)))(prepared)
    assert kept.chosen == (("pose", 13), ("pose", 11))
    assert np.array_equal(kept.points, prepared.points[:, [2, 0]])
    with pytest.raises(ValueError, match="add 'face:5' to TakePoints"):
        KeepPoints((("face", 5),))(prepared)


AFTER_HEIGHTS = (ShoulderWidth(), ShoulderWidth("frame"), PartBoxes(), WristCentred())
ANY_ORDER = (FillGaps("linear", 2), FillGaps("hold"), OneEuro(), SavitzkyGolay(3, 1), ToFrameRate(11), ToLength(7))


@given(video=videos())
@settings(max_examples=30)
def test_mirroring_twice_is_the_identity(video: VideoLandmarks) -> None:
    before = prepare(video)
    assert_same(Mirror().inverse(Mirror()(before)), before, 1e-6)
    normalised = prepare(video, ImageHeights(), PartBoxes(), AddMotion(acceleration=True))
    assert_same(Mirror()(Mirror()(normalised)), normalised)


@given(video=videos())
@settings(max_examples=20)
@pytest.mark.parametrize("transform", AFTER_HEIGHTS, ids=repr)
def test_mirroring_commutes_with_every_normalisation(transform: Transform, video: VideoLandmarks) -> None:
    first = prepare(video, Mirror(), ImageHeights(1.4), transform)
    assert_same(first, prepare(video, ImageHeights(1.4), Mirror(), transform), 2e-4)
    assert_same(first, prepare(video, ImageHeights(1.4), transform, Mirror()), 2e-4)


@given(video=videos())
@settings(max_examples=20)
@pytest.mark.parametrize("transform", ANY_ORDER, ids=repr)
def test_mirroring_commutes_with_what_happens_in_time(transform: Transform, video: VideoLandmarks) -> None:
    assert_same(prepare(video, Mirror(), transform), prepare(video, transform, Mirror()), 1e-5)


@given(video=videos())
@settings(max_examples=20)
def test_mirroring_commutes_with_velocities(video: VideoLandmarks) -> None:
    motion = AddMotion(acceleration=True)
    assert_same(
        prepare(video, ImageHeights(), Mirror(), motion), prepare(video, ImageHeights(), motion, Mirror()), 1e-5
    )


def test_the_left_hand_becomes_the_right_one_across_the_image() -> None:
    before = prepare(make_video(3, {"left_hand": [1]}))
    after = Mirror()(before)
    left, right = before.column(("left_hand", 8)), before.column(("right_hand", 8))
    np.testing.assert_allclose(after.points[:, right, 0], 1 - before.points[:, left, 0])
    assert np.array_equal(after.points[:, right, 1:], before.points[:, left, 1:], equal_nan=True)
    assert not after.mask[1, right]
    assert after.mask[1, left]
    assert after.confidence[1, right] == 0
    assert after.mirrored


def test_image_points_of_a_mirrored_video_lie_in_the_mirrored_image() -> None:
    video = make_video()
    normalised = prepare(video, ImageHeights(), ShoulderWidth(), Mirror())
    np.testing.assert_allclose(normalised.image_points(), prepare(video, Mirror()).points, atol=1e-5)


def test_a_point_without_its_counterpart_is_refused() -> None:
    with pytest.raises(ValueError, match="add 'pose:12' to TakePoints"):
        Compose(TakePoints("pose:11"), Mirror())(make_video())


def test_a_layout_without_sides_is_refused() -> None:
    one_hand = Layout("one-hand", (LAYOUT.part("left_hand"),))
    with pytest.raises(ValueError, match="other side of point 0 of left_hand"):
        Compose(TakePoints("left_hand:0"), Mirror())(make_video(layout=one_hand))
