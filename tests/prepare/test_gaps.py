from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.prepare import FillGaps
from tests.prepare.made_up import assert_same, make_video, prepare, videos

METHODS: tuple[Literal["linear", "hold"], ...] = ("linear", "hold")


@given(video=videos(), longest=st.none() | st.integers(0, 4))
@settings(max_examples=40)
@pytest.mark.parametrize("method", METHODS)
def test_filled_points_are_marked_and_can_be_emptied_again(
    method: Literal["linear", "hold"], video: VideoLandmarks, longest: int | None
) -> None:
    before = prepare(video)
    fill = FillGaps(method, longest)
    after = fill(before)
    assert np.array_equal(after.filled, after.mask & ~before.mask)
    assert np.array_equal(after.points[before.mask], before.points[before.mask])
    assert not after.confidence[after.filled].any()
    assert_same(fill.inverse(after), before)


def hand(method: Literal["linear", "hold"], missing: list[int], frames: int, longest: int | None = None) -> list[float]:
    """The wrist's x when frame n holds n, but for the missing frames."""
    video = make_video(frames, {"left_hand": missing})
    present = video.present("left_hand")
    video.points["left_hand"][present] = np.arange(frames, dtype=np.float32)[present][:, np.newaxis, np.newaxis]
    prepared = prepare(video, FillGaps(method, longest))
    return [float(value) for value in np.nan_to_num(prepared.points[:, prepared.column(("left_hand", 0)), 0], nan=-1)]


def test_linear_goes_straight_across_a_gap_and_leaves_the_ends() -> None:
    assert hand("linear", [0, 2, 3, 6], 7) == [-1, 1, 2, 3, 4, 5, -1]


def test_hold_repeats_the_frame_before_and_leaves_the_beginning() -> None:
    assert hand("hold", [0, 2, 3, 6], 7) == [-1, 1, 1, 1, 4, 5, 5]


def test_a_gap_longer_than_allowed_stays_whole() -> None:
    assert hand("linear", [1, 3, 4], 6, longest=1) == [0, 1, 2, -1, -1, 5]
    assert hand("hold", [1, 4, 5], 6, longest=1) == [0, 0, 2, 3, -1, -1]


def test_linear_follows_the_clock_not_the_count() -> None:
    video = make_video(3, {"left_hand": [1]})
    video.timestamps[:] = [0.0, 0.1, 0.4]
    video.points["left_hand"][[0, 2]] = np.array([0, 4], np.float32)[:, np.newaxis, np.newaxis]
    prepared = prepare(video, FillGaps())
    assert prepared.points[1, prepared.column(("left_hand", 0)), 0] == pytest.approx(1.0)
