from __future__ import annotations

import numpy as np
import pytest

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.registry import open_source
from phoenix_ray.sources.synthetic import count_frames


def synthetic_videos(**settings: object) -> list[Video]:
    source = open_source(SourceSettings.model_validate({"kind": "synthetic", **settings}))
    videos = list(source.videos())
    assert all(isinstance(video, Video) for video in videos)
    return [video for video in videos if isinstance(video, Video)]


def read_pictures(video: Video, first: int, last: int) -> list[bytes]:
    images = [frame.image for frame in read_frames(video, first, last, DecodeSettings())]
    return [image.tobytes() for image in images if image is not None]


def test_it_has_as_many_videos_as_asked_for_sorted_and_the_same_every_time() -> None:
    videos = synthetic_videos(max_videos_per_split=50)
    assert len({video.video_id for video in videos}) == 50
    assert videos == sorted(videos, key=lambda video: (video.split, video.video_id))
    assert videos == synthetic_videos(max_videos_per_split=50)


def test_more_videos_begin_with_the_same_ones() -> None:
    assert synthetic_videos(max_videos_per_split=30)[:20] == synthetic_videos(max_videos_per_split=20)


def test_lengths_are_those_of_a_sign_language_corpus() -> None:
    lengths = np.array([count_frames(number) for number in range(8_257)])
    # PHOENIX-2014-T: 16 to 475 frames, 115 on average, quartiles at 81, 110 and 142.
    assert lengths.min() >= 16
    assert lengths.max() <= 475
    assert lengths.mean() == pytest.approx(115, abs=2)
    assert np.quantile(lengths, [0.25, 0.5, 0.75]) == pytest.approx([81, 110, 142], abs=5)


def test_a_frame_is_the_same_whatever_range_it_is_read_in() -> None:
    video = synthetic_videos(max_videos_per_split=1)[0]
    whole = [read_pictures(video, index, index + 1)[0] for index in range(10)]
    assert read_pictures(video, 5, 9) == whole[5:9]
    assert len(set(whole)) == 10


def test_a_limit_shortens_videos_and_changes_their_signature() -> None:
    long, short = synthetic_videos(max_videos_per_split=1)[0], synthetic_videos(limit_frames=3)[0]
    assert short.frame_count == 3
    assert short.signature != long.signature


def test_it_has_one_split() -> None:
    with pytest.raises(SourceError, match="'train'"):
        synthetic_videos(splits=["train"])
