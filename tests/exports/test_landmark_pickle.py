from __future__ import annotations

import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.errors import OutputError
from phoenix_ray.exports.landmark_pickle import PARTS, LandmarkPickle, write_landmark_pickle
from phoenix_ray.exports.selection import select_for_export
from tests.exports.made_up import SELECTION, VIDEOS, InMemory, assert_same_points, make_landmarks


def write(folder: Path, content: Any) -> Path:
    file = folder / "landmarks.pkl"
    file.write_bytes(pickle.dumps(content))
    return file


def entry(**parts: Any) -> dict[str, Any]:
    return {"face": None, "left_hand": None, "right_hand": None, "pose": None, **parts}


def test_it_has_the_layout_that_scripts_of_the_field_read(tmp_path: Path) -> None:
    write_landmark_pickle(SELECTION, tmp_path / "landmarks.pkl")
    content = pickle.loads((tmp_path / "landmarks.pkl").read_bytes())
    assert list(content) == ["dev", "train", "stats"]
    assert content["stats"]["train"] == {"total": 7, "success": 5, "failed": 2}
    train = content["train"]
    assert len(train["image_paths"]) == len(train["keypoints"]) == len(train["video_ids"]) == 7
    assert train["image_paths"][1] == "train/01April_2010_Thursday_heute-6694/images0002.png"
    assert train["video_ids"][1] == "01April_2010_Thursday_heute-6694"
    assert train["keypoints"][0] == dict.fromkeys(PARTS)
    assert train["keypoints"][1]["left_hand"] is None
    for part in PARTS:
        array = train["keypoints"][3][part]
        assert array.dtype == np.float32
        assert array.flags.writeable
        assert np.array_equal(array, VIDEOS[1].points[part][3, :, :3])


def test_the_round_trip_is_exact(tmp_path: Path) -> None:
    file = tmp_path / "landmarks.pkl"
    write_landmark_pickle(SELECTION, file)
    collection = LandmarkPickle.open(file)
    assert list(collection.keys()) == sorted((video.split, video.video_id) for video in VIDEOS)
    for video in VIDEOS:
        again = collection.load(video.split, video.video_id)
        assert_same_points(video, again, PARTS)
        assert again.frame_names == video.frame_names
        assert again.status == video.status
        assert again.frame_index.tolist() == video.frame_index.tolist()


def test_no_module_is_named_that_old_numpy_lacks(tmp_path: Path) -> None:
    write_landmark_pickle(SELECTION, tmp_path / "landmarks.pkl")
    content = (tmp_path / "landmarks.pkl").read_bytes()
    modules = {str(argument) for code, argument, _ in pickletools.genops(content) if code.name == "SHORT_BINUNICODE"}
    assert "ndarray" in modules
    assert not any("core" in module for module in modules)


def test_a_file_of_68_face_points_with_image_sizes_is_read(tmp_path: Path) -> None:
    face = np.random.default_rng(1).random((68, 3), np.float32)
    shapes = ((260, 210), np.array([260, 210]), (260, 210, 3))
    frames = [entry(face=face if number else None, image_shape=shape) for number, shape in enumerate(shapes)]
    paths = ["/x/v/1.png", "/x/v/2.png", "/x/v/3.png"]
    lists = {"image_paths": paths, "keypoints": frames, "video_ids": ["v"] * 3}
    collection = LandmarkPickle.open(write(tmp_path, {"train": lists, "stats": {}, "keypoint_info": {"face": {}}}))
    video = collection.load("train", "v")
    assert [len(part.points) for part in collection.layout.parts] == [33, 21, 21, 68]
    assert np.array_equal(video.points["face"][1], face)
    assert video.sizes.tolist() == [[210, 260]] * 3
    assert video.status == ("no_person", "ok", "ok")
    assert video.present("face").tolist() == [False, True, True]


@pytest.mark.parametrize("shape", [260, (260,), (260, 210, 3, 1), (-1, 210), (260.5, 210), "260x210"])
def test_an_image_shape_that_makes_no_sense_is_named(tmp_path: Path, shape: Any) -> None:
    frames = [entry(left_hand=np.ones((21, 3)), image_shape=(260, 210)), entry(image_shape=shape)]
    lists = {"image_paths": ["1.png", "2.png"], "keypoints": frames, "video_ids": ["v", "v"]}
    with pytest.raises(
        OutputError, match=r"'image_shape' of entry 1 of the split 'train' is .*, not \(height, width\)"
    ):
        LandmarkPickle.open(write(tmp_path, {"train": lists})).load("train", "v")


def test_frames_of_a_video_need_not_be_neighbours(tmp_path: Path) -> None:
    hands = [np.full((21, 3), number, np.float32) for number in range(1, 4)]
    lists = {
        "image_paths": ["a/1.png", "b/1.png", "a/2.png"],
        "keypoints": [entry(left_hand=hand) for hand in hands],
        "video_ids": ["a", "b", "a"],
    }
    collection = LandmarkPickle.open(write(tmp_path, {"train": lists}))
    assert collection.load("train", "a").points["left_hand"][:, 0, 0].tolist() == [1, 3]
    with pytest.raises(KeyError):
        collection.load("train", "c")


@given(order=st.permutations(range(12)))
def test_frames_are_read_in_the_order_of_their_names_whatever_their_order_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    # As `ls` has them: 1, 10, 11, 12, 2, …; and in folders that say nothing about the order.
    lists = {
        "image_paths": [f"/pictures/{row}/v/images{number + 1}.png" for row, number in enumerate(order)],
        "keypoints": [entry(left_hand=np.full((21, 3), number + 1, np.float32)) for number in order],
        "video_ids": ["v"] * 12,
    }
    video = LandmarkPickle.open(write(tmp_path_factory.mktemp("pickle"), {"train": lists})).load("train", "v")
    assert video.points["left_hand"][:, 0, 0].tolist() == list(range(1, 13))
    assert video.frame_names[9] == "images10.png"


@pytest.mark.parametrize(("names", "moved"), [(("1.png", "2.png", "10.png"), 0), (("1.png", "10.png", "2.png"), 1)])
def test_another_order_of_the_file_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: tuple[str, ...], moved: int
) -> None:
    lists = {"image_paths": names, "keypoints": [entry()] * 3, "video_ids": ["v"] * 3}
    collection = LandmarkPickle.open(write(tmp_path, {"train": lists}))
    for _ in range(2):
        collection.load("train", "v")
    assert [record.getMessage().count("1 videos, the first 'train/v'") for record in caplog.records] == [1] * moved


def test_frames_without_names_of_their_own_keep_the_order_of_the_file(tmp_path: Path) -> None:
    lists = {
        "image_paths": ["v.mp4"] * 3,
        "keypoints": [entry(left_hand=np.full((21, 3), number, np.float32)) for number in (3, 1, 2)],
        "video_ids": ["v"] * 3,
    }
    video = LandmarkPickle.open(write(tmp_path, {"train": lists})).load("train", "v")
    assert video.points["left_hand"][:, 0, 0].tolist() == [3, 1, 2]


def test_zeros_in_the_place_of_a_part_mean_that_it_is_missing(tmp_path: Path) -> None:
    hand = np.full((21, 3), 0.5, np.float32)
    hand[0] = 0
    frames = [entry(left_hand=np.zeros((21, 3)), face=np.zeros((468, 3))), entry(left_hand=hand)]
    lists = {"image_paths": ["1.png", "2.png"], "keypoints": frames, "video_ids": ["v", "v"]}
    video = LandmarkPickle.open(write(tmp_path, {"train": lists})).load("train", "v")
    assert video.status == ("no_person", "ok")
    assert video.present("left_hand").tolist() == [False, True]
    assert np.array_equal(video.points["left_hand"][1], hand)
    assert not video.present("face").any()


LISTS = {"image_paths": ["1"], "keypoints": [entry()], "video_ids": ["v"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds a list; expected is"),
        ({"train": {"keypoints": []}}, r"holds \['train'\]; expected is"),
        ({"train": {**LISTS, "video_ids": []}}, "lists of the split 'train' differ in length"),
        ({"train": {**LISTS, "keypoints": [3]}}, "not every entry of the split 'train' is a dictionary"),
    ],
)
def test_another_layout_is_reported(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        LandmarkPickle.open(write(tmp_path, content))


def test_arrays_of_different_shapes_are_reported(tmp_path: Path) -> None:
    frames = [entry(face=np.zeros((68, 3))), entry(face=np.zeros((468, 3)))]
    lists = {"image_paths": ["1", "2"], "keypoints": frames, "video_ids": ["v", "v"]}
    with pytest.raises(OutputError, match=r"'face' of entry 1 of the split 'train' has the shape \(468, 3\)"):
        LandmarkPickle.open(write(tmp_path, {"train": lists})).load("train", "v")


@given(
    presence=st.lists(st.tuples(*[st.booleans()] * 4), min_size=1, max_size=5),
    numbers=st.lists(st.floats(width=32, allow_nan=False).filter(bool), min_size=4, max_size=4),
)
def test_any_parts_and_numbers_make_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory, presence: list[tuple[bool, ...]], numbers: list[float]
) -> None:
    video = make_landmarks("s", "v", len(presence))
    for part, here, number in zip(PARTS, zip(*presence, strict=True), numbers, strict=True):
        video.points[part][:] = np.float32(number)
        video.points[part][~np.array(here)] = np.nan
    file = tmp_path_factory.mktemp("pickle") / "landmarks.pkl"
    write_landmark_pickle(select_for_export(InMemory((video,))), file)
    again = LandmarkPickle.open(file).load("s", "v")
    assert_same_points(video, again, PARTS)
    assert again.status == tuple("ok" if any(here) else "no_person" for here in presence)
