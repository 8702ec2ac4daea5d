from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.prepare import AddMotion, ImageHeights, KeepPoints, PartBoxes, ShoulderWidth, WristCentred
from phoenix_ray.prepare.normalise import PHOENIX_PIXEL_ASPECT, measure_is_missing
from tests.prepare.made_up import assert_same, make_video, prepare, videos

AFTER_HEIGHTS = [ShoulderWidth(), ShoulderWidth("frame"), PartBoxes(), WristCentred()]


@given(video=videos())
@settings(max_examples=30)
@pytest.mark.parametrize("normalisation", AFTER_HEIGHTS, ids=repr)
def test_the_inverse_gives_the_points_back(
    normalisation: ShoulderWidth | PartBoxes | WristCentred, video: VideoLandmarks
) -> None:
    before = prepare(video, ImageHeights(PHOENIX_PIXEL_ASPECT))
    after = normalisation(before)
    if measure_is_missing(after.placements[-1]):
        assert not after.mask.any()
        assert not video.present("pose").any()
        return
    assert np.array_equal(after.mask, before.mask)
    assert_same(normalisation.inverse(after), before, 1e-5)
    np.testing.assert_allclose(after.image_points(), prepare(video).points, atol=1e-5)


@given(video=videos())
@settings(max_examples=30)
def test_image_heights_can_be_undone(video: VideoLandmarks) -> None:
    before = prepare(video)
    assert_same(ImageHeights().inverse(ImageHeights()(before)), before, 1e-6)


def test_image_heights_make_a_square_of_pixels_a_square() -> None:
    video = make_video(1, size=(210, 260))
    video.points["pose"][0, 11:13, :2] = [[0, 0], [1, 1]]
    prepared = prepare(video, ImageHeights(), KeepPoints((("pose", 11), ("pose", 12))))
    np.testing.assert_allclose(prepared.points[0, :, :2] * 260, [[-105, -130], [105, 130]], rtol=1e-6)
    stretched = prepare(video, ImageHeights(PHOENIX_PIXEL_ASPECT)).points[0, 1, :2]
    assert stretched[0] / stretched[1] == pytest.approx(300 / 260, rel=0.01)


@pytest.mark.parametrize("over", ["video", "frame"])
def test_shoulders_are_one_apart_around_zero(over: Literal["video", "frame"]) -> None:
    prepared = prepare(make_video(5, {"pose": [1, 4]}), ImageHeights(), ShoulderWidth(over))
    left, right = (prepared.points[:, prepared.column(("pose", index)), :2] for index in (11, 12))
    width = np.linalg.norm(left - right, axis=1)[[0, 2, 3]]
    middle = ((left + right) / 2)[[0, 2, 3]]
    if over == "video":
        assert np.median(width) == pytest.approx(1, rel=1e-5)
        np.testing.assert_allclose(np.median(middle, axis=0), 0, atol=1e-5)
    else:
        np.testing.assert_allclose(width, 1, rtol=1e-5)
        np.testing.assert_allclose(middle, 0, atol=1e-5)


def test_frames_without_shoulders_take_the_nearest_ones() -> None:
    prepared = prepare(make_video(5, {"pose": [0, 1, 4]}), ImageHeights(), ShoulderWidth("frame"))
    scale = prepared.placements[-1].scale.ravel()
    assert scale[0] == scale[1] == scale[2] != scale[3] == scale[4]
    assert prepared.mask[0, prepared.column(("left_hand", 3))]


def test_each_part_fills_its_box() -> None:
    prepared = prepare(make_video(3, {"face": [1]}), ImageHeights(), PartBoxes())
    for part in ("left_hand", "right_hand"):
        hand = prepared.points[:, [column for column, (name, _) in enumerate(prepared.chosen) if name == part], :2]
        np.testing.assert_allclose(np.ptp(hand, axis=1).max(axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(hand.max(axis=1) + hand.min(axis=1), 0, atol=1e-5)


def test_a_part_of_one_point_keeps_the_unit() -> None:
    before = prepare(make_video(), ImageHeights())
    lone = KeepPoints((("pose", 11),))(before)
    np.testing.assert_allclose(PartBoxes()(lone).points[:, :, :2], 0)


def test_hands_start_at_their_wrists_and_the_rest_stays() -> None:
    before = prepare(make_video(4, {"left_hand": [2]}), ImageHeights())
    after = WristCentred()(before)
    for part in ("left_hand", "right_hand"):
        wrist, tip = before.column((part, 0)), before.column((part, 8))
        assert not np.nan_to_num(after.points[:, wrist, :2]).any()
        expected = before.points[:, tip, :2] - before.points[:, wrist, :2]
        np.testing.assert_allclose(after.points[:, tip, :2], expected)
    body = [column for column, (part, _) in enumerate(before.chosen) if part in ("pose", "face")]
    assert np.array_equal(after.points[:, body], before.points[:, body])


@pytest.mark.parametrize("normalisation", AFTER_HEIGHTS, ids=repr)
def test_lengths_are_refused_before_x_and_y_are_equally_long(
    normalisation: ShoulderWidth | PartBoxes | WristCentred,
) -> None:
    with pytest.raises(ValueError, match="put ImageHeights before it"):
        prepare(make_video(), normalisation)


def test_normalising_after_velocities_is_refused() -> None:
    with pytest.raises(ValueError, match="comes before AddMotion"):
        prepare(make_video(), AddMotion(), ImageHeights())
