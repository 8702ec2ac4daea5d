from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray.errors import OutputError
from phoenix_ray.exports.imports import open_collection
from phoenix_ray.exports.landmark_pickle import PARTS, write_landmark_pickle
from tests.exports.made_up import SELECTION, VIDEOS, assert_same_points, write_dataset


def test_a_dataset_is_opened(tmp_path: Path) -> None:
    collection = open_collection(write_dataset(tmp_path))
    assert list(collection.keys()) == sorted((video.split, video.video_id) for video in VIDEOS)
    for video in VIDEOS:
        again = collection.load(video.split, video.video_id)
        assert_same_points(video, again, tuple(video.points))
        assert again.annotation == video.annotation


def test_a_pickle_is_opened_whatever_its_name(tmp_path: Path) -> None:
    write_landmark_pickle(SELECTION, tmp_path / "keypoints.train")
    collection = open_collection(str(tmp_path / "keypoints.train"))
    for video in VIDEOS:
        assert_same_points(video, collection.load(video.split, video.video_id), PARTS)


def test_what_is_not_understood_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for path, message in (
        (tmp_path, "no landmarks"),
        (tmp_path / "notes.txt", "no landmarks"),
        (tmp_path / "x", "noth"),
    ):
        with pytest.raises(OutputError, match=message):
            open_collection(str(path))
