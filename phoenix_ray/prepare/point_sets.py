"""Named sets of points, and the point on the other side of the body.

A point is its part and its index in the part. A layout has the sets all of whose points it has, by their names; the
features of a face of 68 or 70 points are sets too, under the names of those of the face mesh. `part:3-5,8` words and
whole parts work with any layout. A set keeps the order in which it is listed here, so a column means the same for every
video.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

from phoenix_ray.errors import ConfigError, did_you_mean
from phoenix_ray.layouts import Layout, Part, holistic
from phoenix_ray.layouts.coco import BODY, FACE_68_MIRROR
from phoenix_ray.layouts.correspondence import Point, coco_133_points, named_point
from phoenix_ray.layouts.mediapipe import FACE_EDGES, HAND_POINTS, POSE_POINTS

FACE_POINTS = 468
FACE_MIDDLE = (
    *(0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 94, 151, 152, 164, 168, 175, 195, 197, 199, 200),
)
# The attention model's irises: the centre, then what in the image is right, up, left and down of it. The signer's left
# iris (473..477) changes places with the right one (468..472), and right and left of the image do.
IRIS_MIRROR = (473, 476, 475, 474, 477, 468, 471, 470, 469, 472)


def _mirror_face() -> tuple[int, ...]:
    sides = [point for point in range(FACE_POINTS) if point not in FACE_MIDDLE]
    half = len(sides) // 2
    other = dict(zip(sides, sides[half:] + sides[:half], strict=True))
    return tuple(other.get(point, point) for point in range(FACE_POINTS))


# The counterpart of each point of the face, 468 or 478 with irises.
FACE_MIRROR = (*_mirror_face(), *IRIS_MIRROR)


# Outer and inner ring of the lips: MediaPipe's FACEMESH_LIPS, as vertices along the rings.
_OUTER_LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
_INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
# MediaPipe's FACEMESH_FACE_OVAL, from the forehead down the signer's left and up the right.
_OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
_EYES = (
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    *(263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
_BROWS = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107, 276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
_NOSE = (1, 2, 98, 327)


# Shoulders, elbows, wrists, hips: what PHOENIX's frames show of the body.
_UPPER_BODY = tuple(f"{side}_{joint}" for joint in ("shoulder", "elbow", "wrist", "hip") for side in ("left", "right"))
_FACE_128 = sorted({point for edge in FACE_EDGES for point in edge})
# Features of the face mesh, and of iBUG's 68 points.
_MESH = {"lips": (*_OUTER_LIPS, *_INNER_LIPS), "eyes": _EYES, "brows": _BROWS, "nose": _NOSE, "face_contour": _OVAL}
_OF_68 = {
    "lips": range(48, 68),
    "eyes": range(36, 48),
    "brows": range(17, 27),
    "nose": range(27, 36),
    "face_contour": range(17),
}


@lru_cache(maxsize=16)
def point_sets(layout: Layout) -> Mapping[str, tuple[Point, ...]]:
    """Return the sets that a layout has, by name."""
    sets: dict[str, tuple[Point, ...]] = {}
    for name, points in _sets(layout).items():
        found = tuple(point for point in points if point is not None)
        if len(found) == len(points):
            sets[name] = found
    return MappingProxyType(sets)


def _sets(layout: Layout) -> dict[str, list[Point | None]]:
    """Return the points of each set, with None for a point that the layout lacks."""
    parts = {part.name: part.points for part in layout.parts if part.scored}

    def of(part: str, names: Iterable[str]) -> list[Point | None]:
        places = {name: (part, index) for index, name in enumerate(parts.get(part, ()))}
        return [places.get(name) for name in names]

    def mesh(points: Iterable[int]) -> list[Point | None]:
        found = of("face", (f"face_{point:03}" for point in points))
        return found if _has_mesh(parts.get("face", ())) else [None] * len(found)

    hands = [*of("left_hand", HAND_POINTS), *of("right_hand", HAND_POINTS)]
    upper_body = [named_point(layout, name) for name in _UPPER_BODY]
    coco = coco_133_points(layout)
    features: dict[str, list[Point | None]] = {}
    for name, points in _MESH.items():
        found = mesh(points)
        features[name] = of("face", (f"face-{point}" for point in _OF_68[name])) if None in found else found
    return {
        "upper_body": upper_body,
        "arms": of("pose", POSE_POINTS[11:23]),
        "head": of("pose", POSE_POINTS[:11]),
        "hands": hands,
        **features,
        "face_128": mesh(_FACE_128),
        "holistic_75": [*of("pose", POSE_POINTS), *hands],
        "holistic_178": [*upper_body, *hands, *mesh(_FACE_128)],
        "coco_17": list(coco[BODY]),
        "coco_133": list(coco),
    }


def _has_mesh(face: tuple[str, ...]) -> bool:
    """Return whether the numbers of a face's points are vertices of the mesh; faces of other tools have numbers too."""
    return "face_0" not in face


# What Holistic has. A set that no layout but Holistic's has is known by name all the same.
POINT_SETS = point_sets(holistic(468))


def shoulder_points(layout: Layout) -> tuple[Point, ...]:
    """Return left and right shoulder, nothing where the layout lacks one."""
    found = [named_point(layout, name) for name in ("left_shoulder", "right_shoulder")]
    return tuple(point for point in found if point is not None) if all(found) else ()


def wrist_points(layout: Layout) -> tuple[Point, ...]:
    """Return the wrist of each hand that has one."""
    return tuple(
        (part.name, part.points.index("wrist"))
        for part in layout.parts
        if part.name in ("left_hand", "right_hand") and "wrist" in part.points
    )


def resolve_points(layout: Layout, words: Iterable[str]) -> tuple[Point, ...]:
    """Return the points that words name, in order; without those that an earlier word has named.

    Args:
        layout: What the points are taken from.
        words: Each a set of the layout (`point_sets`), a part of it relative to the image, `all` (every such part), or
            `part:indices` such as `pose:11-16` or `face:1,4,61-64`.

    Raises:
        ConfigError: A word means nothing in this layout, or there is none.
    """
    points: list[Point] = []
    for word in words:
        # A set may hold a point twice, as COCO-WholeBody's toes do.
        named = set(points)
        points += [point for point in _resolve_word(layout, word) if point not in named]
    if not points:
        raise ConfigError("No points are chosen: name sets, parts or part:indices, for example upper_body and hands.")
    return tuple(points)


def flat_index(layout: Layout, point: Point) -> int:
    """Return a point's index among all points of the image parts in a row: 0..542 for Holistic.

    The order is the layout's, that of `VideoLandmarks.array()`: pose, left hand, right hand, face.
    """
    first = 0
    for part in layout.parts:
        if part.name == point[0]:
            return first + point[1]
        first += len(part.points) if part.scored else 0
    raise KeyError(f"layout {layout.name} has no part {point[0]!r}")


def counterparts(layout: Layout) -> dict[Point, Point]:
    """Return, for each point, the one on the other side of the body; a point of the middle is its own.

    Parts and points called `left` and `right` change places. Points of a face have no such names: they change places by
    the symmetry of MediaPipe's mesh (`FACE_MIRROR`) or of iBUG's 68 points. A part in which nothing is called left or
    right says nothing about its sides: its points have no counterparts.
    """
    parts = {part.name: part for part in layout.parts if part.scored}
    pairs: dict[Point, Point] = {}
    for part in parts.values():
        other = parts.get(_other_side(part.name))
        if other is None:
            continue
        places = {name: (other.name, index) for index, name in enumerate(other.points)}
        has_sides = other is not part or any(_other_side(name) != name for name in part.points)
        for index, name in enumerate(part.points):
            mirrored = _mirrored_on_the_face(part, name) or (_other_side(name) if has_sides else "")
            if mirrored in places:
                pairs[part.name, index] = places[mirrored]
    return pairs


def _mirrored_on_the_face(part: Part, name: str) -> str:
    """Return the name of the point on the other side of a face, empty where the name is not of a known face."""
    if part.name != "face":
        return ""
    if (match := re.fullmatch(r"face_(\d{3})", name)) and int(match[1]) < len(FACE_MIRROR) and _has_mesh(part.points):
        return f"face_{FACE_MIRROR[int(match[1])]:03}"
    if (match := re.fullmatch(r"face-(\d+)", name)) and int(match[1]) < len(FACE_68_MIRROR):
        return f"face-{FACE_68_MIRROR[int(match[1])]}"
    return ""


def _other_side(name: str) -> str:
    return re.sub(r"(?<![a-z])(left|right)(?![a-z])", lambda found: {"left": "right", "right": "left"}[found[1]], name)


def _resolve_word(layout: Layout, word: str) -> tuple[Point, ...]:
    parts = {part.name: len(part.points) for part in layout.parts if part.scored}
    if word == "all":
        return tuple((name, index) for name, size in parts.items() for index in range(size))
    name, colon, indices = word.partition(":")
    sets = point_sets(layout)
    if name in parts:
        chosen = _parse_indices(word, indices) if colon else range(parts[name])
        points = tuple((name, index) for index in chosen)
    else:
        points = () if colon else sets.get(word, ())
    known = (*sets, *parts, "all")
    if not points and word in POINT_SETS:
        raise ConfigError(
            f"'{word}': the layout {layout.name} lacks points of this set. It has: {', '.join(known)} "
            "(docs/prepare.md, points.select)."
        )
    if not points:
        raise ConfigError(f"'{word}' names no points.{did_you_mean(word, known)} Known: {', '.join(known)}.")
    for part, index in points:
        if index >= parts.get(part, 0):
            raise ConfigError(f"'{word}': layout {layout.name} has no point {index} in {part}.")
    return points


def _parse_indices(word: str, text: str) -> list[int]:
    indices: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)):
            raise ConfigError(f"'{word}': write indices such as 3, 5-8 or 1,4,61-64.")
        indices += range(int(first), int(last if dash else first) + 1)
    return indices
