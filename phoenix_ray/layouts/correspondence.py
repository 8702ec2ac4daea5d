"""Which points of unlike layouts mean the same place of the body, by the 133 points of COCO-WholeBody.

Exports, named sets of points and comparisons of models go through these 133. Points that have no counterpart among them
(neck, middle of the hips, pupils, most of the face mesh) belong to no pair.
"""

from __future__ import annotations

from dataclasses import dataclass
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

# The same groups by the names that parts have in our layouts.
PARTS_OF_133 = {"pose" if name == "body" else name: own for name, own in GROUPS_OF_133.items()}


@dataclass(frozen=True, slots=True)
class CommonPart:
    """Points of one part of the body that two layouts have.

    Attributes:
        name: The part's name, as in `PARTS_OF_133` or as both layouts call it.
        first: The points in the one layout.
        second: The points that mean the same places in the other, in the same order.
    """

    name: str
    first: tuple[Point, ...]
    second: tuple[Point, ...]


def shared_points(first: Layout, second: Layout) -> tuple[CommonPart, ...]:
    """Return the points that mean the same places in two layouts, by part; parts that share none are left out.

    Parts with the same name and the same points share all of them, such as the 468 of the face in two models of
    MediaPipe's. All others share what `coco_133_points` gives both. Parts in metres are left out.
    """
    known = {part.name: part for part in second.parts if part.scored}
    whole = [part for part in first.parts if part.scored and part.name in known]
    equal = {part.name: part for part in whole if part.points == known[part.name].points}
    pairs: dict[str, list[tuple[Point, Point]]] = {
        name: [((name, index), (name, index)) for index in range(len(part.points))] for name, part in equal.items()
    }
    places = list(zip(coco_133_points(first), coco_133_points(second), strict=True))
    for name, own in PARTS_OF_133.items():
        for mine, theirs in places[own]:
            if mine is not None and theirs is not None and not (mine[0] == theirs[0] and mine[0] in equal):
                pairs.setdefault(name, []).append((mine, theirs))
    order = [*PARTS_OF_133, *(name for name in equal if name not in PARTS_OF_133)]
    return tuple(
        CommonPart(name, tuple(mine for mine, _ in pairs[name]), tuple(theirs for _, theirs in pairs[name]))
        for name in order
        if name in pairs
    )


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
