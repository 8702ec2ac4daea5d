"""Which points of unlike layouts mean the same place of the body, by the 133 points of COCO-WholeBody.

Exports, named sets of points and comparisons of models go through these 133. Points that have no counterpart among them
(neck, middle of the hips, pupils, most of the face mesh) belong to no pair.
"""

from __future__ import annotations

from phoenix_ray.layouts.coco import BODY_NAMES, FACE, FACE_VERTICES, FEET_NAMES, NAMES
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


def coco_133_points(layout: Layout) -> tuple[Point | None, ...]:
    """Return the point of a layout for each of COCO-WholeBody's 133, None where it has none."""
    parts = {part.name: part.points for part in layout.parts}

    def named(name: str, *places: str) -> Point | None:
        for part in places:
            for called in (name, _OTHER_NAMES.get(name, name)):
                if called in parts.get(part, ()):
                    return part, parts[part].index(called)
        return None

    face = parts.get("face", ())
    vertices: list[Point | None]
    if len(face) >= 468:
        vertices = [("face", vertex) for vertex in FACE_VERTICES]
    else:
        vertices = [("face", face.index(name)) if name in face else None for name in NAMES[FACE]]
    return (
        *(named(name, "pose") for name in BODY_NAMES),
        *(named(name, "feet", "pose") for name in FEET_NAMES),
        *vertices,
        *(named(name, "left_hand") for name in HAND_POINTS),
        *(named(name, "right_hand") for name in HAND_POINTS),
    )
