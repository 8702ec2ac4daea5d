from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phoenix_ray.exports.openpose import write_openpose
from phoenix_ray.exports.selection import select_for_export
from phoenix_ray.exports.whole_body import whole_body, within_picture
from phoenix_ray.layouts import coco, holistic
from phoenix_ray.layouts.openpose import BODY_25
from tests.exports.made_up import SELECTION, VIDEOS, InMemory, make_landmarks

VIDEO_ID = "01April_2010_Thursday_heute-6694"


def person(folder: Path, frame: int) -> dict[str, Any]:
    file = folder / "train" / VIDEO_ID / f"{VIDEO_ID}_{frame:012}_keypoints.json"
    content: dict[str, Any] = json.loads(file.read_text())
    return content["people"][0] if content["people"] else {}


def test_each_frame_has_body_face_and_hands(tmp_path: Path) -> None:
    write_openpose(SELECTION, tmp_path)
    everywhere = whole_body(VIDEOS[1], VIDEOS[1].sizes)
    points = within_picture(everywhere, VIDEOS[1].sizes)[3]
    assert not points.all()
    found = person(tmp_path, 3)
    body = np.array(found["pose_keypoints_2d"], np.float32).reshape(25, 3)
    for index, name in enumerate(BODY_25):
        if name not in ("neck", "middle_hip"):
            assert np.array_equal(body[index], points[coco.NAMES.index(name)]), name
    face = np.array(found["face_keypoints_2d"], np.float32).reshape(70, 3)
    assert np.array_equal(face[:68], points[coco.FACE])
    assert not face[68:].any()
    hand = np.array(found["hand_right_keypoints_2d"], np.float32).reshape(21, 3)
    assert np.array_equal(hand, points[coco.RIGHT_HAND])


def test_neck_and_middle_of_the_hips_lie_between_points_that_may_be_outside(tmp_path: Path) -> None:
    points = {name: values.copy() for name, values in VIDEOS[1].points.items()}
    points["pose"][3, [11, 12, 23, 24]] = [
        (0.75, 0.5, 0, 0.75),
        (-0.25, 0.25, 0, 0.25),
        (0.5, 1.25, 0, 0.5),
        (0.25, 1.5, 0, 0.5),
    ]
    write_openpose(select_for_export(InMemory((replace(VIDEOS[1], points=points),))), tmp_path)
    body = np.array(person(tmp_path, 3)["pose_keypoints_2d"], np.float32).reshape(25, 3)
    by_name = dict(zip(BODY_25, body.tolist(), strict=True))
    assert by_name["neck"] == [0.25 * 210, 0.375 * 260, 0.25]
    assert by_name["left_shoulder"] == [0.75 * 210, 0.5 * 260, 0.75]
    for outside in ("right_shoulder", "left_hip", "right_hip", "middle_hip"):
        assert by_name[outside] == [0, 0, 0]


def test_a_middle_is_missing_where_one_of_its_ends_is(tmp_path: Path) -> None:
    points = {name: values.copy() for name, values in VIDEOS[1].points.items()}
    points["pose"][3, [11, 12]] = 0.5
    points["pose"][4, [11, 12]] = (0.5, 0.5, np.nan, 0.5)
    points["pose"][4, 11] = np.nan
    write_openpose(select_for_export(InMemory((replace(VIDEOS[1], points=points),))), tmp_path)
    necks = [person(tmp_path, frame)["pose_keypoints_2d"][3:6] for frame in (3, 4)]
    assert necks == [[0.5 * 210, 0.5 * 260, 0.5], [0, 0, 0]]


def test_a_frame_without_a_person_has_no_people(tmp_path: Path) -> None:
    write_openpose(SELECTION, tmp_path)
    assert person(tmp_path, 0) == {}
    assert len(list((tmp_path / "train" / VIDEO_ID).iterdir())) == 6


def test_irises_give_the_pupils(tmp_path: Path) -> None:
    video = make_landmarks("train", VIDEO_ID, layout=holistic(478))
    video.points["face"][3, [468, 473], :2] = [(0.25, 0.5), (0.75, 0.25)]
    write_openpose(select_for_export(InMemory((video,))), tmp_path)
    face = np.array(person(tmp_path, 3)["face_keypoints_2d"], np.float32).reshape(70, 3)
    assert np.allclose(face[68, :2], video.points["face"][3, 468, :2] * (210, 260))
    assert np.allclose(face[69, :2], video.points["face"][3, 473, :2] * (210, 260))


def test_pose_format_reads_a_folder_of_it(tmp_path: Path) -> None:
    openpose = pytest.importorskip("pose_format.utils.openpose", reason="pose-format is not installed")
    write_openpose(SELECTION, tmp_path)
    pose = openpose.load_openpose_directory(str(tmp_path / "train" / VIDEO_ID), fps=25, width=210, height=260)
    assert pose.body.data.shape == (6, 1, 137, 2)
    nose = [component.name for component in pose.header.components].index("pose_keypoints_2d")
    start = sum(len(component.points) for component in pose.header.components[:nose])
    expected = within_picture(whole_body(VIDEOS[1], VIDEOS[1].sizes), VIDEOS[1].sizes)[1:, 0, :2]
    assert np.allclose(pose.body.data.data[1:, 0, start], expected)
