"""Training inputs of the layouts of other networks: their sets, mirroring, and a dataset prepared from start to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.errors import ConfigError
from phoenix_ray.layouts import (
    BLAZEPOSE,
    COCO_17,
    COCO_WHOLEBODY_133,
    HALPE_26,
    LAYOUTS,
    OPENPOSE_18,
    OPENPOSE_25,
    OPENPOSE_137,
    Layout,
    Part,
)
from phoenix_ray.prepare import Compose, FillGaps, ImageHeights, Mirror, ShoulderWidth, TakePoints, WristCentred
from phoenix_ray.prepare.pipeline import PrepareSettings, build_pipeline
from phoenix_ray.prepare.point_sets import counterparts, point_sets
from phoenix_ray.prepare.preparation import prepare_dataset
from tests.zoo import OWN_LAYOUT, ZOO, layout_id, write_zoo_dataset, zoo_video

BODY = {"upper_body": 8, "coco_17": 17}
WHOLE = BODY | {"hands": 42, "lips": 20, "eyes": 12, "brows": 10, "nose": 9, "face_contour": 17, "coco_133": 133}


@pytest.mark.parametrize(
    ("layout", "sizes"),
    [
        (COCO_17, BODY),
        (OPENPOSE_18, BODY),
        (OPENPOSE_25, BODY),
        (HALPE_26, BODY),
        (BLAZEPOSE, BODY | {"arms": 12, "head": 11}),
        (COCO_WHOLEBODY_133, WHOLE),
        (OPENPOSE_137, WHOLE),
        (OWN_LAYOUT, {}),
    ],
    ids=layout_id,
)
def test_each_layout_has_the_sets_all_of_whose_points_it_has(layout: Layout, sizes: dict[str, int]) -> None:
    assert {name: len(points) for name, points in point_sets(layout).items()} == sizes


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=layout_id)
def test_sets_mirror_onto_themselves(layout: Layout) -> None:
    sides = counterparts(layout)
    assert all(sides[sides[point]] == point for point in sides)
    for points in point_sets(layout).values():
        assert {sides[point] for point in points} == set(points)


def test_names_of_points_decide_their_sides() -> None:
    sides = counterparts(OPENPOSE_137)
    face, pose = OPENPOSE_137.part("face").points, OPENPOSE_137.part("pose").points
    assert sides["face", face.index("right_pupil")] == ("face", face.index("left_pupil"))
    assert sides["face", 36] == ("face", 45)
    assert sides["pose", pose.index("right_big_toe")] == ("pose", pose.index("left_big_toe"))
    assert sides["pose", pose.index("neck")] == ("pose", pose.index("neck"))
    assert len(sides) == 137


def test_a_part_that_names_no_side_has_no_counterparts() -> None:
    sides = counterparts(OWN_LAYOUT)
    assert {part for part, _ in sides} == {"torso"}
    assert sides["torso", 1] == ("torso", 2)
    assert sides["torso", 3] == ("torso", 3)
    faces = Layout("x", (Part("face", tuple(f"face_{point}" for point in range(68)), ("x", "y")),))
    assert counterparts(faces) == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"'face_128': the layout coco-17 lacks points of this set\. It has: upper_body, coco_17, pose, all"),
        ({"points": {"select": ["coco_133"]}}, "'coco_133': the layout coco-17 lacks points"),
        ({"points": {"select": ["lips"]}}, "'lips': the layout coco-17 lacks points"),
        (
            {"points": {"select": ["pose"], "axes": "xyz"}},
            r"'pose' of the layout coco-17 has x, y, confidence, but no z",
        ),
        ({"points": {"select": ["pose:5"]}}, r"takes 'pose:5' \(left_shoulder\) without its counterpart\."),
    ],
)
def test_what_a_layout_lacks_is_said(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_pipeline(
            PrepareSettings.model_validate({"points": {"select": ["upper_body", "face_128"]}} | settings),
            COCO_17,
            mirrored=True,
        )


def test_a_layout_without_shoulders_is_normalised_otherwise() -> None:
    settings = PrepareSettings.model_validate({"points": {"select": ["torso"]}})
    with pytest.raises(ConfigError, match=r"layout lab-7.b has no left_shoulder and right_shoulder\. Take image"):
        build_pipeline(settings, OWN_LAYOUT)
    settings = PrepareSettings.model_validate({"points": {"select": ["markers"]}, "normalise": {"reference": "image"}})
    build_pipeline(settings, OWN_LAYOUT)
    with pytest.raises(
        ConfigError, match=r"'markers:0' \(a\) without its counterpart, of which the layout says nothing"
    ):
        build_pipeline(settings, OWN_LAYOUT, mirrored=True)


@pytest.mark.parametrize("layout", [layout for layout in ZOO if "coco_17" in point_sets(layout)], ids=layout_id)
def test_mirroring_commutes_with_filling_and_normalising(layout: Layout) -> None:
    video = zoo_video(layout)
    steps = (FillGaps("linear", 2), ImageHeights(), ShoulderWidth())
    first = Compose(TakePoints("coco_17"), Mirror(), *steps)(video)
    last = Compose(TakePoints("coco_17"), *steps, Mirror())(video)
    np.testing.assert_allclose(first.points, last.points, atol=1e-5)
    assert np.array_equal(first.filled, last.filled)
    assert first.filled.any()
    back = Mirror()(Mirror()(first))
    assert np.array_equal(back.points, first.points, equal_nan=True)


def test_the_confidence_is_that_of_the_point() -> None:
    video = zoo_video(COCO_WHOLEBODY_133)
    prepared = TakePoints("coco_133")(video)
    body = video.points["pose"]
    there = ~np.isnan(body[:, :, 0])
    assert np.array_equal(prepared.confidence[:, :17], np.where(there, body[:, :, 2], 0))
    assert prepared.confidence.max() > 1
    assert np.array_equal(prepared.mask[:, :17], there)


def test_a_hand_without_its_wrist_is_missing() -> None:
    video = zoo_video(COCO_WHOLEBODY_133)
    video.points["left_hand"][4, 0, :2] = np.nan
    prepared = Compose(TakePoints("hands"), ImageHeights(), WristCentred())(video)
    assert not prepared.mask[4, :21].any()
    assert np.abs(prepared.points[5, 0]).max() == 0 or np.isnan(prepared.points[5, 0]).all()


@pytest.mark.parametrize("layout", ZOO, ids=layout_id)
def test_a_dataset_is_prepared_from_start_to_end(layout: Layout, tmp_path: Path) -> None:
    dataset = Dataset.open(write_zoo_dataset(tmp_path / "dataset", layout))
    body = "coco_17" in point_sets(layout)
    settings = PrepareSettings.model_validate(
        {
            "points": {"select": ["all" if body else "torso"]},
            "clean": {"fill": "linear", "smooth": "savitzky_golay", "savitzky_golay_window": 3},
            "normalise": {"reference": "shoulders" if body else "image"},
            "mirror": {"mode": "also", "splits": []},
        }
    )
    report = prepare_dataset(dataset, open_storage(str(tmp_path / "out")), settings)
    with (
        np.load(next((tmp_path / "out").rglob("a.npz"))) as plain,
        np.load(next((tmp_path / "out").rglob("a.mirrored.npz"))) as mirrored,
    ):
        assert plain["points"].shape[1] == len(report["points"])
        assert plain["mask"].any()
        assert np.array_equal(plain["mask"].sum(axis=1), mirrored["mask"].sum(axis=1))
        assert np.isfinite(plain["points"]).all()
