"""Where the pixels of a network's input come from: boxes, and the map from input to picture.

Pixels are cut out in 8 bits by OpenCV, whose `warpAffine`, `resize` and `cvtColor` give the same bits with every set of
instructions of x86-64 and with and without Intel's IPP; then each value is looked up in a table of float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.onnx.manifest import InputFormat

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Warp(NamedTuple):
    """Pixels that an affine map takes out of a picture.

    Attributes:
        matrix: Two rows: input = matrix * (x, y, 1) of the picture.
    """

    matrix: tuple[tuple[float, ...], tuple[float, ...]]


class Resize(NamedTuple):
    """Pixels of a rectangle that are resized.

    Attributes:
        source: x1, y1, x2, y2 of the rectangle in whole pixels of the picture; it may reach out of it.
        inner: Left, top, width and height of what it becomes, in pixels of the input; the rest is filled.
        factor: How much larger it becomes; None where width and height of `inner` say so.
    """

    source: tuple[int, int, int, int]
    inner: tuple[int, int, int, int]
    factor: float | None = None


class Region(NamedTuple):
    """What one input shows of a picture: picture = input * scale + offset, along x and y.

    Attributes:
        scale: Pixels of the picture for each pixel of the input, along x and y.
        offset: Pixels of the picture at the input's (0, 0).
        size: Width and height of the input in pixels.
        pixels: How the pixels are taken.
    """

    scale: tuple[float, float]
    offset: tuple[float, float]
    size: tuple[int, int]
    pixels: Warp | Resize


def region_of(box: Floats, form: InputFormat) -> Region:
    """Return the region of a box, x1, y1, x2, y2 in pixels of the picture; it depends on these alone."""
    match form.resize:
        case "affine":
            return _affine(box, form)
        case "letterbox":
            return _letterbox(_whole_pixels(box), form)
        case "height":
            return _height(_whole_pixels(box), form)
        case "stretch":
            return _stretch(_whole_pixels(box, form.padding), form)


def rows_of_sizes(regions: Sequence[Region]) -> dict[tuple[int, int], list[int]]:
    """Return width and height of inputs → the rows that have them, in their order: a network takes these at once."""
    rows: dict[tuple[int, int], list[int]] = {}
    for row, region in enumerate(regions):
        rows.setdefault(region.size, []).append(row)
    return rows


def input_shape(region: Region, form: InputFormat) -> tuple[int, int, int]:
    """Return the shape of one input, as the manifest orders its dimensions."""
    width, height = region.size
    channels = 1 if form.channel_order == "grey" else 3
    return (channels, height, width) if form.layout == "nchw" else (height, width, channels)


def fill_input(image: Image, region: Region, form: InputFormat, out: Floats | None = None) -> Floats:
    """Return the network's input for a region of a picture, normalised.

    Args:
        image: RGB, uint8 (height, width, 3).
        region: The region.
        form: Order of dimensions and channels, mean and standard deviation, value of pixels outside the picture.
        out: float32 of `input_shape`: where to write it; a new array if None.
    """
    if out is None:
        out = np.empty(input_shape(region, form), np.float32)
    pixels = _cut(image, region, form)
    tables = _tables(form.mean, form.std)
    if form.channel_order == "grey":
        planes: Sequence[Image] = (pixels,)
    else:
        planes = [_as_image(plane) for plane in cv2.split(pixels)]
        planes = planes[::-1] if form.channel_order == "bgr" else planes
    for channel, plane in enumerate(planes):
        table = tables[channel % len(tables)]
        if form.layout == "nchw":
            cv2.LUT(plane, table, dst=out[channel])
        else:
            out[:, :, channel] = cv2.LUT(plane, table)
    return out


def to_picture(xy: Floats, regions: Sequence[Region]) -> NDArray[np.float64]:
    """Return points in pixels of N inputs, (N, points, 2), in pixels of their pictures."""
    scale = np.array([region.scale for region in regions], np.float64).reshape(-1, 1, 2)
    offset = np.array([region.offset for region in regions], np.float64).reshape(-1, 1, 2)
    return xy * scale + offset


def _affine(box: Floats, form: InputFormat) -> Region:
    """Return the padded box, grown to the proportions of the input.

    MMPose: GetBBoxCenterScale and TopdownAffine, in float32 as there.
    """
    width, height = form.size
    center, side = (box[2:] + box[:2]) * np.float32(0.5), (box[2:] - box[:2]) * np.float32(form.padding)
    aspect = np.float32(width / height)
    wide = side[0] > side[1] * aspect
    side = np.array([side[0], side[0] / aspect] if wide else [side[1] * aspect, side[1]], np.float32)
    matrix = _unbiased_matrix(center, side, form.size) if form.udp else _warp_matrix(center, side, form.size)
    last = (width - 1, height - 1) if form.udp else (width, height)
    scale = (float(side[0]) / last[0], float(side[1]) / last[1])
    offset = (float(center[0]) - 0.5 * float(side[0]), float(center[1]) - 0.5 * float(side[1]))
    return Region(scale, offset, form.size, Warp((tuple(matrix[0].tolist()), tuple(matrix[1].tolist()))))


def _warp_matrix(center: Floats, side: Floats, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the matrix from picture to input, float64 (2, 3), from three points.

    MMPose: get_warp_matrix. The points are the middle, the middle of the left edge, and the second turned about by a
    right angle. A matrix that is computed in another way differs in the last bits, and so do some pixels.
    """
    points = np.empty((2, 3, 2), np.float32)
    middle = np.array(size, np.float32) * np.float32(0.5)
    for three, at, left in ((points[0], center, side[0] * -0.5), (points[1], middle, size[0] * -0.5)):
        three[0] = at
        three[1] = at + np.array([left, 0.0])
        across = three[0] - three[1]
        three[2] = three[1] + np.array([-across[1], across[0]], np.float32)
    return np.asarray(cv2.getAffineTransform(points[0], points[1]), np.float64)


def _unbiased_matrix(center: Floats, side: Floats, size: tuple[int, int]) -> Floats:
    """Return the matrix that takes the box's edges to the outermost pixels, float32 (2, 3).

    MMPose: get_udp_warp_matrix.
    """
    matrix = np.zeros((2, 3), np.float32)
    for axis in (0, 1):
        scale = np.float32(size[axis] - 1) / side[axis]
        matrix[axis, axis] = scale
        matrix[axis, 2] = scale * (np.float32(-0.5) * (center[axis] * 2) + np.float32(0.5) * side[axis])
    return matrix


def _letterbox(source: tuple[int, int, int, int], form: InputFormat) -> Region:
    """Return the box, fitted into the input.

    In the middle as Ultralytics' LetterBox, sides rounded, and `scale_coords`, a factor for each axis; at the top left
    as YOLOX's preprocessing, sides cut off to whole pixels, and the same factor for both axes.
    """
    (width, height), (across, down) = form.size, _extent(source)
    ratio = min(height / down, width / across)
    central = form.position == "center"
    new = (round(across * ratio), round(down * ratio)) if central else (int(across * ratio), int(down * ratio))
    new = (max(new[0], 1), max(new[1], 1))
    fill = (width - new[0], height - new[1])
    if form.multiple_of is not None:
        fill = (fill[0] % form.multiple_of, fill[1] % form.multiple_of)
    left, top = (round(fill[0] / 2 - 0.1), round(fill[1] / 2 - 0.1)) if central else (0, 0)
    scale = (across / new[0], down / new[1]) if central else (1 / ratio, 1 / ratio)
    size = (new[0] + fill[0], new[1] + fill[1])
    return _resized(source, (left, top, *new), size, scale)


def _height(source: tuple[int, int, int, int], form: InputFormat) -> Region:
    """Return the box at the input's height, filled up to the least width and to a multiple of pixels.

    Lightweight OpenPose: infer_fast, pad_width. OpenCV gets the factor, not the size, which it rounds itself.
    """
    across, down = _extent(source)
    factor = form.size[1] / down
    # Half to even, as OpenCV's saturate_cast.
    new = (max(round(across * factor), 1), max(round(down * factor), 1))
    step = form.multiple_of or 1
    size = (math.ceil(max(new[0], form.size[0]) / step) * step, math.ceil(form.size[1] / step) * step)
    inner = ((size[0] - new[0]) // 2, (size[1] - new[1]) // 2, *new)
    return _resized(source, inner, size, (1 / factor, 1 / factor), factor)


def _stretch(source: tuple[int, int, int, int], form: InputFormat) -> Region:
    across, down = _extent(source)
    return _resized(source, (0, 0, *form.size), form.size, (across / form.size[0], down / form.size[1]))


def _resized(
    source: tuple[int, int, int, int],
    inner: tuple[int, int, int, int],
    size: tuple[int, int],
    scale: tuple[float, float],
    factor: float | None = None,
) -> Region:
    offset = (source[0] - inner[0] * scale[0], source[1] - inner[1] * scale[1])
    return Region(scale, offset, size, Resize(source, inner, factor))


def _extent(source: tuple[int, int, int, int]) -> tuple[int, int]:
    return source[2] - source[0], source[3] - source[1]


def _whole_pixels(box: Floats, padding: float = 1.0) -> tuple[int, int, int, int]:
    """Return the padded box in whole pixels, at least one along each side."""
    x1, y1, x2, y2 = (float(value) for value in box)
    more = (padding - 1) / 2
    across, down = (x2 - x1) * more, (y2 - y1) * more
    left, top = round(x1 - across), round(y1 - down)
    return left, top, max(round(x2 + across), left + 1), max(round(y2 + down), top + 1)


def _cut(image: Image, region: Region, form: InputFormat) -> Image:
    """Return the region's pixels, uint8 (height, width, 3), or (height, width) if the network takes grey ones."""
    fill = (form.fill,) * 3
    grey = form.channel_order == "grey"
    if isinstance(region.pixels, Warp):
        matrix = np.array(region.pixels.matrix, np.float64)
        pixels = cv2.warpAffine(image, matrix, region.size, flags=cv2.INTER_LINEAR, borderValue=fill)
        return _as_image(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) if grey else pixels)
    _, inner, factor = region.pixels
    pixels = _rectangle(image, region.pixels.source, fill)
    if grey:
        pixels = _as_image(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    left, top, width, height = inner
    # OpenCV refuses a factor that leaves less than a pixel.
    if factor is not None and factor * min(pixels.shape[:2]) >= 1:
        pixels = _as_image(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR))
    elif pixels.shape[1::-1] != (width, height):
        pixels = _as_image(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR))
    right, bottom = region.size[0] - left - width, region.size[1] - top - height
    if not (left or top or right or bottom):
        return pixels
    return _as_image(cv2.copyMakeBorder(pixels, top, bottom, left, right, cv2.BORDER_CONSTANT, value=fill))


def _rectangle(image: Image, source: tuple[int, int, int, int], fill: tuple[int, int, int]) -> Image:
    """Return a rectangle of a picture, filled where it reaches out of it."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = source
    # A rectangle beside the picture leaves an empty slice, from which nothing can be filled: one pixel, filled over.
    left, right = max(0, -x1), max(0, x2 - width)
    top, bottom = max(0, -y1), max(0, y2 - height)
    if not (left or top or right or bottom):
        return image[y1:y2, x1:x2]
    if left >= x2 - x1 or right >= x2 - x1 or top >= y2 - y1 or bottom >= y2 - y1:
        return np.full((y2 - y1, x2 - x1, 3), fill, np.uint8)
    inside = image[max(y1, 0) : y2, max(x1, 0) : x2]
    return _as_image(cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_CONSTANT, value=fill))


def _as_image(pixels: object) -> Image:
    return np.asarray(pixels, np.uint8)


@lru_cache(maxsize=64)
def _tables(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Floats, ...]:
    """Return for each channel the values of 0 to 255, float32 (256,): (value - mean) / std in float32, as MMPose."""
    grey = np.arange(256, dtype=np.float32)
    channels = max(len(mean), len(std))
    pairs = zip(mean * (channels // len(mean)), std * (channels // len(std)), strict=True)
    return tuple((grey - np.float32(subtracted)) / np.float32(divisor) for subtracted, divisor in pairs)
