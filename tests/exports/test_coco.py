from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phoenix_ray.errors import ConfigError
from phoenix_ray.exports.coco import write_coco
from phoenix_ray.exports.selection import ExportSelection, select_for_export
from phoenix_ray.exports.whole_body import confidence, pixel_sizes, whole_body, within_picture
from phoenix_ray.layouts import coco as coco_layouts
from tests.exports.made_up import HEIGHT, SELECTION, VIDEOS, WIDTH, InMemory
from tests.exports.peers import ask, peer

coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")


def load(folder: Path, selection: ExportSelection = SELECTION) -> Any:
    write_coco(selection, folder)
    with contextlib.redirect_stdout(io.StringIO()):
        return coco.COCO(str(folder / "train.json"))


def test_pycocotools_reads_every_coordinate(tmp_path: Path) -> None:
    train = load(tmp_path / "out")
    assert len(train.getImgIds()) == 7
    image = train.loadImgs(4)[0]
    assert image["file_name"] == "train/01April_2010_Thursday_heute-6694/images0004.png"
    assert (image["width"], image["height"], image["frame_index"]) == (210, 260, 3)
    (annotation,) = train.loadAnns(train.getAnnIds(imgIds=4))
    found = whole_body(VIDEOS[1], VIDEOS[1].sizes)
    ours = within_picture(found, VIDEOS[1].sizes)[3]
    for name, group in (
        ("keypoints", coco_layouts.BODY),
        ("foot_kpts", coco_layouts.FEET),
        ("face_kpts", coco_layouts.FACE),
        ("lefthand_kpts", coco_layouts.LEFT_HAND),
        ("righthand_kpts", coco_layouts.RIGHT_HAND),
    ):
        theirs = np.array(annotation[name]).reshape(-1, 3)
        assert np.array_equal(theirs[:, :2].astype(np.float32), ours[group, :2])
        assert np.array_equal(theirs[:, 2], np.select([~ours[group].any(axis=1), ours[group, 2] < 0.5], [0, 1], 2))
    assert annotation["num_keypoints"] == np.count_nonzero(ours[coco_layouts.BODY].any(axis=1))
    assert annotation["bbox"] == [0, 0, WIDTH, HEIGHT]


def body_at(places: dict[int, tuple[float, float]]) -> ExportSelection:
    """A video with a body whose points all lie in the middle, but for these points of the pose; no hands and face."""
    points = {name: np.full_like(values, np.nan) for name, values in VIDEOS[1].points.items()}
    points["pose"][3] = (0.5, 0.5, 0, 0.9)
    for index, place in places.items():
        points["pose"][3, index, :2] = place
    return select_for_export(InMemory((replace(VIDEOS[1], points=points),)))


def test_points_outside_the_picture_are_not_annotated_and_the_box_ends_at_its_edge(tmp_path: Path) -> None:
    # The nose inside, the left shoulder on the edge, the knees far below, the right wrist left of the picture.
    places = {0: (0.25, 0.25), 11: (0.0, 0.5), 25: (0.5, 1.75), 26: (0.75, 1.0), 16: (-0.5, 0.5)}
    (annotation,) = load(tmp_path / "out", body_at(places)).loadAnns(4)
    keypoints = np.array(annotation["keypoints"]).reshape(17, 3)
    assert keypoints[0].tolist() == [0.25 * WIDTH, 0.25 * HEIGHT, 2]
    assert keypoints[coco_layouts.BODY_NAMES.index("left_shoulder")].tolist() == [0, 0.5 * HEIGHT, 2]
    for name in ("left_knee", "right_knee", "right_wrist"):
        assert keypoints[coco_layouts.BODY_NAMES.index(name)].tolist() == [0, 0, 0]
    assert annotation["num_keypoints"] == 14
    assert annotation["bbox"] == [0, 0.25 * HEIGHT, 0.75 * WIDTH, 0.75 * HEIGHT]
    assert annotation["area"] == 0.75 * WIDTH * 0.75 * HEIGHT
    assert (annotation["face_valid"], annotation["face_box"]) == (False, [0, 0, 0, 0])


def test_a_frame_with_all_points_outside_has_no_annotation(tmp_path: Path) -> None:
    outside = load(tmp_path / "out", body_at(dict.fromkeys(range(33), (1.5, 0.5))))
    assert len(outside.getImgIds()) == 6
    assert outside.getAnnIds() == []


def test_the_segmentation_is_the_box_so_that_masks_can_be_made_of_it(tmp_path: Path) -> None:
    train = load(tmp_path / "out", body_at({0: (0.25, 0.25), 26: (0.75, 0.75)}))
    (annotation,) = train.loadAnns(4)
    mask = train.annToMask(annotation)
    assert mask.shape == (HEIGHT, WIDTH)
    assert mask.sum() == pytest.approx(annotation["area"], rel=0.02)


def test_object_keypoint_similarity_is_that_of_the_visible_person(tmp_path: Path) -> None:
    evaluation = pytest.importorskip("pycocotools.cocoeval")
    # Knees and ankles far below: with them the person would be three pictures high, and any error small.
    legs = dict.fromkeys((25, 26, 27, 28), (0.5, 3.0))
    train = load(tmp_path / "out", body_at({0: (0.25, 0.25), 11: (0.75, 0.5), **legs}))
    (annotation,) = train.loadAnns(4)
    moved = np.array(annotation["keypoints"]).reshape(17, 3)
    moved[moved[:, 2] > 0, 0] += 5
    with contextlib.redirect_stdout(io.StringIO()):
        found = train.loadRes([{"image_id": 4, "category_id": 1, "keypoints": moved.ravel().tolist(), "score": 1.0}])
        judge = evaluation.COCOeval(train, found, "keypoints")
        judge.params.imgIds, judge.params.catIds = [4], [1]
        judge._prepare()
    similarity = judge.computeOks(4, 1)[0, 0]
    area = 0.5 * WIDTH * 0.75 * HEIGHT
    visible = moved[:, 2] > 0
    sigmas = judge.params.kpt_oks_sigmas[visible]
    assert similarity == pytest.approx(np.exp(-(5**2) / ((2 * sigmas) ** 2 * 2 * (area + np.spacing(1)))).mean())
    assert visible.sum() == 13


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


LOADER = """
from mmpose.datasets.datasets.wholebody.coco_wholebody_dataset import CocoWholeBodyDataset
data = {mode: CocoWholeBodyDataset(ann_file=given["file"], data_mode=mode) for mode in ("topdown", "bottomup")}
people = [data["topdown"].get_data_info(index) for index in range(len(data["topdown"]))]
answer({
    "pictures": len(data["bottomup"]),
    "people": [
        {name: person[name].tolist() for name in ("bbox", "area", "keypoints", "keypoints_visible")}
        for person in people
    ],
})
"""


def test_the_dataset_of_mmpose_reads_it(tmp_path: Path) -> None:
    root = peer("mmpose")
    write_coco(SELECTION, tmp_path / "out")
    read = ask(root, LOADER, {"file": str(tmp_path / "out" / "train.json")})
    assert read["pictures"] == len(read["people"]) == 5
    video = VIDEOS[1]
    for person, ours in zip(
        read["people"], within_picture(whole_body(video, video.sizes), video.sizes)[1:], strict=True
    ):
        theirs = np.array(person["keypoints"], np.float32)[0]
        assert np.array_equal(theirs, ours[:, :2])
        assert np.array_equal(np.array(person["keypoints_visible"])[0] > 0, ours.any(axis=1))
        assert person["bbox"] == [[0, 0, WIDTH - 1, HEIGHT - 1]]
        assert person["area"] == WIDTH * HEIGHT


VIDEO = VIDEOS[1]


def test_points_are_pixels_of_the_mapped_points() -> None:
    points = whole_body(VIDEO, VIDEO.sizes)
    assert points.shape == (6, 133, 3)
    nose = VIDEO.points["pose"][3, 0]
    assert np.allclose(points[3, 0], [nose[0] * 210, nose[1] * 260, nose[3]])
    tip = VIDEO.points["right_hand"][3, 8]
    index_tip = coco_layouts.NAMES.index("right_hand_index_finger_tip")
    assert np.allclose(points[3, index_tip], [tip[0] * 210, tip[1] * 260, VIDEO.scores["right_hand"][3]])


def test_missing_parts_are_zeros() -> None:
    points = whole_body(VIDEO, VIDEO.sizes)
    assert not points[0].any()
    assert not points[1, coco_layouts.LEFT_HAND].any()
    assert points[1, coco_layouts.RIGHT_HAND].all()
    assert not points[2, coco_layouts.FACE].any()


def test_confidence_is_1_where_the_landmarks_came_without() -> None:
    bare = replace(VIDEO, scores={part: np.full(6, np.nan, np.float32) for part in VIDEO.scores})
    assert confidence(bare, "left_hand")[:, 0].tolist() == [0, 0, 1, 1, 1, 1]


def test_frames_without_landmarks_need_no_size() -> None:
    sizes = VIDEO.sizes.copy()
    sizes[0] = 0
    assert pixel_sizes(replace(VIDEO, sizes=sizes)) is sizes
    sizes[4, 1] = 0
    with pytest.raises(ConfigError, match="the size of frame 4 is not known"):
        pixel_sizes(replace(VIDEO, sizes=sizes))
