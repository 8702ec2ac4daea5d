"""Reading `.pose` files, ours and those of other tools.

Names decide what a point is, and the letters of a component's format (`XYZC`, `XYC`, …) what an axis is, because tools
drop and reorder both. Holistic's, OpenPose's and COCO-WholeBody's headers are known by their names (`pose_components`);
a component of any other becomes a part with the names it has. A point is missing where its confidence is 0: that is
pose-format's mask, and the number under a mask means nothing (`mirror_horizontal` leaves `width - 0` there).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.landmark_pickle import without_scores
from phoenix_ray.exports.pose_components import PoseConvention, known_conventions
from phoenix_ray.exports.pose_files import require_pose_format
from phoenix_ray.layouts import LAYOUTS, Layout, Part, holistic
from phoenix_ray.layouts.correspondence import Point

if TYPE_CHECKING:
    from pose_format import Pose
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent

_CONFIDENCE = "C"
_POSITIONS = ("x", "y", "z")


def read_pose_file(path: Path, split: str, video_id: str) -> VideoLandmarks:
    """Return the video of a `.pose` file of one person.

    The file records neither scores nor names or status of frames.

    Raises:
        MissingExtraError: pose-format is not installed.
        OutputError: The file is damaged, does not hold exactly one person, has points or axes that its components do
            not have elsewhere, or no picture size.
    """
    require_pose_format()
    from pose_format import Pose

    try:
        pose = Pose.read(path.read_bytes())
    # The reader has no errors of its own: damage shows as whatever a wrong byte happens to mean.
    except Exception as error:
        raise OutputError(
            f"{path} cannot be read as a .pose file ({error!r}): it is damaged or of another kind."
        ) from None
    shape = pose.body.data.shape
    if len(shape) != 4 or shape[1] != 1:
        people = f"{shape[1]} people" if len(shape) == 4 else f"an array of the shape {shape}"
        raise OutputError(f"{path} holds {people}; files of one person can be read.")
    layout, columns = _understand(pose.header, path)
    points = _read_points(pose, layout, columns, path)
    frames = len(pose.body.data)
    fps = float(pose.body.fps)
    names = [f"frame-{number}" for number in range(frames)]
    sizes = np.full((frames, 2), (pose.header.dimensions.width, pose.header.dimensions.height), np.int32)
    clock = fps if np.isfinite(fps) and fps > 0 else None
    return without_scores(split, video_id, layout, names, sizes, points, clock)


def pose_layout(header: PoseHeader, path: Path) -> Layout:
    """Return the layout with the parts, points and axes that a header names, in the order of a known layout.

    Of Holistic a part whose component is absent is whole, and missing in every frame.

    Raises:
        OutputError: A known component has a point that it does not have elsewhere; a component or point is there twice;
            or a component has no x and y.
    """
    return _understand(header, path)[0]


@dataclass(frozen=True, slots=True)
class _Column:
    """A point of a file: its place among all points of it, and the letters of its component."""

    place: int
    letters: str


def _understand(header: PoseHeader, path: Path) -> tuple[Layout, dict[str, list[_Column]]]:
    """Return the layout of a header, and the columns of each part that it has, in the order of the part's points."""
    names = [component.name for component in header.components]
    if len(set(names)) < len(names):
        raise OutputError(f"{path} has the components {', '.join(names)}, one of them twice.")
    convention = next((known for known in known_conventions() if known.places.keys() & set(names)), None)
    found: dict[Point, _Column] = {}
    parts: list[Part] = []
    start = 0
    for component in header.components:
        letters = component.format.upper()
        if convention is None or component.name in convention.places:
            if not {"X", "Y", _CONFIDENCE} <= set(letters):
                raise OutputError(
                    f"{path}: the points of its component {component.name} have the format '{component.format}'; X, Y "
                    f"and {_CONFIDENCE} (confidence) are needed."
                )
            points = _points_of(component, convention, path)
            if convention is None:
                parts.append(_own_part(component, letters))
            for place, point in enumerate(points, start):
                found[point] = _Column(place, letters)
        start += len(component.points)
    layout = Layout("pose-file", tuple(parts)) if convention is None else _reduce(convention, found)
    columns = {
        part.name: [found[point] for point in _order(part, convention) if point in found] for part in layout.parts
    }
    return _known(layout), columns


def _points_of(component: PoseHeaderComponent, convention: PoseConvention | None, path: Path) -> Sequence[Point]:
    """Return which point each of a component is."""
    repeated = len(set(component.points)) < len(component.points)
    if convention is None:
        if repeated:
            raise OutputError(f"{path}: its component {component.name} has a point twice.")
        return [(_part_name(component), index) for index in range(len(component.points))]
    known = convention.places[component.name]
    unknown = sorted(set(component.points) - known.keys())
    if unknown or repeated:
        what = f"the point '{unknown[0]}', which {convention.title} lacks" if unknown else "a point twice"
        raise OutputError(f"{path}: its component {component.name} has {what}.")
    return [known[point] for point in component.points]


def _part_name(component: PoseHeaderComponent) -> str:
    """Return a component's name as the prefix of columns."""
    return re.sub(r"\W+", "_", component.name.lower()).strip("_") or "points"


def _own_part(component: PoseHeaderComponent, letters: str) -> Part:
    count = len(component.points)
    edges = [(int(first), int(second)) for first, second in component.limbs]
    return Part(
        _part_name(component),
        tuple(component.points),
        (*(axis for axis in _POSITIONS if axis.upper() in letters), "confidence"),
        tuple(edge for edge in edges if min(edge) >= 0 and max(edge) < count),
    )


def _order(part: Part, convention: PoseConvention | None) -> Iterator[Point]:
    """Yield the points that a part may have, in the order in which it has them."""
    whole = part if convention is None else convention.layout.part(part.name)
    return ((part.name, index) for index in range(len(whole.points)))


def _reduce(convention: PoseConvention, found: dict[Point, _Column]) -> Layout:
    """Return the parts of a convention with the points and axes that were found."""
    whole = convention.layout
    irises = any(part == "face" and index >= 468 for part, index in found)
    if convention.all_parts and not irises:
        whole = holistic(468)
    parts = []
    for part in whole.parts:
        indices = [index for index in range(len(part.points)) if (part.name, index) in found]
        if not indices:
            if convention.all_parts:
                parts.append(part)
            continue
        letters = set.intersection(*(set(found[part.name, index].letters) for index in indices))
        kept = {index: place for place, index in enumerate(indices)}
        axes = tuple(axis for axis in part.axes if axis not in _POSITIONS or axis.upper() in letters)
        if "Z" in letters and "z" not in axes:
            axes = (*axes[:2], "z", *axes[2:])
        edges = tuple((kept[first], kept[end]) for first, end in part.edges if first in kept and end in kept)
        parts.append(replace(part, points=tuple(part.points[index] for index in indices), axes=axes, edges=edges))
    return Layout("pose-file", tuple(parts))


def _known(layout: Layout) -> Layout:
    """Return the known layout with the same parts, points and axes, else the layout itself."""

    def content(one_layout: Layout) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
        return [(part.name, part.points, part.axes) for part in one_layout.parts]

    return next((known for known in LAYOUTS.values() if content(known) == content(layout)), layout)


def _read_points(
    pose: Pose, layout: Layout, columns: dict[str, list[_Column]], path: Path
) -> dict[str, NDArray[np.float32]]:
    frames = len(pose.body.data)
    width, height = pose.header.dimensions.width, pose.header.dimensions.height
    points = {
        part.name: np.full((frames, len(part.points), len(part.axes)), np.nan, np.float32) for part in layout.parts
    }
    for part in layout.parts:
        own = columns[part.name]
        if not own:
            continue
        order = [column.place for column in own]
        confidence = np.asarray(pose.body.confidence[:, 0, order], np.float32)
        found = confidence != 0
        if found.any() and not (width and height):
            raise OutputError(
                f"{path} says that its pictures are {width} x {height}: its points are in pixels and mean nothing "
                "without the size. Set header.dimensions with pose-format."
            )
        for axis, name in enumerate(part.axes):
            if name in _POSITIONS:
                side = {"x": width, "y": height}.get(name, 1)
                places = [column.letters.replace(_CONFIDENCE, "").index(name.upper()) for column in own]
                values = np.asarray(pose.body.data.data[:, 0, order, places], np.float64) / max(side, 1)
            else:
                values = confidence.astype(np.float64)
            points[part.name][:, :, axis] = np.where(found, values, np.nan)
    return points
