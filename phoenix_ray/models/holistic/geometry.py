"""Regions of interest (ROIs): where they come from, what of them is cropped, how points get back to the image.

All functions work on arrays with a leading batch axis (see `arrays`). Coordinates are *normalised* (x divided by the
image's width, y by its height) unless a name says pixels; y points down, angles are radians, clockwise on the screen.
The order of the arithmetic is that of MediaPipe 0.10.21's calculators, which the docstrings name.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from array_api_compat import array_namespace

from phoenix_ray.models.holistic.arrays import Array, cosine_and_sine


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
    """Share of a crop that is padding on the left (= right) and on the top (= bottom), each float32 (N,)."""

    left: Array
    top: Array


class View(NamedTuple):
    """What a network sees of N images.

    Attributes:
        roi: Normalised ROIs.
        crop: What is cropped for them, in pixels.
        letterbox: How much of the crops is padding around the ROIs.
        size: Size of the images.
    """

    roi: Rect
    crop: Rect
    letterbox: Letterbox
    size: ImageSize


def whole_image(size: ImageSize) -> Rect:
    """Return the normalised rectangle of each image as a whole."""
    xp = array_namespace(size.width)
    one = xp.ones_like(size.width)
    return Rect(0.5 * one, 0.5 * one, one, one, 0 * one)


def square_through(center: Array, edge: Array, rotation: Array, size: ImageSize) -> Rect:
    """Return the square about the circle around `center` through `edge`, both in pixels as (N, 2).

    MediaPipe: AlignmentPointsRectsCalculator, HandDetectionsFromPoseToRectsCalculator.
    """
    xp = array_namespace(center)
    right, down = edge[:, 0] - center[:, 0], edge[:, 1] - center[:, 1]
    side = 2 * xp.sqrt(right * right + down * down)
    return Rect(center[:, 0] / size.width, center[:, 1] / size.height, side / size.width, side / size.height, rotation)


def bounds_of_keypoints(points: Array, rotation: Array) -> Rect:
    """Return the upright bounds of points (N, K, 2), with a rotation.

    MediaPipe: DetectionsToRectsCalculator with `USE_KEYPOINTS`.
    """
    xp = array_namespace(points)
    lowest, highest = xp.min(points, axis=1), xp.max(points, axis=1)
    center, extent = (lowest + highest) / 2, highest - lowest
    return Rect(center[:, 0], center[:, 1], extent[:, 0], extent[:, 1], rotation)


def bounds_of_landmarks(points: Array, rotation: Array) -> Rect:
    """Return the upright bounds of points (N, K, 2), with a rotation; they always reach into the image.

    MediaPipe begins its search for the highest coordinate at the smallest positive number, so points left of or above
    the image are bounded by its edge. MediaPipe: LandmarksToDetectionCalculator.
    """
    xp = array_namespace(points)
    lowest, highest = xp.min(points, axis=1), xp.max(points, axis=1)
    extent = xp.where(highest < 0, 0.0, highest) - lowest
    center = lowest + extent / 2
    return Rect(center[:, 0], center[:, 1], extent[:, 0], extent[:, 1], rotation)


def rotation_towards(start: Array, end: Array, target: float) -> Array:
    """Return the rotation (N,) of a ROI in which the line from `start` to `end`, in pixels as (N, 2), is at `target`.

    `target` counts counter-clockwise from the x axis: with pi / 2, `end` shows above `start`.
    MediaPipe: DetectionsToRectsCalculator.
    """
    xp = array_namespace(start)
    return normalize_radians(target - xp.atan2(-(end[:, 1] - start[:, 1]), end[:, 0] - start[:, 0]))


def normalize_radians(angle: Array) -> Array:
    """Return the angle within [-pi, pi), rounded once."""
    xp = array_namespace(angle)
    turns = xp.floor((angle + math.pi) / (2 * math.pi))
    # Two pi in two pieces, of which the first is subtracted exactly.
    return (angle - 6.28125 * turns) - (2 * math.pi - 6.28125) * turns


def enlarge(rect: Rect, size: ImageSize, scale: float, shift_y: float = 0.0) -> Rect:
    """Return a square (in pixels) of `scale` times the longer side, moved along the rectangle's own y axis.

    `shift_y` is in heights of `rect`. MediaPipe: RectTransformationCalculator with `square_long`.
    """
    xp = array_namespace(rect.width)
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
    """Return the view in which ROIs keep their aspect, in the middle of square crops.

    MediaPipe: PadRoi of ImageToTensorCalculator.
    """
    crop = stretched_view(roi, size).crop
    xp = array_namespace(crop.width)
    aspect = crop.height / crop.width
    is_wide = aspect < 1
    side = xp.where(is_wide, crop.width, crop.height)
    left = xp.where(is_wide, 0.0, (1 - 1 / aspect) / 2)
    top = xp.where(is_wide, (1 - aspect) / 2, 0.0)
    return View(roi, Rect(crop.center_x, crop.center_y, side, side, crop.rotation), Letterbox(left, top), size)


def remove_letterbox(points: Array, view: View) -> Array:
    """Return points (N, K, 2 or more), 0..1 in a padded crop, as 0..1 in the ROI that was padded.

    z is scaled like x, values after z are kept. MediaPipe: DetectionLetterboxRemovalCalculator,
    LandmarkLetterboxRemovalCalculator.
    """
    left, top = view.letterbox.left[:, None], view.letterbox.top[:, None]
    width, height = 1 - (left + left), 1 - (top + top)
    return _with_coordinates(
        points,
        (points[:, :, 0] - left) / width,
        (points[:, :, 1] - top) / height,
        points[:, :, 2:3] / width[:, :, None],
    )


def project(points: Array, view: View) -> Array:
    """Return points (N, K, 2 or more), 0..1 in a crop, normalised to the image.

    z is scaled like x, values after z are kept. MediaPipe: LandmarkProjectionCalculator.
    """
    roi = view.roi
    points = remove_letterbox(points, view)
    x, y = rotate(points[:, :, 0] - 0.5, points[:, :, 1] - 0.5, roi.rotation)
    return _with_coordinates(
        points,
        x * roi.width[:, None] + roi.center_x[:, None],
        y * roi.height[:, None] + roi.center_y[:, None],
        points[:, :, 2:3] * roi.width[:, None, None],
    )


def project_keypoints(points: Array, view: View) -> Array:
    """Return points (N, K, 2), 0..1 in a crop, normalised to the image.

    MediaPipe multiplies a detector's keypoints by a matrix where it projects landmarks step by step; only the rounding
    differs. MediaPipe: GetRotatedSubRectToRectTransformMatrix, DetectionProjectionCalculator.
    """
    xp = array_namespace(points)
    crop, per_column, per_row = view.crop, 1 / view.size.width, 1 / view.size.height
    cosine, sine = cosine_and_sine(crop.rotation)
    left = (-0.5 * crop.width * cosine + 0.5 * crop.height * sine + crop.center_x) * per_column
    top = (-0.5 * crop.height * cosine - 0.5 * crop.width * sine + crop.center_y) * per_row
    x_by_x, x_by_y = (crop.width * cosine * per_column)[:, None], (-crop.height * sine * per_column)[:, None]
    y_by_x, y_by_y = (crop.width * sine * per_row)[:, None], (crop.height * cosine * per_row)[:, None]
    x, y = points[:, :, 0], points[:, :, 1]
    return xp.stack([x * x_by_x + y * x_by_y + left[:, None], x * y_by_x + y * y_by_y + top[:, None]], axis=2)


def through_pixels(points: Array, size: ImageSize) -> Array:
    """Return normalised points (N, K, 3 or more) rounded to pixels' precision and back.

    MediaPipe sends the pose through pixels even where it does not smooth it. MediaPipe: LandmarksSmoothingCalculator.
    """
    width, height = size.width[:, None], size.height[:, None]
    return _with_coordinates(
        points,
        points[:, :, 0] * width / width,
        points[:, :, 1] * height / height,
        points[:, :, 2:3] * width[:, :, None] / width[:, :, None],
    )


def rotate(x: Array, y: Array, rotation: Array) -> tuple[Array, Array]:
    """Return the points x, y, each (N, K), turned about the origin by `rotation` (N,)."""
    cosine, sine = cosine_and_sine(rotation[:, None])
    return cosine * x - sine * y, sine * x + cosine * y


def _with_coordinates(points: Array, x: Array, y: Array, z: Array) -> Array:
    """Return points (N, K, C) with other x, y (N, K) and z (N, K, 1, or 0 where there is none)."""
    xp = array_namespace(points)
    return xp.concat([xp.stack([x, y], axis=2), z, points[:, :, 3:]], axis=2)
