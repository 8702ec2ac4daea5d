from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phoenix_ray.errors import ConfigError
from phoenix_ray.exports.coco import write_coco
from phoenix_ray.exports.whole_body import whole_body, within_picture
from phoenix_ray.layouts.coco import FACE
from phoenix_ray.model_comparison.labels import LabelFile, MatchedLabels, match_labels, read_label_files, read_labels
from phoenix_ray.sources.base import Video
from tests.exports.made_up import SELECTION, VIDEOS
from tests.model_comparison.made_up import listed
from tests.sources.made_up import write_frames

BODY = [10.0, 20.0, 2.0] * 17


def write(folder: Path, images: Any, annotations: Any) -> Path:
    file = folder / "labels.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    return file


def image(number: int, file_name: str, **others: Any) -> dict[str, Any]:
    return {"id": number, "file_name": file_name, **others}


def person(image_id: int, **others: Any) -> dict[str, Any]:
    return {"id": image_id, "image_id": image_id, "category_id": 1, "area": 100.0, "keypoints": BODY, **others}


def test_points_that_are_not_labelled_are_missing(tmp_path: Path) -> None:
    points = [1.0, 2.0, 2.0, 3.0, 4.0, 1.0, 5.0, 6.0, 0.0, *([0.0] * 42)]
    face = [7.0, 8.0, 2.0] * 68
    file = read_labels(
        write(tmp_path, [image(1, "a.png", width=4, height=5)], [person(1, keypoints=points, face_kpts=face)])
    )
    ((_, label),) = file.images
    assert label is not None
    assert label.points[:2].tolist() == [[1, 2], [3, 4]]
    assert np.isnan(label.points[2:23]).all()
    assert (label.points[FACE] == (7, 8)).all()
    assert (label.area, label.size) == (100.0, (4, 5))


def test_133_points_may_stand_in_one_list(tmp_path: Path) -> None:
    file = read_labels(write(tmp_path, [image(1, "a.png")], [person(1, keypoints=[1.0, 2.0, 2.0] * 133)]))
    label = file.images[0][1]
    assert label is not None
    assert (label.points == (1, 2)).all()


def test_the_largest_of_several_people_counts_and_crowds_do_not(tmp_path: Path) -> None:
    people = [
        person(1, area=5.0),
        person(1, keypoints=[30.0, 40.0, 2.0] * 17, area=None, bbox=[0, 0, 10, 10]),
        person(1, area=1e6, iscrowd=1),
    ]
    file = read_labels(write(tmp_path, [image(1, "a.png"), image(2, "b.png")], people))
    label = file.images[0][1]
    assert label is not None
    assert (label.points[0].tolist(), label.area, file.several) == ([30, 40], 100.0, 1)
    assert file.images[1][1] is None


def test_an_area_that_is_not_given_is_not_known(tmp_path: Path) -> None:
    label = read_labels(write(tmp_path, [image(1, "a.png")], [person(1, area=None)])).images[0][1]
    assert label is not None
    assert math.isnan(label.area)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "are not JSON"),
        ("[" * 100_000, "are not JSON"),
        ("[]", "lists 'images' and 'annotations'"),
        ('{"images": [], "annotations": 3}', "lists 'images' and 'annotations'"),
        ('{"images": [{"id": 1}], "annotations": []}', r"images\[0\] is not right: there is no 'file_name'"),
        ('{"images": [3], "annotations": []}', r"images\[0\] is not right"),
        ('{"images": [{"id": 1, "file_name": 3}], "annotations": []}', "'file_name' is not text"),
        (
            '{"images": [], "annotations": [{"keypoints": []}]}',
            r"annotations\[0\] is not right: there is no 'image_id'",
        ),
        ('{"images": [], "annotations": [{"image_id": 1, "keypoints": [1, 2]}]}', "'keypoints' has 2 numbers, not 51"),
        ('{"images": [], "annotations": [{"image_id": 1, "face_kpts": [1]}]}', "'face_kpts' has 1 numbers, not 204"),
        ('{"images": [], "annotations": [{"image_id": 1, "keypoints": "x"}]}', r"annotations\[0\] is not right"),
        ('{"images": [], "annotations": [{"image_id": 1, "bbox": [1]}]}', r"annotations\[0\] is not right"),
        ('{"images": [], "annotations": [{"image_id": [], "keypoints": []}]}', r"annotations\[0\] is not right"),
    ],
)
def test_a_file_that_is_not_right_is_an_error_with_the_place(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "labels.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_labels(file)


def test_an_absent_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json cannot be read: No such file"):
        read_labels(tmp_path / "none.json")


def match(images: list[dict[str, Any]], videos: list[Video]) -> MatchedLabels:
    return match_labels(LabelFile(tuple((entry, None) for entry in images), 0), videos)


def test_images_are_found_by_split_video_and_frame() -> None:
    videos = [*listed({"a": 9, "b/c": 9}), *listed({"a": 9}, "dev")]
    matched = match(
        [
            image(1, "train/a/frame-3"),
            image(2, "dev/a/frame-3"),
            image(3, "/data/set/train/a/frame-4"),
            image(4, "b/c/frame-0"),
            image(5, "other/c/frame-0"),
            image(6, "a/frame-0"),
            image(7, "train/a/frame-9"),
            image(8, "frame-3"),
            image(9, "train/a/frame-3"),
        ],
        videos,
    )
    assert {key: sorted(frames) for key, frames in matched.frames.items()} == {
        ("train", "a"): [3, 4],
        ("dev", "a"): [3],
        ("train", "b/c"): [0],
    }
    # `other/c` is no video, frame 9 does not exist, and a bare name fits none; `a` is in two splits, and 9 comes twice.
    assert (matched.without_frame, matched.ambiguous, matched.count) == (3, 2, 4)


def test_images_are_found_by_video_and_index() -> None:
    videos = [*listed({"a": 9, "b": 9}), *listed({"a": 9}, "dev")]
    matched = match(
        [
            image(1, "x.png", video_id="b", frame_index=8),
            image(2, "dev/a/x.png", video_id="a", frame_index=0),
            image(3, "x.png", video_id="a", frame_index=1),
            image(4, "x.png", video_id="b", frame_index=9),
            image(5, "x.png", video_id="z", frame_index=0),
        ],
        videos,
    )
    assert {key: sorted(frames) for key, frames in matched.frames.items()} == {("train", "b"): [8], ("dev", "a"): [0]}
    assert (matched.without_frame, matched.ambiguous) == (2, 1)


def test_bare_names_are_those_of_the_only_video(tmp_path: Path) -> None:
    write_frames(tmp_path / "clip", 3)
    video = Video("all", "clip", "frame_folder", str(tmp_path / "clip"), 3, "s")
    matched = match([image(1, "images0002.png"), image(2, "images0009.png")], [video])
    assert {key: sorted(frames) for key, frames in matched.frames.items()} == {("all", "clip"): [1]}
    assert matched.without_frame == 1


def test_our_own_export_is_read_back(tmp_path: Path) -> None:
    write_coco(SELECTION, tmp_path / "out")
    video = VIDEOS[1]
    videos = [Video(each.split, each.video_id, "video_file", "none", len(each), "s") for each in VIDEOS if len(each)]
    matched = match_labels(read_labels(tmp_path / "out" / "train.json"), videos)
    assert matched.without_frame == matched.ambiguous == 0
    expected = within_picture(whole_body(video, video.sizes), video.sizes)
    frames = matched.frames[video.split, video.video_id]
    assert sorted(frames) == video.frame_index.tolist()
    for row, index in enumerate(video.frame_index.tolist()):
        label = frames[index]
        points = np.full((133, 2), np.nan) if label is None else label.points
        there = expected[row].any(axis=1)
        assert np.array_equal(points[there].astype(np.float32), expected[row, there, :2])
        assert np.isnan(points[~there]).all()


def test_several_files_are_taken_together(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("dev.json", "test.json")]
    for file in files:
        image = {"id": 1, "file_name": f"{file.stem}/a/images0001.png"}
        file.write_text(json.dumps({"images": [image], "annotations": []}))
    together = read_label_files(files)
    assert [image["file_name"] for image, _ in together.images] == ["dev/a/images0001.png", "test/a/images0001.png"]


def test_an_endless_size_of_a_picture_is_named(tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    file.write_text('{"images": [{"id": 1, "file_name": "a/b", "width": Infinity, "height": 2}], "annotations": []}')
    with pytest.raises(ConfigError, match=r"labels\.json: images\[0\] is not right"):
        read_labels(file)
