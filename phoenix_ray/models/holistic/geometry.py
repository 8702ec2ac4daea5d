"""Regions of interest (ROIs): where they come from, how they are cropped, how points get back from them to the image.

All functions work on arrays with a leading batch axis (see `arrays`). Coordinates are *normalised* (x divided by the
image's width, y by its height) unless a name says pixels; y points down, angles are radians, clockwise on the screen.
The arithmetic follows the calculators of MediaPipe 0.10.21 that are named in the docstrings.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from array_api_compat import array_namespace

from phoenix_ray.models.holistic.arrays import Array


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


def normalize_radians(angle: Array) -> Array:
    """Return the angle within [-pi, pi)."""
    xp = array_namespace(angle)
    return angle - 2 * math.pi * xp.floor((angle + math.pi) / (2 * math.pi))


def rotation_towards(start: Array, end: Array, target: float, size: ImageSize) -> Array:
    """Return the rotation (N,) of a ROI in which the line from `start` to `end`, both (N, 2), shows at angle `target`.

    `target` counts counter-clockwise: pi / 2 means that `end` is straight above `start` in the crop.
    """
    xp = array_namespace(start)
    right = end[:, 0] * size.width - start[:, 0] * size.width
    down = end[:, 1] * size.height - start[:, 1] * size.height
    return normalize_radians(target - xp.atan2(-down, right))


def rect_from_alignment(center: Array, edge: Array, target: float, size: ImageSize) -> Rect:
    """Return the square around the circle about `center` through `edge`, turned so that `edge` lies at `target`.

    `center` and `edge` are (N, 2). MediaPipe's AlignmentPointsRectsCalculator.
    """
    xp = array_namespace(center)
    right = edge[:, 0] * size.width - center[:, 0] * size.width
    down = edge[:, 1] * size.height - center[:, 1] * size.height
    side = 2 * xp.sqrt(right * right + down * down)
    rotation = normalize_radians(target - xp.atan2(-down, right))
    return Rect(center[:, 0], center[:, 1], side / size.width, side / size.height, rotation)


def rect_around_points(points: Array, start: int, end: int, size: ImageSize) -> Rect:
    """Return the upright bounds of points (N, K, 2), with the rotation that lays `start` to `end` out horizontally.

    MediaPipe's DetectionsToRectsCalculator and LandmarksToDetectionCalculator.
    """
    xp = array_namespace(points)
    lowest, highest = xp.min(points, axis=1), xp.max(points, axis=1)
    center, extent = (lowest + highest) / 2, highest - lowest
    rotation = rotation_towards(points[:, start, :], points[:, end, :], 0.0, size)
    return Rect(center[:, 0], center[:, 1], extent[:, 0], extent[:, 1], rotation)


def enlarge(rect: Rect, size: ImageSize, scale: float, shift_y: float = 0.0) -> Rect:
    """Return a square (in pixels) of `scale` times the longer side, moved along the rectangle's own y axis.

    `shift_y` is in heights of `rect`. MediaPipe's RectTransformationCalculator with `square_long`.
    """
    xp = array_namespace(rect.width)
    shift = rect.height * size.height * shift_y
    longer_side = xp.maximum(rect.width * size.width, rect.height * size.height)
    return Rect(
        rect.center_x - shift * xp.sin(rect.rotation) / size.width,
        rect.center_y + shift * xp.cos(rect.rotation) / size.height,
        longer_side / size.width * scale,
        longer_side / size.height * scale,
        rect.rotation,
    )


def square_in_pixels(rect: Rect, size: ImageSize) -> Rect:
    """Return the square in pixels that holds a normalised rectangle in its middle: what is cropped.

    MediaPipe's PadRoi with `keep_aspect_ratio` and a square tensor.
    """
    xp = array_namespace(rect.width)
    side = xp.maximum(rect.width * size.width, rect.height * size.height)
    return Rect(rect.center_x * size.width, rect.center_y * size.height, side, side, rect.rotation)


def whole_image(size: ImageSize) -> Rect:
    """Return the normalised rectangle of each image as a whole."""
    xp = array_namespace(size.width)
    one = xp.ones_like(size.width)
    return Rect(0.5 * one, 0.5 * one, one, one, 0 * one)


def remove_letterbox(points: Array, size: ImageSize) -> Array:
    """Return points (N, K, 2), 0..1 in the padded square about a whole image, normalised to the image.

    MediaPipe's DetectionLetterboxRemovalCalculator. All other ROIs are square in pixels and need no such step.
    """
    xp = array_namespace(points)
    side = xp.maximum(size.width, size.height)
    left, top = (1 - size.width / side) / 2, (1 - size.height / side) / 2
    x = (points[:, :, 0] - left[:, None]) / (1 - 2 * left[:, None])
    y = (points[:, :, 1] - top[:, None]) / (1 - 2 * top[:, None])
    return xp.stack([x, y], axis=2)


def project(points: Array, rect: Rect) -> Array:
    """Return points (N, K, 2 or more), 0..1 in a ROI, in the image that the ROI `rect` is normalised to.

    MediaPipe's LandmarkProjectionCalculator. z is scaled like x; values after z are kept.
    """
    xp = array_namespace(points)
    x, y = rotate(points[:, :, 0] - 0.5, points[:, :, 1] - 0.5, rect.rotation)
    x = x * rect.width[:, None] + rect.center_x[:, None]
    y = y * rect.height[:, None] + rect.center_y[:, None]
    if points.shape[2] == 2:
        return xp.stack([x, y], axis=2)
    z = points[:, :, 2] * rect.width[:, None]
    return xp.concat([xp.stack([x, y, z], axis=2), points[:, :, 3:]], axis=2)


def rotate(x: Array, y: Array, rotation: Array) -> tuple[Array, Array]:
    """Return the points x, y, each (N, K), turned about the origin by `rotation` (N,)."""
    xp = array_namespace(x)
    cosine, sine = xp.cos(rotation)[:, None], xp.sin(rotation)[:, None]
    return cosine * x - sine * y, sine * x + cosine * y
