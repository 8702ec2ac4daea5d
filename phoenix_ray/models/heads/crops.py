"""What a head sees: an upright square around the points of a part, cut out of the picture and made its input.

Places follow from arithmetic that is the same on every processor (`holistic.crop_transforms`), pixels from OpenCV's
8-bit warp, which counts in 1/32 pixel: the same picture and points give the same bits everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import Part
from phoenix_ray.models.holistic.crop_transforms import image_from_crop, within_limits
from phoenix_ray.models.holistic.geometry import Rect
from phoenix_ray.models.onnx.manifest import HeadInput

Image = NDArray[np.uint8]
Points = NDArray[np.float32]


class Square(NamedTuple):
    """An upright square of a picture: its centre and side, as fractions of the picture's width and height.

    Attributes:
        center: x over the width, y over the height.
        reach: Width and height of the points' box, over those of the picture.
    """

    center: tuple[np.float32, np.float32]
    reach: tuple[np.float32, np.float32]


def square_around(part: Part, points: Points) -> Square | None:
    """Return the square around the points of a part, float32 (points, axes); None where it was not found.

    A part whose points all lie in one place has no extent, and counts as not found.
    """
    xy = points[:, [part.axes.index("x"), part.axes.index("y")]]
    found = xy[~np.isnan(xy).any(axis=1)]
    if not len(found):
        return None
    low, high = found.min(axis=0), found.max(axis=0)
    center, reach = (low + high) * np.float32(0.5), high - low
    if not reach.max() > 0:
        return None
    return Square((center[0], center[1]), (reach[0], reach[1]))


def cut_square(image: Image, square: Square, scale: float, form: HeadInput) -> Image:
    """Return the square of a picture as an input's pixels, uint8 (side, side, channels).

    Args:
        image: RGB uint8 (height, width, 3).
        square: What is cut out; its side is the longer side of the box in pixels.
        scale: Enlarges the side.
        form: Size, channels and what lies outside of the picture.
    """
    image = within_limits(image)
    height, width = (np.float32(side) for side in image.shape[:2])
    side = max(square.reach[0] * width, square.reach[1] * height) * np.float32(scale)
    fields = (square.center[0] * width, square.center[1] * height, side, side, np.float32(0))
    roi = Rect(*(np.array([value], np.float32) for value in fields))
    matrix = image_from_crop(roi, form.size[0]).reshape(3, 3)
    flags, fill = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (form.fill,) * 3
    pixels: Image = np.asarray(
        cv2.warpPerspective(image, matrix, form.size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill),
        np.uint8,
    )
    match form.channel_order:
        case "grey":
            return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)[:, :, np.newaxis]
        case "bgr":
            return pixels[:, :, ::-1]
        case "rgb":
            return pixels


def to_input(crop: Image, form: HeadInput) -> NDArray[np.float32]:
    """Return a crop's pixels (side, side, channels) as the network takes them: normalised, in its order of axes."""
    values = (crop.astype(np.float32) - np.array(form.mean, np.float32)) / np.array(form.std, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1) if form.layout == "nchw" else values)
