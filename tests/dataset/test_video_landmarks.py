from __future__ import annotations

from dataclasses import replace

from tests.prepare.made_up import make_video


def test_the_repr_of_a_video_is_a_line() -> None:
    video = replace(make_video(30), split="train", video_id="monday/1")
    parts = "pose, pose_world, left_hand, right_hand, face"
    assert repr(video) == f"<VideoLandmarks train/monday/1: 30 frames, {parts} (holistic-468)>"
