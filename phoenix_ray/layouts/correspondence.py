"""Which points of unlike layouts mean the same place of the body, by the 133 points of COCO-WholeBody.

Exports, named sets of points and comparisons of models go through these 133. Points that have no counterpart among them
(neck, middle of the hips, pupils, most of the face mesh) belong to no pair.
"""

from __future__ import annotations

from functools import lru_cache

from phoenix_ray.layouts.coco import (
    BODY,
    BODY_NAMES,
    FACE,
    FACE_VERTICES,
    FEET,
    FEET_NAMES,
    LEFT_HAND,
    NAMES,
    RIGHT_HAND,
)
from phoenix_ray.layouts.layout import Layout
from phoenix_ray.layouts.mediapipe import HAND_POINTS

# A part and the index of a point in it.
Point = tuple[str, int]

# What BlazePose calls the points of the feet; it has one point at the tip.
_OTHER_NAMES = {
    "left_big_toe": "left_foot_index",
    "left_small_toe": "left_foot_index",
    "right_big_toe": "right_foot_index",
    "right_small_toe": "right_foot_index",
}
# The five groups of the 133 points.
GROUPS_OF_133 = {
    "body": BODY,
    "feet": FEET,
    "face": FACE,
    "left_hand": LEFT_HAND,
    "right_hand": RIGHT_HAND,
}
# Parts that a body's points may be in: ours, and what authors of manifests may call it.
_BODIES = ("pose", "body")


@lru_cache(maxsize=64)
def coco_133_points(layout: Layout) -> tuple[Point | None, ...]:
    """Return the point of a layout for each of COCO-WholeBody's 133, None where it has none."""
    parts = {part.name: part.points for part in layout.parts}

    def named(name: str, *places: str) -> Point | None:
        for part in places:
            for called in (name, _OTHER_NAMES.get(name, name)):
                if called in parts.get(part, ()):
                    return part, parts[part].index(called)
        return None

    def on_the_face(name: str, vertex: int) -> Point | None:
        mesh = f"face_{vertex:03}"
        # Faces of other tools, whose points have numbers only, are no mesh.
        called = mesh if mesh in parts.get("face", ()) and "face_0" not in parts["face"] else name
        return named(called, "face")

    return (
        *(named(name, *_BODIES) for name in BODY_NAMES),
        *(named(name, "feet", *_BODIES) for name in FEET_NAMES),
        *(on_the_face(name, vertex) for name, vertex in zip(NAMES[FACE], FACE_VERTICES, strict=True)),
        *(named(name, "left_hand") for name in HAND_POINTS),
        *(named(name, "right_hand") for name in HAND_POINTS),
    )


def named_point(layout: Layout, name: str) -> Point | None:
    """Return a point of the body by its name, such as `left_shoulder` or `neck`; None where the layout lacks it."""
    for part in layout.parts:
        if part.name in _BODIES and name in part.points:
            return part.name, part.points.index(name)
    return None


def groups_found(layout: Layout) -> dict[str, tuple[int, int]]:
    """Return, for each group of the 133 points, how many a layout has, and how many there are."""
    points = coco_133_points(layout)
    return {
        name: (sum(point is not None for point in points[group]), group.stop - group.start)
        for name, group in GROUPS_OF_133.items()
    }
