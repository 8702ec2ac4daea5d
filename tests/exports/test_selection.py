from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.exports.selection import select_for_export
from tests.exports.made_up import VIDEOS, InMemory, write_dataset

COLLECTION = InMemory(VIDEOS)
KEYS = tuple((video.split, video.video_id) for video in VIDEOS)


def test_splits_and_videos_narrow_down_together() -> None:
    assert select_for_export(COLLECTION).keys == KEYS
    assert select_for_export(COLLECTION, splits=["dev"]).keys == KEYS[:1]
    assert select_for_export(COLLECTION, videos=["b/ü.1", "a"]).keys == (KEYS[0], KEYS[2])
    assert select_for_export(COLLECTION, ["train"], ["b/ü.1", "a"]).keys == (KEYS[2],)


def test_what_does_not_exist_is_reported() -> None:
    with pytest.raises(ConfigError, match=r"no split 'trian'.* Did you mean 'train'"):
        select_for_export(COLLECTION, splits=["trian"])
    with pytest.raises(ConfigError, match="no video 'c'"):
        select_for_export(COLLECTION, videos=["c"])
    with pytest.raises(ConfigError, match="no video to export"):
        select_for_export(COLLECTION, ["dev"], ["b/ü.1"])


def test_frames_are_counted_as_videos_are_done() -> None:
    counted: list[int] = []
    selection = replace(select_for_export(COLLECTION), finished=lambda video: counted.append(video.frames))
    for split, part in selection.by_split():
        for video in part.videos():
            assert video.split == split
            video.read_blocks(list)
    assert counted == [3, 6, 1]


def test_a_video_with_gaps_is_refused() -> None:
    gap = replace(VIDEOS[0], frame_index=np.array([0, 1, 4], np.int32))
    (video,) = select_for_export(InMemory((gap,))).videos()
    for read in (video.load, partial(video.read_blocks, list)):
        with pytest.raises(OutputError, match="dev/a has frames missing before frame 4, by the numbers in the names"):
            read()


def test_a_video_of_one_block_is_read_once() -> None:
    loaded: list[str] = []

    class Counting(InMemory):
        def load(self, split: str, video_id: str) -> VideoLandmarks:
            loaded.append(video_id)
            return super().load(split, video_id)

    (video,) = select_for_export(Counting(VIDEOS[:1])).videos()
    assert [len(block) for block in video.read_blocks(list)] == [len(block) for block in video.read_blocks(list)] == [3]
    assert loaded == ["a"]
    assert (video.frames, video.fps, video.annotation) == (3, VIDEOS[0].fps, VIDEOS[0].annotation)


def test_a_video_that_grows_between_two_reads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset.open(write_dataset(tmp_path / "dataset"))
    pieces = [replace(VIDEOS[2], frame_index=np.array([index], np.int32)) for index in range(3)]
    reads = iter([pieces[:2], pieces])
    monkeypatch.setattr(Dataset, "load_blocks", lambda self, split, video_id, use: use(iter(next(reads))))
    (video,) = select_for_export(dataset, ["dev"]).videos()
    assert len(video.read_blocks(list)) == 2
    with pytest.raises(OutputError, match="dev/a grows while it is exported"):
        video.read_blocks(list)
