from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.exports.selection import require_holistic, select
from phoenix_ray.landmarks import Layout, Part, holistic
from tests.exports.made_up import VIDEOS, InMemory

COLLECTION = InMemory(VIDEOS)
KEYS = tuple((video.split, video.video_id) for video in VIDEOS)


def test_splits_and_videos_narrow_down_together() -> None:
    assert select(COLLECTION).keys == KEYS
    assert select(COLLECTION, splits=["dev"]).keys == KEYS[:1]
    assert select(COLLECTION, videos=["b/ü.1", "a"]).keys == (KEYS[0], KEYS[2])
    assert select(COLLECTION, ["train"], ["b/ü.1", "a"]).keys == (KEYS[2],)


def test_what_does_not_exist_is_told() -> None:
    with pytest.raises(ConfigError, match=r"no split 'trian'.* Did you mean 'train'"):
        select(COLLECTION, splits=["trian"])
    with pytest.raises(ConfigError, match="no video 'c'"):
        select(COLLECTION, videos=["c"])
    with pytest.raises(ConfigError, match="no video to export"):
        select(COLLECTION, ["dev"], ["b/ü.1"])


def test_frames_are_counted_as_videos_are_done() -> None:
    counted: list[int] = []
    selection = replace(select(COLLECTION), finished=counted.append)
    for split, part in selection.by_split():
        assert {video.split for video in part.videos()} == {split}
    assert counted == [3, 6, 1]


def test_a_video_with_gaps_is_refused() -> None:
    gap = replace(VIDEOS[0], frame_index=np.array([0, 1, 4], np.int32))
    with pytest.raises(OutputError, match="dev/a has frames missing before frame 4: finish the run"):
        list(select(InMemory((gap,))).videos())


def test_formats_of_holistic_refuse_other_layouts() -> None:
    require_holistic(holistic(478), "pose")
    with pytest.raises(ConfigError, match=r"format 'pose' needs MediaPipe Holistic.*has no points of 'pose'"):
        require_holistic(Layout("coco-17", (Part("body", ("nose",), ("x", "y")),)), "pose")
