"""Named sets of points, and the point on the other side of the body.

A point is its part and its index in the part. Sets are made for Holistic's layouts; `part:3-5,8` words and whole parts
work with any layout. A set keeps the order in which it is listed here, so a column means the same for every video.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from phoenix_ray.errors import ConfigError, did_you_mean
from phoenix_ray.layouts import Layout
from phoenix_ray.layouts.coco import HOLISTIC_POINTS
from phoenix_ray.layouts.mediapipe import FACE_EDGES, HAND_POINTS

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


Point = tuple[str, int]

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


def _in_part(part: str, indices: Iterable[int]) -> tuple[Point, ...]:
    return tuple((part, index) for index in indices)


_HANDS = tuple((part, index) for part in ("left_hand", "right_hand") for index in range(len(HAND_POINTS)))
# Shoulders, elbows, wrists, hips: what PHOENIX's frames show of the body, by MediaPipe's PoseLandmark.
_UPPER_BODY = _in_part("pose", (11, 12, 13, 14, 15, 16, 23, 24))
_FACE_128 = _in_part("face", sorted({point for edge in FACE_EDGES for point in edge}))

POINT_SETS: Mapping[str, tuple[Point, ...]] = MappingProxyType(
    {
        "upper_body": _UPPER_BODY,
        "arms": _in_part("pose", range(11, 23)),
        "head": _in_part("pose", range(11)),
        "hands": _HANDS,
        "lips": _in_part("face", (*_OUTER_LIPS, *_INNER_LIPS)),
        "eyes": _in_part("face", _EYES),
        "brows": _in_part("face", _BROWS),
        "nose": _in_part("face", _NOSE),
        "face_contour": _in_part("face", _OVAL),
        "face_128": _FACE_128,
        "holistic_75": (*_in_part("pose", range(33)), *_HANDS),
        "holistic_178": (*_UPPER_BODY, *_HANDS, *_FACE_128),
        "coco_133": HOLISTIC_POINTS,
    }
)


def resolve_points(layout: Layout, words: Iterable[str]) -> tuple[Point, ...]:
    """Return the points that words name, in order; without those that an earlier word has named.

    Args:
        layout: What the points are taken from.
        words: Each a set of `POINT_SETS`, a part of the layout relative to the image, `all` (every such part), or
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

    Parts and points called `left` and `right` change places. The face has no such names: its points change places by
    the symmetry of MediaPipe's mesh (`FACE_MIRROR`). A face of another kind has no counterparts.
    """
    parts = {part.name: part for part in layout.parts if part.scored}
    pairs: dict[Point, Point] = {}
    for part in parts.values():
        if part.name == "face":
            pairs |= {
                ("face", point): ("face", other)
                for point, other in zip(range(len(part.points)), FACE_MIRROR, strict=False)
            }
            continue
        other = parts.get(_other_side(part.name))
        names = {} if other is None else {name: (other.name, index) for index, name in enumerate(other.points)}
        for index, name in enumerate(part.points):
            if _other_side(name) in names:
                pairs[part.name, index] = names[_other_side(name)]
    return pairs


def _other_side(name: str) -> str:
    words = name.split("_")
    return "_".join({"left": "right", "right": "left"}.get(word, word) for word in words)


def _resolve_word(layout: Layout, word: str) -> tuple[Point, ...]:
    parts = {part.name: len(part.points) for part in layout.parts if part.scored}
    if word == "all":
        return tuple(point for name, size in parts.items() for point in _in_part(name, range(size)))
    name, colon, indices = word.partition(":")
    if name in parts:
        points = _in_part(name, _parse_indices(word, indices) if colon else range(parts[name]))
    else:
        points = () if colon else POINT_SETS.get(word, ())
    if not points:
        known = (*POINT_SETS, *parts, "all")
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
