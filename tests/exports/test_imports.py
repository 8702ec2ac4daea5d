from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.errors import OutputError
from phoenix_ray.exports.imports import FileCollection, open_collection
from phoenix_ray.exports.landmark_pickle import PARTS, write_landmark_pickle
from phoenix_ray.exports.numpy_archives import write_numpy_archives
from phoenix_ray.exports.pose_files import write_pose_files
from tests.exports.made_up import SELECTION, VIDEOS, assert_same_points, make_landmarks, write_dataset, write_one_file


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


def test_what_is_not_understood_is_reported(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    for path, message in (
        (tmp_path, "no landmarks"),
        (tmp_path / "notes.txt", "no landmarks"),
        (tmp_path / "x", "noth"),
    ):
        with pytest.raises(OutputError, match=message):
            open_collection(str(path))


KEYS = [(video.split, video.video_id) for video in VIDEOS]


@pytest.fixture
def pose_files(tmp_path: Path) -> Path:
    pytest.importorskip("pose_format", reason="pose-format is not installed")
    write_pose_files(SELECTION, tmp_path)
    return tmp_path


def test_a_folder_of_numpy_archives_gives_every_video_back(tmp_path: Path) -> None:
    write_numpy_archives(SELECTION, tmp_path)
    collection = FileCollection.open(tmp_path)
    assert list(collection.keys()) == KEYS
    assert collection.layout == VIDEOS[0].layout
    for video in VIDEOS:
        assert_same_points(video, collection.load(video.split, video.video_id), tuple(video.points))


def test_a_folder_of_pose_files_gives_every_video_back(pose_files: Path) -> None:
    collection = FileCollection.open(pose_files)
    assert list(collection.keys()) == KEYS
    for video in VIDEOS:
        again = collection.load(video.split, video.video_id)
        np.testing.assert_array_max_ulp(again.points["face"], video.points["face"])
        assert (again.split, again.video_id) == (video.split, video.video_id)


def test_files_of_a_flat_folder_have_the_empty_split(pose_files: Path) -> None:
    collection = FileCollection.open(pose_files / "dev")
    assert list(collection.keys()) == [("", "a")]
    assert len(collection.load("", "a")) == 3


def test_deeper_folders_belong_to_the_video_id(pose_files: Path) -> None:
    (pose_files / "train" / "day-1").mkdir()
    shutil.move(pose_files / "dev" / "a.pose", pose_files / "train" / "day-1")
    assert ("train", "day-1/a") in list(FileCollection.open(pose_files).keys())


def test_one_file_is_a_collection_of_one_video(tmp_path: Path) -> None:
    file = write_one_file(write_numpy_archives, tmp_path, VIDEOS[0]).rename(tmp_path / "x.npz")
    assert list(FileCollection.open(file).keys()) == [("dev", "a")]


def test_an_id_too_long_for_a_name_is_read_from_the_archive(tmp_path: Path) -> None:
    video_id = "v" * 300
    file = write_one_file(write_numpy_archives, tmp_path, make_landmarks("dev", video_id))
    assert file.stem != video_id
    assert list(FileCollection.open(tmp_path).keys()) == [("dev", video_id)]


def test_mixed_and_empty_folders_are_reported(pose_files: Path) -> None:
    write_numpy_archives(SELECTION, pose_files)
    with pytest.raises(OutputError, match=r"holds \.npz and \.pose files"):
        FileCollection.open(pose_files)
    (pose_files / "empty").mkdir()
    with pytest.raises(OutputError, match="holds no files"):
        FileCollection.open(pose_files / "empty")
