"""Which formats can hold which landmarks, by their layout.

`selection` asks before a format is written, so that a layout that does not fit is refused with the formats that do.
"""

from __future__ import annotations

from collections.abc import Callable

from phoenix_ray.errors import ConfigError
from phoenix_ray.layouts import Layout
from phoenix_ray.layouts.correspondence import GROUPS_OF_133, coco_133_points, groups_found

_HOLISTIC_PARTS = {"pose": 33, "left_hand": 21, "right_hand": 21, "face": 468}


def _holistic(layout: Layout) -> str:
    """Return what MediaPipe Holistic's landmarks with depth lack in a layout, empty where it has them."""
    parts = {part.name: part for part in layout.parts}
    for name, points in _HOLISTIC_PARTS.items():
        found = parts.get(name)
        if found is None or len(found.points) < points:
            count = "no" if found is None else len(found.points)
            return (
                f"needs MediaPipe Holistic's landmarks; the layout {layout.name} has {count} points of '{name}', not "
                f"{points}"
            )
        if found.axes[:3] != ("x", "y", "z"):
            return f"needs x, y, z of each point; '{name}' has {', '.join(found.axes)}"
    return ""


def _coco_body(layout: Layout) -> str:
    """Return what keeps a layout from being written by its body of 17 points, with feet, face and hands if it has."""
    found, _ = groups_found(layout)["body"]
    if found < 17:
        return f"needs the 17 points of COCO's body; the layout {layout.name} has {found or 'none'} of them"
    # Else they would be left out without a word.
    for part in layout.parts:
        if part.name in GROUPS_OF_133 and not groups_found(layout)[part.name][0]:
            return f"knows no point of '{part.name}' of the layout {layout.name}, by their names"
    return ""


def _coco_133(layout: Layout) -> str:
    """Return which of COCO-WholeBody's 133 points a layout lacks, empty where it has all."""
    if all(coco_133_points(layout)):
        return ""
    groups = ", ".join(f"{found} of {count} of {name}" for name, (found, count) in groups_found(layout).items())
    return f"needs all 133 points of COCO-WholeBody; the layout {layout.name} has {groups}"


def _anything(layout: Layout) -> str:  # noqa: ARG001 - as the others
    return ""


# Format → says what a layout lacks; in the order in which an error recommends them.
_OBJECTIONS: dict[str, Callable[[Layout], str]] = {
    "npz": _anything,
    "csv": _anything,
    "webdataset": _anything,
    "pose": _anything,
    "delta": _anything,
    "coco": _coco_body,
    "openpose": _coco_body,
    "mska": _coco_133,
    "twostream": _coco_133,
    "pickle": _holistic,
    "kaggle": _holistic,
    "fingerspelling": _holistic,
}


def fitting_formats(layout: Layout) -> list[str]:
    """Return the names of the formats that can hold a layout."""
    return [name for name, objection in _OBJECTIONS.items() if not objection(layout)]


def require_format(layout: Layout, format_name: str) -> None:
    """Check that a format can hold a layout.

    Raises:
        ConfigError: It cannot; the message says what the layout lacks, and which formats hold it.
    """
    if lacking := _OBJECTIONS[format_name](layout):
        raise ConfigError(
            f"The format '{format_name}' {lacking}. These landmarks can be written as "
            f"{', '.join(fitting_formats(layout))}."
        )
