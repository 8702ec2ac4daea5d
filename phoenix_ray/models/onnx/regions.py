"""Where the pixels of a network's input come from: boxes, and the map from input to picture."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.onnx.manifest import InputFormat

Image = NDArray[np.uint8]


class Region(NamedTuple):
    """What one input shows of a picture: picture = input * scale + offset, along x and y.

    Attributes:
        scale: Pixels of the picture for each pixel of the input, along x and y.
        offset: Pixels of the picture at the input's (0, 0).
        size: Width and height of the input in pixels.
    """

    scale: tuple[float, float]
    offset: tuple[float, float]
    size: tuple[int, int]


def region_of(box: NDArray[np.float32], form: InputFormat) -> Region:
    """Return the region of a box, x1, y1, x2, y2 in pixels of the picture; it depends on these alone."""
    if form.resize != "affine":
        raise NotImplementedError(form.resize)
    # As GetBBoxCenterScale and TopdownAffine of MMPose: the padded box grows to the proportions of the input.
    center, side = (box[:2] + box[2:]) * 0.5, (box[2:] - box[:2]) * form.padding
    aspect = form.size[0] / form.size[1]
    width, height = (side[0], side[0] / aspect) if side[0] > side[1] * aspect else (side[1] * aspect, side[1])
    scale = (float(width) / form.size[0], float(height) / form.size[1])
    return Region(scale, (float(center[0] - width / 2), float(center[1] - height / 2)), form.size)


def fill_input(image: Image, region: Region, form: InputFormat) -> NDArray[np.float32]:
    """Return the network's input for a region of an RGB picture, float32 (channels, height, width), normalised."""
    (x, y), (left, top) = region.scale, region.offset
    inverse = np.array([[x, 0, left], [0, y, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fill = (form.fill,) * 3
    pixels = cv2.warpAffine(image, inverse, region.size, flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=fill)
    if form.channel_order == "bgr":
        pixels = pixels[:, :, ::-1]
    values = (pixels.astype(np.float32) - np.array(form.mean, np.float32)) / np.array(form.std, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1))
