"""The form that transforms take and return: the chosen points of a video, and the way back to its image.

A transform is any callable from `Prepared` to `Prepared`. It changes nothing in place. Where it can be undone it has a
method `inverse`; where it cannot, its docstring says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts.correspondence import Point

Floats = NDArray[np.float32]
POSITION_AXES = ("x", "y", "z")


@dataclass(frozen=True, slots=True)
class Placement:
    """How a normalisation moved the points: `before = after * scale + origin`.

    Attributes:
        origin: float32, broadcastable to (frames, points, axes).
        scale: float32, broadcastable to (frames, points, axes). NaN where a video gives no measure to normalise by.
    """

    origin: Floats
    scale: Floats


@dataclass(frozen=True, slots=True)
class Prepared:
    """The chosen points of one video, on the way to a model.

    Attributes:
        split: Split of the video.
        video_id: The video.
        points: float32 (frames, points, axes): NaN in all axes where a point is missing.
        chosen: Which point each column of `points` is: part and index in the part.
        counterparts: The point on the other side of the body, for every point of the layout that has a counterpart.
        axes: Name of each axis: x, y, perhaps z; then dx, dy, … (velocity) and ddx, … (acceleration).
        filled: bool (frames, points): the value was made by filling or resampling across a gap, not found by the model.
        confidence: float32 (frames, points): the visibility of a point of MediaPipe's pose, 0..1; the confidence of the
            point in the units of its network; else the presence score of its part. 0 where it is missing or filled.
        times: float64 (frames,): seconds.
        aspect: Width of a frame over its height, in pixels as decoded.
        placements: What each normalisation did, in order. Without any, x and y are 0..1 over the image.
        mirrored: Whether left and right are swapped.
        shoulders: Left and right shoulder, empty where the layout lacks them.
        wrists: The wrist of each hand of the layout.
        annotation: Text of the source: `gloss`, `translation`, `signer`, ….
        heads: Columns of the heads that were taken, by name: float32 (frames,), logits (frames, classes); NaN where
            they are missing. Nothing but new frame rates and lengths changes them.
    """

    split: str
    video_id: str
    points: Floats
    chosen: tuple[Point, ...]
    counterparts: Mapping[Point, Point]
    axes: tuple[str, ...]
    filled: NDArray[np.bool_]
    confidence: Floats
    times: NDArray[np.float64]
    aspect: float
    placements: tuple[Placement, ...] = ()
    mirrored: bool = False
    annotation: Mapping[str, str] = field(default_factory=dict)
    shoulders: tuple[Point, ...] = ()
    wrists: tuple[Point, ...] = ()
    heads: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.points)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where a point has a value, found or filled: bool (frames, points)."""
        return ~np.isnan(self.points[:, :, 0])

    def column(self, point: Point) -> int:
        """Return the column of a point.

        Raises:
            ValueError: The point was not taken.
        """
        try:
            return self.chosen.index(point)
        except ValueError:
            part, index = point
            raise ValueError(
                f"Point {index} of {part} is needed but was not taken: add '{part}:{index}' to TakePoints, and drop it "
                "with KeepPoints at the end."
            ) from None

    def placement(self) -> Placement:
        """Return all placements as one: `image = points * scale + origin`, with x and y 0..1 over the image."""
        axes = sum(axis in POSITION_AXES for axis in self.axes)
        origin, scale = np.zeros((1, 1, axes), np.float32), np.ones((1, 1, axes), np.float32)
        for placement in self.placements:
            origin = origin + scale * placement.origin
            scale = scale * placement.scale
        return Placement(origin, scale)

    def image_points(self) -> Floats:
        """Return where the points lie in the image, x and y 0..1 over it: undoes every normalisation, to rounding."""
        placement = self.placement()
        return self.points[:, :, : placement.scale.shape[2]] * placement.scale + placement.origin


class Transform(Protocol):
    """A function from a `Prepared` to another."""

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the changed video; the given one stays as it is."""


class Compose:
    """Transforms in order, after the first (`TakePoints`), which takes points out of a video."""

    def __init__(self, take: Callable[[VideoLandmarks], Prepared], *transforms: Transform) -> None:
        self._take = take
        self._transforms = transforms

    def __call__(self, video: VideoLandmarks) -> Prepared:
        """Return the prepared video."""
        return self.transform(self.take(video))

    def take(self, video: VideoLandmarks) -> Prepared:
        """Return the points of a video before any transform; they take a fraction of its memory."""
        return self._take(video)

    def transform(self, prepared: Prepared) -> Prepared:
        """Return what the transforms make of the points that `take` returned."""
        for transform in self._transforms:
            prepared = transform(prepared)
        return prepared


def require_positions(prepared: Prepared, transform: object) -> None:
    """Raise ValueError when there are velocities: `transform` would leave them wrong."""
    if prepared.axes[-1] not in POSITION_AXES:
        raise ValueError(f"{type(transform).__name__} comes before AddMotion: velocities do not follow it.")


def place(prepared: Prepared, placement: Placement) -> Prepared:
    """Return the points moved and scaled by a placement, which is remembered."""
    return replace(
        prepared,
        points=(prepared.points - placement.origin) / placement.scale,
        placements=(*prepared.placements, placement),
    )


def lift(prepared: Prepared) -> Prepared:
    """Undo the latest placement, to float32 rounding."""
    *earlier, last = prepared.placements
    return replace(prepared, points=prepared.points * last.scale + last.origin, placements=tuple(earlier))
