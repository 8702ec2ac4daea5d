from __future__ import annotations

import numpy as np

from benchmarks.storage import FRAMES_A_VIDEO, RANDOM_READS, grow, read_at_random
from tests.exports.made_up import make_landmarks


def test_grown_videos_are_many_different_and_the_same_each_time() -> None:
    clip = make_landmarks()
    videos, again = list(grow([clip], 20)), list(grow([clip], 20))
    assert len({video.video_id for video in videos}) == 20
    assert FRAMES_A_VIDEO / 2 < np.mean([len(video) for video in videos]) < 3 * FRAMES_A_VIDEO / 2
    for video, same in zip(videos, again, strict=True):
        for part, points in video.points.items():
            np.testing.assert_array_equal(points, same.points[part])
            assert points.shape == (len(video), *clip.points[part].shape[1:])
    assert not np.array_equal(videos[0].points["pose"][:20], videos[1].points["pose"][:20])


def test_missing_parts_stay_missing_when_a_clip_grows() -> None:
    clip = make_landmarks()
    missing = {part for part in clip.points if not clip.present(part).all()}
    assert missing, "the clip should have some"
    for video in grow([clip], 3):
        assert {part for part in video.points if not video.present(part).all()} <= missing


def test_reads_are_of_every_kind_of_video_and_each_is_timed() -> None:
    keys = [("train", str(number)) for number in range(10)]
    read: list[tuple[str, str]] = []
    assert len(read_at_random(keys, read.append)) == RANDOM_READS
    assert set(read) == set(keys)
