from __future__ import annotations

from itertools import combinations

import pytest

from phoenix_ray.layouts import (
    BLAZEPOSE,
    COCO_17,
    COCO_WHOLEBODY_133,
    HALPE_26,
    LAYOUTS,
    OPENPOSE_18,
    OPENPOSE_137,
    Layout,
    Part,
    holistic,
)
from phoenix_ray.layouts.correspondence import PARTS_OF_133, coco_133_points, shared_points


def counts(first: Layout, second: Layout) -> dict[str, int]:
    return {part.name: len(part.first) for part in shared_points(first, second)}


def test_unlike_layouts_share_the_points_that_both_have_among_the_133() -> None:
    assert counts(COCO_17, holistic(468)) == {"pose": 17}
    assert counts(COCO_WHOLEBODY_133, holistic(468)) == {
        "pose": 17,
        "feet": 6,
        "face": 68,
        "left_hand": 21,
        "right_hand": 21,
    }
    assert counts(OPENPOSE_18, HALPE_26) == {"pose": 17}
    assert counts(OPENPOSE_137, COCO_WHOLEBODY_133)["face"] == 68
    assert counts(holistic(468), holistic(478))["face"] == 68


def test_parts_with_the_same_points_share_all_of_them_and_feet_of_a_shared_pose_count_once() -> None:
    assert counts(holistic(468), holistic(468)) == {"pose": 33, "face": 468, "left_hand": 21, "right_hand": 21}
    assert counts(BLAZEPOSE, holistic(478)) == {"pose": 33}


def test_parts_in_metres_are_left_out() -> None:
    assert "pose_world" not in counts(BLAZEPOSE, BLAZEPOSE)


def test_layouts_of_their_own_share_what_is_equal_or_nothing() -> None:
    wings = Layout("bird", (Part("wings", ("left", "right"), ("x", "y")),))
    assert counts(wings, wings) == {"wings": 2}
    assert shared_points(wings, COCO_17) == ()


@pytest.mark.parametrize(("first", "second"), list(combinations(LAYOUTS, 2)))
def test_shared_points_exist_once_and_in_both_directions(first: str, second: str) -> None:
    forth, back = shared_points(LAYOUTS[first], LAYOUTS[second]), shared_points(LAYOUTS[second], LAYOUTS[first])
    assert [(part.name, part.second, part.first) for part in back] == [
        (part.name, part.first, part.second) for part in forth
    ]
    for part in forth:
        for layout, points in ((LAYOUTS[first], part.first), (LAYOUTS[second], part.second)):
            assert all(0 <= index < len(layout.part(name).points) for name, index in points)


def test_a_shared_point_is_the_same_of_the_133() -> None:
    theirs, ours = coco_133_points(OPENPOSE_18), coco_133_points(HALPE_26)
    (pose,) = shared_points(OPENPOSE_18, HALPE_26)
    assert list(zip(pose.first, pose.second, strict=True)) == list(
        zip(theirs[PARTS_OF_133["pose"]], ours[PARTS_OF_133["pose"]], strict=True)
    )
