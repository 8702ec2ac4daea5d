"""Regions of interest (ROIs): how they are found, what is cropped for them, how points get back to the image.

All functions work on arrays with a leading batch axis (see `arrays`). Coordinates are *normalised* (x divided by the
image's width, y by its height) unless a name says pixels; y points down, angles are radians, clockwise on the screen.
The order of the arithmetic is that of MediaPipe 0.10.21's calculators, which the docstrings name.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from phoenix_ray.models.holistic.arrays import Array, divide, namespace
from phoenix_ray.models.holistic.elementary import atan2, cosine_and_sine, square_root

# Angles of a line, counter-clockwise from the x axis (`rotation_towards`).
UPWARDS, LEVEL, DOWNWARDS = math.pi / 2, 0.0, -math.pi / 2
# A turn in two parts: the first has so few bits that a few times as much is exact in float32.
TURN_PARTS = (6.28125, 2 * math.pi - 6.28125)


class ImageSize(NamedTuple):
    """Width and height of N images in pixels, each float32 (N,)."""

    width: Array
    height: Array


class Rect(NamedTuple):
    """N rotated rectangles; each field float32 (N,), normalised or in pixels (the rotation never is normalised)."""

    center_x: Array
    center_y: Array
    width: Array
    height: Array
    rotation: Array

    def has_area(self) -> Array:
        """Return a bool array (N,): false for empty rectangles and for missing (NaN) ones."""
        return (self.width > 0) & (self.height > 0)


class Letterbox(NamedTuple):
    """Share of a crop that is padding on the left (and on the right) and on the top (and bottom), each float32 (N,)."""

    left: Array
    top: Array


class View(NamedTuple):
    """What a network sees of N images.

    Attributes:
        roi: The normalised ROIs.
        crop: The rectangles that are cropped for them, in pixels.
        letterbox: Share of the crops that is padding around the ROIs.
        size: Size of the images.
    """

    roi: Rect
    crop: Rect
    letterbox: Letterbox
    size: ImageSize


def whole_image(size: ImageSize) -> Rect:
    """Return the normalised rectangle of each image as a whole."""
    xp = namespace(size.width)
    ones = xp.ones_like(size.width)
    return Rect(0.5 * ones, 0.5 * ones, ones, ones, 0 * ones)


def square_through(center: Array, edge: Array, rotation: Array, size: ImageSize) -> Rect:
    """Return the square about the circle around `center` through `edge`, both in pixels as (N, 2).

    MediaPipe: AlignmentPointsRectsCalculator, HandDetectionsFromPoseToRectsCalculator.
    """
    right, down = edge[:, 0] - center[:, 0], edge[:, 1] - center[:, 1]
    side = 2 * square_root(right * right + down * down)
    return Rect(center[:, 0] / size.width, center[:, 1] / size.height, side / size.width, side / size.height, rotation)


def bounds_of_keypoints(points: Array, rotation: Array) -> Rect:
    """Return the upright bounds of points (N, K, 2), with a rotation.

    MediaPipe: DetectionsToRectsCalculator with `USE_KEYPOINTS`.
    """
    xp = namespace(points)
    lowest, highest = xp.min(points, axis=1), xp.max(points, axis=1)
    center, extent = 0.5 * (lowest + highest), highest - lowest
    return Rect(center[:, 0], center[:, 1], extent[:, 0], extent[:, 1], rotation)


def bounds_of_landmarks(points: Array, rotation: Array) -> Rect:
    """Return the upright bounds of points (N, K, 2), with a rotation; they always reach into the image.

    MediaPipe starts its search for the highest coordinate at the smallest positive number, so bounds of points left of
    or above the image end at its edge. MediaPipe: LandmarksToDetectionCalculator.
    """
    xp = namespace(points)
    lowest, highest = xp.min(points, axis=1), xp.max(points, axis=1)
    extent = xp.where(highest < 0, 0.0, highest) - lowest
    center = lowest + 0.5 * extent
    return Rect(center[:, 0], center[:, 1], extent[:, 0], extent[:, 1], rotation)


def rotation_towards(start: Array, end: Array, target: float) -> Array:
    """Return the rotation (N,) of a ROI in which the line from `start` to `end`, in pixels (N, 2), has angle `target`.

    `target` is counter-clockwise from the x axis: with pi / 2, `end` appears above `start`.
    MediaPipe: DetectionsToRectsCalculator.
    """
    return normalize_radians(target - atan2(-(end[:, 1] - start[:, 1]), end[:, 0] - start[:, 0]))


def normalize_radians(angle: Array) -> Array:
    """Return the angle within [-pi, pi), rounded once."""
    xp = namespace(angle)
    turns = xp.floor(divide(angle + math.pi, 2 * math.pi))
    return (angle - TURN_PARTS[0] * turns) - TURN_PARTS[1] * turns


def enlarge(rect: Rect, size: ImageSize, scale: float, shift_y: float = 0.0) -> Rect:
    """Return a square (in pixels) of `scale` times the longer side, moved along the rectangle's own y axis.

    `shift_y` is in heights of `rect`. MediaPipe: RectTransformationCalculator with `square_long`.
    """
    xp = namespace(rect.width)
    cosine, sine = cosine_and_sine(rect.rotation)
    shift = size.height * rect.height * shift_y
    longer_side = xp.maximum(rect.width * size.width, rect.height * size.height)
    return Rect(
        rect.center_x - shift * sine / size.width,
        rect.center_y + shift * cosine / size.height,
        longer_side / size.width * scale,
        longer_side / size.height * scale,
        rect.rotation,
    )


def stretched_view(roi: Rect, size: ImageSize) -> View:
    """Return the view in which ROIs fill the crop.

    MediaPipe: GetRoi of ImageToTensorCalculator.
    """
    x, y = roi.center_x * size.width, roi.center_y * size.height
    crop = Rect(x, y, roi.width * size.width, roi.height * size.height, roi.rotation)
    nothing = 0 * x
    return View(roi, crop, Letterbox(nothing, nothing), size)


def padded_view(roi: Rect, size: ImageSize) -> View:
    """Return the view in which ROIs keep their aspect ratio, in the middle of square crops.

    MediaPipe: PadRoi of ImageToTensorCalculator.
    """
    crop = stretched_view(roi, size).crop
    xp = namespace(crop.width)
    aspect = crop.height / crop.width
    is_wide = aspect < 1
    side = xp.where(is_wide, crop.width, crop.height)
    left = xp.where(is_wide, 0.0, 0.5 * (1 - 1 / aspect))
    top = xp.where(is_wide, 0.5 * (1 - aspect), 0.0)
    return View(roi, Rect(crop.center_x, crop.center_y, side, side, crop.rotation), Letterbox(left, top), size)


def remove_letterbox(points: Array, view: View) -> Array:
    """Return points (N, K, 2), 0..1 in a crop, as 0..1 in the ROI inside its padding.

    MediaPipe: DetectionLetterboxRemovalCalculator, LandmarkLetterboxRemovalCalculator.
    """
    left, top = view.letterbox.left[:, None, None], view.letterbox.top[:, None, None]
    x, y = points[:, :, 0:1], points[:, :, 1:2]
    return namespace(points).concat([(x - left) / (1 - (left + left)), (y - top) / (1 - (top + top))], axis=2)


def project(points: Array, view: View) -> Array:
    """Return points (N, K, 2 or 3), 0..1 in a crop, normalised to the image; z is scaled like x.

    MediaPipe: LandmarkLetterboxRemovalCalculator, LandmarkProjectionCalculator.
    """
    roi = view.roi
    inside = remove_letterbox(points[:, :, :2], view)
    x, y = rotate(inside[:, :, 0:1] - 0.5, inside[:, :, 1:2] - 0.5, roi.rotation)
    width, height = roi.width[:, None, None], roi.height[:, None, None]
    x, y = x * width + roi.center_x[:, None, None], y * height + roi.center_y[:, None, None]
    left = view.letterbox.left[:, None, None]
    z = points[:, :, 2:] / (1 - (left + left)) * width
    return namespace(points).concat([x, y, z], axis=2)


def project_keypoints(points: Array, view: View) -> Array:
    """Return points (N, K, 2), 0..1 in a crop, normalised to the image.

    MediaPipe multiplies a detector's keypoints by a matrix, but projects landmarks step by step; only the rounding
    differs. MediaPipe: GetRotatedSubRectToRectTransformMatrix, DetectionProjectionCalculator.
    """
    crop = Rect(*(values[:, None, None] for values in view.crop))
    per_column, per_row = 1 / view.size.width[:, None, None], 1 / view.size.height[:, None, None]
    cosine, sine = cosine_and_sine(crop.rotation)
    left = (-0.5 * crop.width * cosine + 0.5 * crop.height * sine + crop.center_x) * per_column
    top = (-0.5 * crop.height * cosine - 0.5 * crop.width * sine + crop.center_y) * per_row
    x, y = points[:, :, 0:1], points[:, :, 1:2]
    return namespace(points).concat(
        [
            x * (crop.width * cosine * per_column) + y * (-crop.height * sine * per_column) + left,
            x * (crop.width * sine * per_row) + y * (crop.height * cosine * per_row) + top,
        ],
        axis=2,
    )


def in_pixels(points: Array, size: ImageSize) -> Array:
    """Return normalised points (N, K, 2 or more) in pixels, as (N, K, 2)."""
    x, y = points[:, :, 0:1] * size.width[:, None, None], points[:, :, 1:2] * size.height[:, None, None]
    return namespace(points).concat([x, y], axis=2)


def through_pixels(points: Array, size: ImageSize) -> Array:
    """Return normalised points (N, K, 3) after a conversion to pixels and back, which rounds them.

    MediaPipe converts the pose even where it does not smooth it. MediaPipe: LandmarksSmoothingCalculator.
    """
    width, height = size.width[:, None, None], size.height[:, None, None]
    scale = namespace(points).concat([width, height, width], axis=2)
    return points * scale / scale


def rotate(x: Array, y: Array, rotation: Array) -> tuple[Array, Array]:
    """Return the points x, y, each (N, K, 1), turned about the origin by `rotation` (N,)."""
    cosine, sine = cosine_and_sine(rotation[:, None, None])
    return cosine * x - sine * y, sine * x + cosine * y
