from __future__ import annotations

from phoenix_ray import coco_wholebody
from phoenix_ray.landmarks import POSE_POINTS, holistic


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


def test_face_points_are_distinct_vertices() -> None:
    assert len(set(coco_wholebody.FACE_VERTICES)) == 68
