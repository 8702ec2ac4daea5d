from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phoenix_ray.prepare import KeepPoints, TakePoints
from tests.prepare.made_up import make_video


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
