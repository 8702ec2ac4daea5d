from __future__ import annotations

import json
from dataclasses import replace

from phoenix_ray.layouts import COCO_17, LAYOUTS, Head, coco, holistic, layout_from_json
from phoenix_ray.layouts.coco import HOLISTIC_POINTS
from phoenix_ray.layouts.correspondence import coco_133_points
from phoenix_ray.layouts.mediapipe import POSE_POINTS
from phoenix_ray.prepare.point_sets import FACE_MIRROR


def test_every_point_is_a_point_of_holistic() -> None:
    assert len(coco.NAMES) == len(set(coco.NAMES)) == len(coco.HOLISTIC_POINTS) == 133
    layout = holistic(468)
    assert all(index < len(layout.part(part).points) for part, index in coco.HOLISTIC_POINTS)


def test_the_five_groups_cover_all_points_in_order() -> None:
    groups = (
        (coco.BODY, "pose"),
        (coco.FEET, "pose"),
        (coco.FACE, "face"),
        (coco.LEFT_HAND, "left_hand"),
        (coco.RIGHT_HAND, "right_hand"),
    )
    parts = [part for group, part in groups for _ in range(group.start, group.stop)]
    assert parts == [part for part, _ in coco.HOLISTIC_POINTS]


def test_body_points_keep_their_side_and_joint() -> None:
    for name, (_, index) in zip(coco.BODY_NAMES, coco.HOLISTIC_POINTS, strict=False):
        assert POSE_POINTS[index] == name


def test_face_points_of_one_side_mirror_those_of_the_other() -> None:
    # Where iBUG's 68 points land when the picture is mirrored.
    mirrored = [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ]
    vertices = coco.FACE_VERTICES
    assert [FACE_MIRROR[vertex] for vertex in vertices] == [vertices[place] for place in mirrored]


def test_face_points_are_distinct_vertices() -> None:
    assert len(set(coco.FACE_VERTICES)) == 68


def test_each_layout_says_which_of_the_133_points_it_has() -> None:
    expected = {
        "holistic-468": 133,
        "holistic-478": 133,
        "coco-wholebody-133": 133,
        "openpose-137": 133,
        "blazepose": 23,
        "coco-17": 17,
        "openpose-18": 17,
        "openpose-25": 23,
        "halpe-26": 23,
    }
    assert {name: sum(point is not None for point in coco_133_points(LAYOUTS[name])) for name in expected} == expected
    assert coco_133_points(holistic(468)) == HOLISTIC_POINTS


def test_edges_join_points_that_a_part_has() -> None:
    for layout in LAYOUTS.values():
        for part in layout.parts:
            assert len(set(part.points)) == len(part.points)
            assert all(0 <= point < len(part.points) for edge in part.edges for point in edge), (layout.name, part.name)


def test_a_described_layout_is_the_same_again() -> None:
    head = Head("emotion", "pose", ("happy", "sad"), ("valence",))
    for layout in (*LAYOUTS.values(), replace(COCO_17, name="with-head", heads=(head,))):
        assert layout_from_json(json.loads(json.dumps(layout.to_json()))) == layout
