from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phoenix_ray import coco_wholebody
from phoenix_ray.exports.coco import write_coco
from phoenix_ray.exports.whole_body import whole_body
from tests.exports.made_up import SELECTION, VIDEOS

coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")


def load(folder: Path) -> Any:
    write_coco(SELECTION, folder)
    with contextlib.redirect_stdout(io.StringIO()):
        return coco.COCO(str(folder / "train.json"))


def test_pycocotools_reads_every_coordinate(tmp_path: Path) -> None:
    train = load(tmp_path / "out")
    assert len(train.getImgIds()) == 7
    image = train.loadImgs(4)[0]
    assert image["file_name"] == "train/01April_2010_Thursday_heute-6694/images0004.png"
    assert (image["width"], image["height"], image["frame_index"]) == (210, 260, 3)
    (annotation,) = train.loadAnns(train.getAnnIds(imgIds=4))
    ours = whole_body(VIDEOS[1], VIDEOS[1].sizes)[3]
    for name, group in (
        ("keypoints", coco_wholebody.BODY),
        ("foot_kpts", coco_wholebody.FEET),
        ("face_kpts", coco_wholebody.FACE),
        ("lefthand_kpts", coco_wholebody.LEFT_HAND),
        ("righthand_kpts", coco_wholebody.RIGHT_HAND),
    ):
        theirs = np.array(annotation[name]).reshape(-1, 3)
        assert np.array_equal(theirs[:, :2].astype(np.float32), ours[group, :2])
        assert np.array_equal(theirs[:, 2], np.where(ours[group, 2] < 0.5, 1, 2))
    assert annotation["num_keypoints"] == 17
    assert np.allclose(annotation["bbox"][:2], ours[:, :2].min(axis=0))


def test_frames_without_a_person_are_images_without_an_annotation(tmp_path: Path) -> None:
    train = load(tmp_path / "out")
    assert sorted(train.getAnnIds()) == [2, 3, 4, 5, 6]
    assert train.getAnnIds(imgIds=[1]) == []


def test_missing_parts_are_marked(tmp_path: Path) -> None:
    (annotation,) = load(tmp_path / "out").loadAnns(2)
    assert annotation["lefthand_valid"] is False
    assert annotation["lefthand_kpts"] == [0.0] * 63
    assert annotation["lefthand_box"] == [0.0] * 4
    assert annotation["righthand_valid"] is True


def test_the_category_names_17_points_and_their_skeleton(tmp_path: Path) -> None:
    (category,) = load(tmp_path / "out").loadCats(1)
    assert len(category["keypoints"]) == 17
    assert len(category["skeleton"]) == 19
    assert {point for edge in category["skeleton"] for point in edge} == set(range(1, 18))
