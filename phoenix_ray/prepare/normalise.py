"""Normalisations: origin and unit of the coordinates.

Each is a shift and a scale, which the `Prepared` remembers, so each can be undone (`inverse`), and all together by
`Prepared.image_points`, also for points that a model has predicted. z is only scaled, never shifted: MediaPipe gives it
relative to the middle of the hips (pose), the wrist (hands) or the middle of the face.

`ImageHeights` comes first. The others measure lengths, and lengths mean nothing while x is a share of the width and y
one of the height.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

from phoenix_ray.prepare.prepared import Placement, Prepared, lift, place, require_positions

# PHOENIX' 210x260 frames are cut out of 720x576 material that is meant to be shown at 16:9, so a pixel is 64/45 as wide
# as high (ITU-R BT.601's 704x576 picture shown at 16:9 would give 16/11, within 3 %). Annotators who corrected it
# stretched the frames to 300x260 (iis.uibk.ac.at/downloads/phoenix-annotations): 1.43.
PHOENIX_PIXEL_ASPECT = 64 / 45

# Shoulders nearer than this share of the image height are no measure.
_SMALLEST_WIDTH = 1e-4


class _Normalisation(ABC):
    """A shift and a scale that follow from the points."""

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the points in the new coordinates."""
        require_positions(prepared, self)
        return place(prepared, self.measure(prepared))

    def inverse(self, prepared: Prepared) -> Prepared:
        """Undo it, to float32 rounding, when it was the latest normalisation."""
        return lift(prepared)

    @abstractmethod
    def measure(self, prepared: Prepared) -> Placement:
        """Return the shift and the scale."""


@dataclass(frozen=True, slots=True)
class ImageHeights(_Normalisation):
    """The origin is the middle of the image, the unit its height; x and y are equally long.

    Attributes:
        pixel_aspect: Width of a pixel over its height. 1 for square pixels; `PHOENIX_PIXEL_ASPECT` corrects PHOENIX'
            stretched frames.
    """

    pixel_aspect: float = 1.0

    def measure(self, prepared: Prepared) -> Placement:
        """Return the same for all frames and points."""
        width = prepared.aspect * self.pixel_aspect
        by_axis = {"x": (0.5, 1 / width), "y": (0.5, 1.0), "z": (0.0, 1 / width)}
        origin, scale = zip(*(by_axis[axis] for axis in prepared.axes), strict=True)
        return Placement(np.array([[origin]], np.float32), np.array([[scale]], np.float32))


@dataclass(frozen=True, slots=True)
class ShoulderWidth(_Normalisation):
    """The origin is the middle between the shoulders, the unit their distance.

    A video in which the shoulders are never found has no measure: all its points become missing.

    Attributes:
        over: `video` takes the median over the video, so that the body still moves and turns; `frame` each frame's own
            shoulders, or those of the nearest frame that shows them.
    """

    over: Literal["video", "frame"] = "video"

    def measure(self, prepared: Prepared) -> Placement:
        """Return one value a video, or one a frame; both shoulders must have been taken."""
        _require_image_heights(prepared, self)
        if not prepared.shoulders:
            raise ValueError("ShoulderWidth measures shoulders, which these landmarks lack: leave it out.")
        left, right = (prepared.points[:, prepared.column(point), :2] for point in prepared.shoulders)
        middle, width = (left + right) / 2, np.linalg.norm(left - right, axis=1)
        seen = np.flatnonzero(width > _SMALLEST_WIDTH)
        if not len(seen):
            middle, width = np.full((1, 2), np.nan), np.full(1, np.nan)
        elif self.over == "video":
            middle, width = np.median(middle[seen], axis=0, keepdims=True), np.median(width[seen], keepdims=True)
        else:
            nearest = seen[np.abs(np.arange(len(prepared))[:, np.newaxis] - seen).argmin(axis=1)]
            middle, width = middle[nearest], width[nearest]
        origin = np.zeros((len(middle), 1, len(prepared.axes)), np.float32)
        origin[:, 0, :2] = middle
        return Placement(origin, width.astype(np.float32)[:, np.newaxis, np.newaxis])


@dataclass(frozen=True, slots=True)
class PartBoxes(_Normalisation):
    """Each part has its own origin and unit in each frame: the middle and the longer side of the box around it."""

    def measure(self, prepared: Prepared) -> Placement:
        """Return a value for each frame and point; NaN where a part is missing."""
        _require_image_heights(prepared, self)
        origin = np.zeros(prepared.points.shape, np.float32)
        scale = np.ones((*prepared.points.shape[:2], 1), np.float32)
        for columns in _columns_by_part(prepared).values():
            box = prepared.points[:, columns, :2]
            # Of nothing but NaN `fmin` gives NaN without a warning.
            low, high = np.fmin.reduce(box, axis=1), np.fmax.reduce(box, axis=1)
            side = (high - low).max(axis=1)
            origin[:, columns, :2] = ((low + high) / 2)[:, np.newaxis]
            scale[:, columns, 0] = np.where(side == 0, 1, side)[:, np.newaxis]
        return Placement(origin, scale)


@dataclass(frozen=True, slots=True)
class WristCentred(_Normalisation):
    """The origin of each hand is its own wrist; the unit and all other points stay as they are.

    A hand whose wrist is missing becomes missing as a whole.
    """

    def measure(self, prepared: Prepared) -> Placement:
        """Return a value for each frame and point; the wrists of the hands that were taken are needed."""
        _require_image_heights(prepared, self)
        origin = np.zeros(prepared.points.shape, np.float32)
        for part, columns in _columns_by_part(prepared).items():
            for wrist in prepared.wrists:
                if wrist[0] == part:
                    origin[:, columns, :2] = prepared.points[:, prepared.column(wrist), np.newaxis, :2]
        return Placement(origin, np.ones((1, 1, 1), np.float32))


def _require_image_heights(prepared: Prepared, normalisation: object) -> None:
    if not prepared.placements:
        raise ValueError(f"{type(normalisation).__name__} measures lengths: put ImageHeights before it.")


def _columns_by_part(prepared: Prepared) -> dict[str, list[int]]:
    columns: dict[str, list[int]] = {}
    for column, (part, _) in enumerate(prepared.chosen):
        columns.setdefault(part, []).append(column)
    return columns


def measure_is_missing(placement: Placement) -> bool:
    """Return whether a video gave nothing to normalise by, so that all its points became missing."""
    return bool(np.isnan(placement.scale).all())
