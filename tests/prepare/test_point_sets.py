from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.errors import ConfigError
from phoenix_ray.layouts import holistic
from phoenix_ray.layouts.mediapipe import FACE_EDGES, POSE_POINTS
from phoenix_ray.prepare.point_sets import (
    FACE_MIDDLE,
    FACE_MIRROR,
    POINT_SETS,
    counterparts,
    flat_index,
    resolve_points,
)
from tests.dataset.made_up import LAYOUT as OTHER_LAYOUT

LAYOUT = holistic(468)
GOLDEN = Path(__file__).parents[1] / "golden" / "astronaut_holistic.npz"


@pytest.mark.parametrize("name", POINT_SETS)
def test_every_set_exists_in_the_layout_and_mirrors_onto_itself(name: str) -> None:
    points = resolve_points(LAYOUT, [name])
    assert points == POINT_SETS[name]
    sides = counterparts(LAYOUT)
    assert sorted(sides[point] for point in set(points)) == sorted(set(points))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("upper_body", 8), ("hands", 42), ("lips", 40), ("face_contour", 36), ("face_128", 128)),
        *(("holistic_75", 75), ("holistic_178", 178), ("coco_133", 133)),
    ],
)
def test_sets_have_the_size_that_the_field_knows_them_by(name: str, size: int) -> None:
    assert len(resolve_points(LAYOUT, [name])) == size


def test_words_name_sets_parts_and_indices_in_order_without_repeats() -> None:
    assert resolve_points(LAYOUT, ["pose:11-12,0", "left_hand", "pose:12-13"]) == (
        *(("pose", 11), ("pose", 12), ("pose", 0)),
        *(("left_hand", index) for index in range(21)),
        ("pose", 13),
    )
    assert len(resolve_points(LAYOUT, ["all"])) == 543


def test_words_work_with_the_layout_of_another_model() -> None:
    assert resolve_points(OTHER_LAYOUT, ["body:1-2"]) == (("body", 1), ("body", 2))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["uper_body"], "Did you mean 'upper_body'"),
        (["pose:33"], "no point 33 in pose"),
        (["pose:a"], "write indices such as"),
        (["pose:5-"], "write indices such as"),
        (["pose_world"], "names no points"),
        ([], "No points are chosen"),
    ],
)
def test_words_that_name_nothing_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve_points(LAYOUT, words)


def test_a_set_that_the_layout_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"layout made-up lacks points of this set\. It has: body, all"):
        resolve_points(OTHER_LAYOUT, ["upper_body"])


def test_flat_indices_count_through_the_image_parts() -> None:
    assert [flat_index(LAYOUT, point) for point in resolve_points(LAYOUT, ["all"])] == list(range(543))


@pytest.mark.parametrize("face_points", [468, 478])
def test_the_counterpart_of_the_counterpart_is_the_point_itself(face_points: int) -> None:
    sides = counterparts(holistic(face_points))
    assert len(sides) == 75 + face_points
    assert all(sides[sides[point]] == point for point in sides)


def test_names_decide_the_sides_of_pose_and_hands() -> None:
    sides = counterparts(LAYOUT)
    assert sides["left_hand", 8] == ("right_hand", 8)
    assert sides["pose", POSE_POINTS.index("mouth_left")] == ("pose", POSE_POINTS.index("mouth_right"))
    assert sides["pose", 0] == ("pose", 0)


def test_contours_of_the_face_mirror_onto_themselves() -> None:
    edges = {frozenset(edge) for edge in FACE_EDGES}
    assert {frozenset(FACE_MIRROR[point] for point in edge) for edge in edges} == edges
    assert sum(FACE_MIRROR[point] == point for point in range(468)) == len(FACE_MIDDLE) == 28


def test_a_real_face_resembles_its_mirror_image_point_by_point() -> None:
    """The astronaut looks nearly into the camera; with a wrong table points would be face widths away."""
    faces = np.load(GOLDEN)["face_478"].astype(np.float64)
    face = faces[~np.isnan(faces[:, 0, 0])][0]
    face -= face[:468].mean(axis=0)
    mirrored = face[list(FACE_MIRROR)] * [-1, 1, 1]
    rotation, _, other = np.linalg.svd(mirrored[:468].T @ face[:468])
    distances = np.linalg.norm(mirrored @ (rotation @ other) - face, axis=1)
    width = np.ptp(face[:468, 0])
    assert distances[:468].max() < 0.12 * width
    iris = 0.5 * np.linalg.norm(face[469, :2] - face[471, :2])
    centred = mirrored @ (rotation @ other) - face
    assert np.linalg.norm(centred[468:473, :2] - centred[468:473, :2].mean(axis=0), axis=1).max() < 0.6 * iris
