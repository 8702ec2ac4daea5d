"""From settings to transforms: which steps, in which order."""

from __future__ import annotations

from collections.abc import Iterator

from phoenix_ray.errors import ConfigError
from phoenix_ray.landmarks import Layout
from phoenix_ray.prepare.cleaning import FillGaps, OneEuro, SavitzkyGolay
from phoenix_ray.prepare.normalise import SHOULDERS, WRISTS, ImageHeights, PartBoxes, ShoulderWidth, WristCentred
from phoenix_ray.prepare.point_sets import Point, counterparts, resolve_points
from phoenix_ray.prepare.points import KeepPoints, Mirror, TakePoints
from phoenix_ray.prepare.prepared import Compose, Transform
from phoenix_ray.prepare.settings import CleanSettings, PrepareSettings
from phoenix_ray.prepare.temporal import AddMotion, ToFrameRate, ToLength


def build_pipeline(settings: PrepareSettings, layout: Layout, mirrored: bool = False) -> Compose:
    """Return the pipeline that settings describe.

    Points that only a normalisation needs (shoulders, wrists) are taken along and dropped at the end.

    Args:
        settings: What to do.
        layout: The layout of the videos.
        mirrored: Whether to mirror.

    Raises:
        ConfigError: The chosen points do not exist in the layout, or cannot be mirrored.
    """
    chosen = resolve_points(layout, settings.points.select)
    if mirrored:
        _refuse_one_sided(layout, chosen)
    helping = tuple(point for point in _needed(settings, chosen) if point not in chosen)
    words = (*settings.points.select, *(f"{part}:{index}" for part, index in helping))
    time = settings.time
    return Compose(
        TakePoints(*words, axes=settings.points.axes, frame_rate=time.assumed_frame_rate),
        *_cleaning(settings.clean),
        *([ToFrameRate(time.frame_rate)] if time.frame_rate else []),
        *([ToLength(time.length)] if time.length else []),
        *([Mirror()] if mirrored else []),
        *_normalisations(settings),
        *([KeepPoints(chosen)] if helping else []),
        *([AddMotion(settings.channels.motion == "acceleration")] if settings.channels.motion != "none" else []),
    )


def parts_needed(settings: PrepareSettings, layout: Layout) -> tuple[str, ...]:
    """Return the parts that the pipeline reads, in the order of the layout."""
    chosen = resolve_points(layout, settings.points.select)
    names = {part for part, _ in (*chosen, *_needed(settings, chosen))}
    return tuple(part.name for part in layout.parts if part.name in names)


def axis_names(settings: PrepareSettings) -> tuple[str, ...]:
    """Return the names of the axes that points will have."""
    orders = {"none": 1, "velocity": 2, "acceleration": 3}[settings.channels.motion]
    return tuple(f"{'d' * order}{axis}" for order in range(orders) for axis in settings.points.axes)


def _needed(settings: PrepareSettings, chosen: tuple[Point, ...]) -> Iterator[Point]:
    """Yield the points that the normalisation measures by."""
    if settings.normalise.reference == "shoulders":
        yield from SHOULDERS
    if settings.normalise.hands == "wrist":
        parts = {part for part, _ in chosen}
        yield from (wrist for wrist in WRISTS if wrist[0] in parts)


def _cleaning(clean: CleanSettings) -> Iterator[Transform]:
    if clean.fill != "none":
        yield FillGaps(clean.fill, clean.longest_gap)
    if clean.smooth == "one_euro":
        yield OneEuro(clean.one_euro_min_cutoff, clean.one_euro_beta)
    elif clean.smooth == "savitzky_golay":
        yield SavitzkyGolay(clean.savitzky_golay_window)


def _normalisations(settings: PrepareSettings) -> Iterator[Transform]:
    normalise = settings.normalise
    if normalise.reference == "none":
        return
    yield ImageHeights(normalise.pixel_aspect)
    if normalise.reference == "shoulders":
        yield ShoulderWidth(normalise.over)
    elif normalise.reference == "part_box":
        yield PartBoxes()
    if normalise.hands == "wrist":
        yield WristCentred()


def _refuse_one_sided(layout: Layout, chosen: tuple[Point, ...]) -> None:
    sides = counterparts(layout)
    for point in chosen:
        if sides.get(point) not in chosen:
            raise ConfigError(
                f"Mirroring needs both sides, but points.select takes '{point[0]}:{point[1]}' without its counterpart."
            )
