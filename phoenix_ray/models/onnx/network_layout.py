"""The layout of a network's landmarks, as its manifest names or describes it."""

from __future__ import annotations

from pathlib import Path

from phoenix_ray.errors import ConfigError, ModelError, did_you_mean
from phoenix_ray.layouts import LAYOUTS, Layout, Part
from phoenix_ray.layouts.coco import IMAGE_AXES
from phoenix_ray.models.onnx.manifest import PoseManifest


def layout_of_manifest(manifest: PoseManifest) -> Layout:
    """Return the layout of a network's landmarks.

    Raises:
        ConfigError: The manifest names one that is not known or whose points have other axes, or keeps another number
            of points than it has.
    """
    where = f"The manifest of {manifest.name}"
    if isinstance(manifest.layout, str):
        known = [name for name, layout in LAYOUTS.items() if _is_of_pictures(layout)]
        if manifest.layout not in known:
            raise ConfigError(
                f"{where}: there is no layout '{manifest.layout}' (layout).{did_you_mean(manifest.layout, known)} "
                f"Layouts: {', '.join(known)}; or describe your own there (docs/manifests.md)."
            )
        layout = LAYOUTS[manifest.layout]
    else:
        parts = (Part(part.name, part.points, IMAGE_AXES, part.edges) for part in manifest.layout.parts)
        layout = Layout(manifest.layout.name, tuple(parts))
    if manifest.keep and len(manifest.keep) != number_of_points(layout):
        raise ConfigError(
            f"{where}: keep has {len(manifest.keep)} points, but its layout {layout.name} has "
            f"{number_of_points(layout)}."
        )
    return layout


def number_of_points(layout: Layout) -> int:
    """Return the points of all parts."""
    return sum(len(part.points) for part in layout.parts)


def refuse_other_points(manifest: PoseManifest, layout: Layout, given: int, path: Path) -> None:
    """Raise ModelError where a network gives another number of points than its manifest needs.

    Args:
        manifest: Names the layout and the points to keep.
        layout: The layout.
        given: Points that the network gave.
        path: Its file.
    """
    if manifest.keep:
        if max(manifest.keep) >= given:
            raise ModelError(
                f"{path} gives {given} points, numbered from 0, but its manifest keeps point {max(manifest.keep)} "
                "(keep)."
            )
    elif given != number_of_points(layout):
        raise ModelError(
            f"{path} gives {given} points, but its manifest's layout {layout.name} has {number_of_points(layout)}. "
            "Name another layout there, or those of the network's points that it has (keep)."
        )


def _is_of_pictures(layout: Layout) -> bool:
    return all(part.axes == IMAGE_AXES for part in layout.parts)
