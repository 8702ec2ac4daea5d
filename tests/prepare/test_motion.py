from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.prepare import AddMotion
from tests.prepare.made_up import assert_same, make_video, prepare, videos


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
