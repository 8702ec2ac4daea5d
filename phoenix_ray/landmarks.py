"""Landmark layouts: which parts a model finds, the names of their points, and which points a drawing joins.

A layout is data. The Parquet columns (`dataset.schema`), the pictures (`viewer`) and the exports follow from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

Edge = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """A group of points that is found or missing as a whole.

    Attributes:
        name: Prefix of its columns: `<name>_<axis>`, `<name>_score`.
        points: The name of each point.
        axes: The values of each point. `x` and `y` are fractions of the image's width and height and `z` is scaled like
            `x`, except in `pose_world`, which is in metres; `visibility` is a probability.
        edges: Pairs of points that a drawing joins.
        scored: Whether the model gives the part its own presence score.
    """

    name: str
    points: tuple[str, ...]
    axes: tuple[str, ...]
    edges: tuple[Edge, ...] = ()
    scored: bool = True

    def columns(self) -> Iterator[str]:
        """Yield the name of each coordinate column, in the order of the axes."""
        return (f"{self.name}_{axis}" for axis in self.axes)


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts a model finds, in the order of their columns."""

    name: str
    parts: tuple[Part, ...]

    def part(self, name: str) -> Part:
        """Return the part of this name; raise KeyError if the layout has none."""
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(
            f"layout {self.name} has no part {name!r}: its parts are {', '.join(part.name for part in self.parts)}"
        )

    def parts_named(self, names: Iterable[str]) -> list[Part]:
        """Return the parts of these names in their order, or of one name; raise KeyError if the layout lacks one."""
        return [self.part(name) for name in ((names,) if isinstance(names, str) else names)]

    def only(self, names: Collection[str]) -> Layout:
        """Return the layout reduced to some of its parts, in its own order; raise KeyError if it lacks one."""
        wanted = self.parts_named(names)
        return replace(self, parts=tuple(part for part in self.parts if part in wanted))


def _chain(*points: int) -> tuple[Edge, ...]:
    return tuple(pairwise(points))


def _loop(*points: int) -> tuple[Edge, ...]:
    return _chain(*points, points[0])


# BlazePose's 33 points, named and ordered as in MediaPipe's PoseLandmark.
POSE_POINTS = (
    *("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
    *("left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder"),
    *("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky"),
    *("left_index", "right_index", "left_thumb", "right_thumb", "left_hip", "right_hip"),
    *("left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel", "right_heel"),
    *("left_foot_index", "right_foot_index"),
)
POSE_EDGES = (
    *_chain(8, 6, 5, 4, 0, 1, 2, 3, 7),
    *_chain(9, 10),
    *_loop(11, 12, 24, 23),
    *_chain(11, 13, 15, 21),
    *_chain(15, 17, 19, 15),
    *_chain(12, 14, 16, 22),
    *_chain(16, 18, 20, 16),
    *_chain(23, 25, 27, 29, 31, 27),
    *_chain(24, 26, 28, 30, 32, 28),
)

_FINGERS = ("thumb", "index_finger", "middle_finger", "ring_finger", "pinky")
_JOINTS = {"thumb": ("cmc", "mcp", "ip", "tip")}
# The 21 points of a hand, named and ordered as in MediaPipe's HandLandmark.
HAND_POINTS = (
    "wrist",
    *(f"{finger}_{joint}" for finger in _FINGERS for joint in _JOINTS.get(finger, ("mcp", "pip", "dip", "tip"))),
)
HAND_EDGES = (
    *_chain(0, 1, 2, 3, 4),
    *_chain(0, 5, 6, 7, 8),
    *_chain(5, 9, 10, 11, 12),
    *_chain(9, 13, 14, 15, 16),
    *_chain(13, 17, 18, 19, 20),
    *_chain(0, 17),
)

# Contours of MediaPipe's canonical face mesh (FACEMESH_CONTOURS), as chains of vertices.
FACE_EDGES = (
    *_chain(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152),
    *_chain(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109, 10),
    *_chain(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291),
    *_chain(61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291),
    *_chain(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308),
    *_chain(78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308),
    *_chain(263, 249, 390, 373, 374, 380, 381, 382, 362),
    *_chain(263, 466, 388, 387, 386, 385, 384, 398, 362),
    *_chain(33, 7, 163, 144, 145, 153, 154, 155, 133),
    *_chain(33, 246, 161, 160, 159, 158, 157, 173, 133),
    *_chain(276, 283, 282, 295, 285),
    *_chain(300, 293, 334, 296, 336),
    *_chain(46, 53, 52, 65, 55),
    *_chain(70, 63, 105, 66, 107),
)
# The irises of the attention model: a centre (468, 473), which nothing joins, and four points around it.
IRIS_EDGES = (*_loop(469, 470, 471, 472), *_loop(474, 475, 476, 477))


_BODY = (
    Part("pose", POSE_POINTS, ("x", "y", "z", "visibility"), POSE_EDGES),
    Part("pose_world", POSE_POINTS, ("x", "y", "z"), POSE_EDGES, scored=False),
)
# MediaPipe Pose alone: Holistic without hands and face.
BLAZEPOSE = Layout("blazepose", _BODY)


def holistic(face_points: int) -> Layout:
    """Return the layout of MediaPipe Holistic with 468 face points, or 478 with irises."""
    face_edges = FACE_EDGES if face_points == 468 else (*FACE_EDGES, *IRIS_EDGES)
    return Layout(
        name=f"holistic-{face_points}",
        parts=(
            *_BODY,
            Part("left_hand", HAND_POINTS, ("x", "y", "z"), HAND_EDGES),
            Part("right_hand", HAND_POINTS, ("x", "y", "z"), HAND_EDGES),
            Part("face", tuple(f"face_{index:03}" for index in range(face_points)), ("x", "y", "z"), face_edges),
        ),
    )


LAYOUTS = {layout.name: layout for layout in (holistic(468), holistic(478), BLAZEPOSE)}
