from __future__ import annotations

from phoenix_ray import coco_wholebody
from phoenix_ray.landmarks import POSE_POINTS, holistic
from phoenix_ray.prepare.point_sets import FACE_MIRROR


def test_every_point_is_a_point_of_holistic() -> None:
    assert len(coco_wholebody.NAMES) == len(set(coco_wholebody.NAMES)) == len(coco_wholebody.HOLISTIC_POINTS) == 133
    layout = holistic(468)
    assert all(index < len(layout.part(part).points) for part, index in coco_wholebody.HOLISTIC_POINTS)


def test_the_five_groups_cover_all_points_in_order() -> None:
    groups = (
        (coco_wholebody.BODY, "pose"),
        (coco_wholebody.FEET, "pose"),
        (coco_wholebody.FACE, "face"),
        (coco_wholebody.LEFT_HAND, "left_hand"),
        (coco_wholebody.RIGHT_HAND, "right_hand"),
    )
    parts = [part for group, part in groups for _ in range(group.start, group.stop)]
    assert parts == [part for part, _ in coco_wholebody.HOLISTIC_POINTS]


def test_body_points_keep_their_side_and_joint() -> None:
    for name, (_, index) in zip(coco_wholebody.BODY_NAMES, coco_wholebody.HOLISTIC_POINTS, strict=False):
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
    vertices = coco_wholebody.FACE_VERTICES
    assert [FACE_MIRROR[vertex] for vertex in vertices] == [vertices[place] for place in mirrored]


def test_face_points_are_distinct_vertices() -> None:
    assert len(set(coco_wholebody.FACE_VERTICES)) == 68
