"""Taking points out of a video, mirroring them, and dropping some again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ConfigError
from phoenix_ray.layouts import Layout
from phoenix_ray.layouts.correspondence import Point
from phoenix_ray.prepare.point_sets import counterparts, resolve_points, shoulder_points, wrist_points
from phoenix_ray.prepare.prepared import Floats, Placement, Prepared

# PHOENIX' rate, for sources without a clock.
DEFAULT_FRAME_RATE = 25.0


class TakePoints:
    """Take some points of a video. Cannot be undone: the others are gone.

    Args:
        words: What to take, as in `point_sets.resolve_points`: `upper_body`, `hands`, `pose:11-16`, ….
        axes: `xy` or `xyz`.
        frame_rate: Frames per second to assume where the source has no clock.
        heads: Names of the heads whose columns are taken.
        smooth_heads: Whether they are smoothed over time (`VideoLandmarks.head_columns`).
    """

    def __init__(
        self,
        *words: str,
        axes: str = "xy",
        frame_rate: float = DEFAULT_FRAME_RATE,
        heads: Sequence[str] = (),
        smooth_heads: bool = True,
    ) -> None:
        self._words = words
        self._axes = tuple(axes)
        self._frame_rate = frame_rate
        self._heads = tuple(heads)
        self._smooth_heads = smooth_heads

    def __call__(self, video: VideoLandmarks) -> Prepared:
        """Return the points in image coordinates.

        Raises:
            ConfigError: A word means nothing in the video's layout, or a part lacks an axis.
            KeyError: The layout has no such head.
        """
        chosen, axes = resolve_points(video.layout, self._words), self._axes
        refuse_lacking_axes(video.layout, chosen, axes)
        points = np.empty((len(video), len(chosen), len(axes)), np.float32)
        confidence = np.empty((len(video), len(chosen)), np.float32)
        for part in dict.fromkeys(name for name, _ in chosen):
            columns = [column for column, (name, _) in enumerate(chosen) if name == part]
            indices = [chosen[column][1] for column in columns]
            positions = [video.layout.part(part).axes.index(axis) for axis in axes]
            points[:, columns] = video.points[part][:, indices][:, :, positions]
            confidence[:, columns] = _confidence(video, part, indices)
        missing = np.isnan(points).any(axis=2)
        points[missing] = np.nan
        return Prepared(
            split=video.split,
            video_id=video.video_id,
            points=points,
            chosen=chosen,
            counterparts=counterparts(video.layout),
            axes=axes,
            filled=np.zeros(missing.shape, dtype=bool),
            confidence=np.where(missing, 0, np.nan_to_num(confidence)).astype(np.float32),
            times=_seconds(video, self._frame_rate),
            aspect=_aspect(video),
            annotation=video.annotation,
            shoulders=shoulder_points(video.layout),
            wrists=wrist_points(video.layout),
            heads=self._take_heads(video),
        )

    def _take_heads(self, video: VideoLandmarks) -> dict[str, Floats]:
        if not self._heads:
            return {}
        columns = video.head_columns(self._smooth_heads)
        return {name: columns[name] for head in self._heads for name in video.layout.head(head).columns()}


def refuse_lacking_axes(layout: Layout, chosen: Iterable[Point], axes: Iterable[str]) -> None:
    """Raise ConfigError where a part of some points lacks an axis."""
    for part in dict.fromkeys(name for name, _ in chosen):
        for axis in axes:
            if axis not in layout.part(part).axes:
                raise ConfigError(
                    f"points.axes: '{part}' of the layout {layout.name} has {', '.join(layout.part(part).axes)}, but "
                    f"no {axis}."
                )


@dataclass(frozen=True, slots=True)
class KeepPoints:
    """Keep some of the points that were taken, in the order given. Cannot be undone: the others are gone."""

    points: tuple[Point, ...]

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the kept points."""
        columns = [prepared.column(point) for point in self.points]
        return replace(
            prepared,
            points=prepared.points[:, columns],
            chosen=self.points,
            filled=prepared.filled[:, columns],
            confidence=prepared.confidence[:, columns],
            placements=tuple(
                Placement(take_columns(placed.origin, columns), take_columns(placed.scale, columns))
                for placed in prepared.placements
            ),
        )


def take_columns(array: Floats, columns: list[int]) -> Floats:
    """Return an array (frames, points, axes) with its points rearranged, or as it is where all points share a value."""
    return array if array.shape[1] == 1 else array[:, columns]


def _confidence(video: VideoLandmarks, part: str, indices: list[int]) -> Floats:
    described = video.layout.part(part)
    if described.sureness:
        return video.points[part][:, indices, described.axes.index(described.sureness)]
    return video.scores[part][:, np.newaxis]


def _seconds(video: VideoLandmarks, frame_rate: float) -> NDArray[np.float64]:
    if not np.isnan(video.timestamps).any():
        return video.timestamps
    return video.frame_index / (video.fps or frame_rate)


def _aspect(video: VideoLandmarks) -> float:
    """Return width over height of the video's frames; 1 where none was readable, and so no point was found."""
    readable = video.sizes[(video.sizes > 0).all(axis=1)]
    return float(np.median(readable[:, 0] / readable[:, 1])) if len(readable) else 1.0


@dataclass(frozen=True, slots=True)
class Mirror:
    """Mirror the image and rename the points, so that the left hand is a left hand again.

    Hands change places, left and right points of the pose, and the points of the face by its symmetry. Done
    twice it is the identity (bit for bit after a normalisation, to rounding before), and it may stand before or after
    any normalisation, resampling, filling or smoothing: the result is the same, to rounding.
    """

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the mirrored video.

        Raises:
            ValueError: A point was taken whose counterpart was not.
        """
        columns = [self._counterpart(prepared, column) for column in range(len(prepared.chosen))]
        points = prepared.points[:, columns]
        for axis, name in enumerate(prepared.axes):
            if name.endswith("x"):
                points[:, :, axis] = -points[:, :, axis]
        if not prepared.placements:
            x = prepared.axes.index("x")
            points[:, :, x] = 1 + points[:, :, x]
        return replace(
            prepared,
            points=points,
            filled=prepared.filled[:, columns],
            confidence=prepared.confidence[:, columns],
            # Only the first placement starts from coordinates whose zero is the edge of the image.
            placements=tuple(
                _mirror_placement(placement, columns, width=0 if number else 1)
                for number, placement in enumerate(prepared.placements)
            ),
            mirrored=not prepared.mirrored,
        )

    def inverse(self, prepared: Prepared) -> Prepared:
        """Mirror back."""
        return self(prepared)

    def _counterpart(self, prepared: Prepared, column: int) -> int:
        point = prepared.chosen[column]
        if point not in prepared.counterparts:
            raise ValueError(f"Nothing is known of the other side of point {point[1]} of {point[0]}: it cannot mirror.")
        return prepared.column(prepared.counterparts[point])


def _mirror_placement(placement: Placement, columns: list[int], width: int) -> Placement:
    origin: Floats = take_columns(placement.origin, columns).copy()
    origin[:, :, 0] = width - origin[:, :, 0]
    return Placement(origin, take_columns(placement.scale, columns))
