from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.exports.selection import require_holistic, select_for_export
from phoenix_ray.landmarks import Layout, Part, holistic
from tests.exports.made_up import VIDEOS, InMemory

COLLECTION = InMemory(VIDEOS)
KEYS = tuple((video.split, video.video_id) for video in VIDEOS)


def test_splits_and_videos_narrow_down_together() -> None:
    assert select_for_export(COLLECTION).keys == KEYS
    assert select_for_export(COLLECTION, splits=["dev"]).keys == KEYS[:1]
    assert select_for_export(COLLECTION, videos=["b/ü.1", "a"]).keys == (KEYS[0], KEYS[2])
    assert select_for_export(COLLECTION, ["train"], ["b/ü.1", "a"]).keys == (KEYS[2],)


def test_what_does_not_exist_is_told() -> None:
    with pytest.raises(ConfigError, match=r"no split 'trian'.* Did you mean 'train'"):
        select_for_export(COLLECTION, splits=["trian"])
    with pytest.raises(ConfigError, match="no video 'c'"):
        select_for_export(COLLECTION, videos=["c"])
    with pytest.raises(ConfigError, match="no video to export"):
        select_for_export(COLLECTION, ["dev"], ["b/ü.1"])


def test_frames_are_counted_as_videos_are_done() -> None:
    counted: list[int] = []
    selection = replace(select_for_export(COLLECTION), finished=counted.append)
    for split, part in selection.by_split():
        for video in part.videos():
            assert video.split == split
            video.read_blocks(list)
    assert counted == [3, 6, 1]


def test_a_video_with_gaps_is_refused() -> None:
    gap = replace(VIDEOS[0], frame_index=np.array([0, 1, 4], np.int32))
    (video,) = select_for_export(InMemory((gap,))).videos()
    for read in (video.load, partial(video.read_blocks, list)):
        with pytest.raises(OutputError, match="dev/a has frames missing before frame 4: finish the run"):
            read()


def test_formats_of_holistic_refuse_other_layouts() -> None:
    require_holistic(holistic(478), "pose")
    with pytest.raises(ConfigError, match=r"format 'pose' needs MediaPipe Holistic.*has no points of 'pose'"):
        require_holistic(Layout("coco-17", (Part("body", ("nose",), ("x", "y")),)), "pose")
