"""What pose-format calls our parts and points: the components of a `.pose` header, for writing and for reading.

Tools that know a header by its names (`pose_format.utils.generic`) know ours: Holistic's five components
(`pose_format.utils.holistic`), OpenPose's four (`pose_format.utils.openpose`), and the four of COCO-WholeBody that
pose-format's MMPose and AlphaPose readers make (`pose_format.utils.cocowholebody133_header`), whose body holds the feet
too. Any other layout has one component a part, with our names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files

from phoenix_ray.layouts import COCO_WHOLEBODY_133, OPENPOSE_137, Edge, Layout, Part, holistic
from phoenix_ray.layouts.correspondence import Point
from phoenix_ray.layouts.mediapipe import IRIS_EDGES
from phoenix_ray.layouts.openpose import BODY_18, BODY_25

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class PoseComponent:
    """A component of a `.pose` header.

    Attributes:
        name: Its name.
        points: What pose-format calls each point.
        places: The part and the index in it of each point.
        limbs: Pairs of points that a drawing joins.
        letters: Its format: axes, and C for the confidence.
        colours: RGB of its points.
    """

    name: str
    points: tuple[str, ...]
    places: tuple[Point, ...]
    limbs: tuple[Edge, ...]
    letters: str
    colours: tuple[Colour, ...] = field(default=())


# In the order of Holistic's header.
_HOLISTIC = {
    "pose": "POSE_LANDMARKS",
    "face": "FACE_LANDMARKS",
    "left_hand": "LEFT_HAND_LANDMARKS",
    "right_hand": "RIGHT_HAND_LANDMARKS",
    "pose_world": "POSE_WORLD_LANDMARKS",
}
_OPENPOSE = {
    "pose": "pose_keypoints_2d",
    "face": "face_keypoints_2d",
    "left_hand": "hand_left_keypoints_2d",
    "right_hand": "hand_right_keypoints_2d",
}
_COCO = {"pose": "BODY", "feet": "BODY", "face": "FACE", "left_hand": "LEFT_HAND", "right_hand": "RIGHT_HAND"}
# AlphaPose's reader marks the same four components.
_ALPHAPOSE_MARK = "_133"

# What pose-format calls OpenPose's points: BODY_25, and a hand; points of the face have a group's name and a number.
_OPENPOSE_BODY = (
    *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip", "RHip", "RKnee"),
    *("RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar", "LBigToe", "LSmallToe", "LHeel", "RBigToe"),
    *("RSmallToe", "RHeel"),
)
_OPENPOSE_HAND = (
    *("BASE", "T_STT", "T_BCMC", "T_MCP", "T_IP"),
    *(f"{finger}_{joint}" for finger in "IMRP" for joint in ("CMC", "MCP", "PIP", "DIP")),
)
_OPENPOSE_FACE_GROUPS = {"FB": 17, "FEB": 27, "FN": 36, "FE": 48, "FLO": 60, "FLI": 68, "FP": 70}
# From ankles to heels and big toes, in the component of COCO-WholeBody's body with its feet.
_ANKLES = ((15, 19), (15, 17), (16, 22), (16, 20))
# Colours of pose-format's components.
_BODY_COLOUR, _FACE_COLOUR, _COCO_COLOUR = (255, 0, 0), (128, 0, 0), (0, 255, 0)
_COCO_COLOURS = {"FACE": (255, 255, 255), "RIGHT_HAND": (255, 128, 0)}


@lru_cache(maxsize=16)
def components_of(layout: Layout) -> tuple[PoseComponent, ...]:
    """Return the components that a layout is written as."""
    for convention, reference in (
        (_HOLISTIC, holistic(478)),
        (_OPENPOSE, OPENPOSE_137),
        (_COCO, COCO_WHOLEBODY_133),
    ):
        if _follows(layout, reference):
            return tuple(_components(layout, convention))
    return tuple(_component(part.name, [part], part.points, [_BODY_COLOUR]) for part in layout.parts)


def _follows(layout: Layout, reference: Layout) -> bool:
    """Return whether each part of a layout has the points of a convention's, in its order, and no other axes."""
    known = {part.name: part for part in reference.parts}
    for part in layout.parts:
        if part.name not in known:
            return False
        whole = known[part.name].points
        forms = (whole, whole[:468]) if len(whole) == 478 else (whole, BODY_18) if whole == BODY_25 else (whole,)
        if part.points not in forms or part.sureness != known[part.name].sureness:
            return False
    return True


def _components(layout: Layout, convention: dict[str, str]) -> Iterator[PoseComponent]:
    parts = {part.name: part for part in layout.parts}
    for name in dict.fromkeys(convention.values()):
        own = [parts[part] for part, component in convention.items() if component == name and part in parts]
        if own:
            points = tuple(point for part in own for point in _pose_names(part, convention))
            yield _component(name, own, points, _colours(name, convention))


def _component(name: str, parts: Sequence[Part], points: tuple[str, ...], colours: Sequence[Colour]) -> PoseComponent:
    places = tuple((part.name, index) for part in parts for index in range(len(part.points)))
    limbs: list[Edge] = []
    first = 0
    for part in parts:
        limbs += [(start + first, end + first) for start, end in _limbs(part, name)]
        first += len(part.points)
    if [part.name for part in parts] == ["pose", "feet"]:
        limbs += _ANKLES
    letters = "".join(axis.upper() for axis in ("x", "y", "z") if all(axis in part.axes for part in parts)) + "C"
    return PoseComponent(name, points, places, tuple(sorted(limbs)), letters, tuple(colours))


def _limbs(part: Part, component: str) -> Sequence[Edge]:
    if component == _HOLISTIC["face"]:
        triangles = [edge for a, b, c in face_triangles() for edge in ((a, b), (b, c), (c, a))]
        return triangles + (list(IRIS_EDGES) if len(part.points) > 468 else [])
    if component in (_HOLISTIC["pose"], _HOLISTIC["pose_world"]):
        # MediaPipe names the lower point of each connection first.
        return [(min(edge), max(edge)) for edge in part.edges]
    return part.edges


def _colours(name: str, convention: dict[str, str]) -> Sequence[Colour]:
    if convention is _COCO:
        return [_COCO_COLOURS.get(name, _COCO_COLOUR)]
    if "hand" in name.lower():
        from pose_format.utils.openpose import hand_colors

        colours: list[Colour] = hand_colors
        return colours
    return [_FACE_COLOUR if "face" in name.lower() else _BODY_COLOUR]


def _pose_names(part: Part, convention: dict[str, str]) -> Sequence[str]:
    """Return what pose-format calls the points of a part."""
    if convention is _HOLISTIC:
        if part.name == "face":
            return [str(int(name.removeprefix("face_"))) for name in part.points]
        return [name.upper() for name in part.points]
    hand = part.name.endswith("_hand")
    if convention is _COCO:
        return [f"hand_{index}" for index in range(len(part.points))] if hand else part.points
    if hand:
        return _OPENPOSE_HAND
    if part.name == "face":
        return [
            f"{next(group for group, end in _OPENPOSE_FACE_GROUPS.items() if index < end)}_{index}"
            for index in range(len(part.points))
        ]
    names = dict(zip(BODY_25, _OPENPOSE_BODY, strict=True))
    return [names[name] for name in part.points]


@dataclass(frozen=True, slots=True)
class PoseConvention:
    """The components of a known header, as a file is read.

    Attributes:
        title: Whose they are, for messages.
        layout: The layout that the points belong to.
        places: Component name → what pose-format calls a point → part and index in it, in the layout's order.
        all_parts: Whether a part whose component is absent is whole, and missing in every frame.
    """

    title: str
    layout: Layout
    places: dict[str, dict[str, Point]]
    all_parts: bool = False


@cache
def known_conventions() -> tuple[PoseConvention, ...]:
    """Return the headers whose names are known; of one, a file may have some components and points."""
    coco = _places(COCO_WHOLEBODY_133)
    marked = {f"{name}{_ALPHAPOSE_MARK}": points for name, points in coco.items()}
    return (
        PoseConvention("MediaPipe Holistic", holistic(478), _places(holistic(478)), all_parts=True),
        PoseConvention("OpenPose", OPENPOSE_137, _places(OPENPOSE_137)),
        PoseConvention("COCO-WholeBody", COCO_WHOLEBODY_133, coco | marked),
    )


def _places(layout: Layout) -> dict[str, dict[str, Point]]:
    return {
        component.name: dict(zip(component.points, component.places, strict=True))
        for component in components_of(layout)
    }


@cache
def face_triangles() -> list[list[int]]:
    """Return the triangles of MediaPipe's face mesh, three face points each.

    Source: `FACEMESH_TESSELATION` of MediaPipe 0.10.21, whose 2,556 connections are the sides of these 852 triangles,
    in its order.
    """
    lines = files(__package__).joinpath("face_triangles.txt").read_text(encoding="ascii").splitlines()
    return [[int(point) for point in line.split()] for line in lines]
