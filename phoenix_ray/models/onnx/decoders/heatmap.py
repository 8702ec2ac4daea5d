"""Heat maps: a map of scores for each point (ViTPose, HRNet, Sapiens, SDPose).

The steps are those of MMPose's codecs MSRAHeatmap (`none`, `quarter`, `dark`) and UDPHeatmap (`udp`). MMPose calls
OpenCV's Gaussian blur, whose last bits depend on the processor; here sums are added up in a fixed order.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.onnx.decoders.points import DecodedPoints
from phoenix_ray.models.onnx.manifest import HeatmapDecoder

Floats = NDArray[np.float32]
Cells = NDArray[np.int64]

# Limits of a blurred map before its logarithm is taken: refine_keypoints_dark, refine_keypoints_dark_udp.
DARK_LOWEST = 1e-10
UDP_LOWEST, UDP_HIGHEST = 1e-3, 50.0
# Of the logarithm's series: what follows is below the last digit.
LAST_POWER = 21
# Maps are refined in groups of about so many cells, 1 MB, so that they stay in the processor's cache.
CELLS_TOGETHER = 1 << 18


def decode_heatmaps(maps: Floats, decoder: HeatmapDecoder, size: tuple[int, int]) -> DecodedPoints:
    """Return the place of the highest cell of each map, refined; NaN where it is not above 0, as MMPose drops it.

    Args:
        maps: float32 (N, points, height, width).
        decoder: How to refine, and what the outermost cells stand for.
        size: Width and height of the network's input in pixels.
    """
    count, points, height, width = maps.shape
    flat = maps.reshape(count * points, height * width)
    best = flat.argmax(axis=1)
    scores = np.take_along_axis(flat, best[:, np.newaxis], axis=1)[:, 0]
    y, x = np.divmod(best, width)
    found = scores > 0
    places = np.full((count * points, 2), np.nan)
    rows = np.flatnonzero(found)
    together = max(1, CELLS_TOGETHER // (height * width))
    for chosen in np.split(rows, range(together, len(rows), together)):
        chosen_maps = maps.reshape(-1, height, width)[chosen]
        offset = _refine(chosen_maps, x[chosen], y[chosen], scores[chosen], decoder)
        places[chosen] = np.stack([x[chosen], y[chosen]], axis=1) + offset
    cells = np.array([width - 1, height - 1] if decoder.udp else [width, height], np.float64)
    pixels = np.array([size[0] - 1, size[1] - 1] if decoder.udp else size, np.float64)
    xy = (places * (pixels / cells)).astype(np.float32)
    return DecodedPoints(xy.reshape(count, points, 2), scores.reshape(count, points))


def _refine(maps: Floats, x: Cells, y: Cells, scores: Floats, decoder: HeatmapDecoder) -> NDArray[np.float64]:
    """Return how far each point lies from its highest cell along x and y, in cells, float64 (M, 2)."""
    match decoder.refine:
        case "none":
            return np.zeros((len(maps), 2))
        case "quarter":
            return _towards_higher_neighbour(maps, x, y)
        case "dark":
            return _dark(_blurred(maps, scores, decoder.blur_kernel), x, y)
        case "udp":
            return _unbiased(_blurred(maps, scores, decoder.blur_kernel), x, y)


def _towards_higher_neighbour(maps: Floats, x: Cells, y: Cells) -> NDArray[np.float64]:
    """Return a quarter of a cell along each axis, towards the higher neighbour. MMPose: refine_keypoints."""
    height, width = maps.shape[1:]
    around = _neighbourhood(maps, x, y, 1)
    right, down = around[:, 1, 2] - around[:, 1, 0], around[:, 2, 1] - around[:, 0, 1]
    # MMPose moves nothing in the first two columns and the last, nor along x in the first row; and so for y.
    right = np.where((x > 1) & (x < width - 1) & (y > 0), right, 0)
    down = np.where((y > 1) & (y < height - 1) & (x > 0), down, 0)
    return np.sign(np.stack([right, down], axis=1)) * 0.25


def _dark(maps: Floats, x: Cells, y: Cells) -> NDArray[np.float64]:
    """Return the top of a parabola through logarithms of cells two apart. MMPose: refine_keypoints_dark."""
    height, width = maps.shape[1:]
    around = logarithm(np.maximum(_neighbourhood(maps, x, y, 2), DARK_LOWEST))
    here = around[:, 2, 2]
    dx = 0.5 * (around[:, 2, 3] - around[:, 2, 1])
    dy = 0.5 * (around[:, 3, 2] - around[:, 1, 2])
    dxx = 0.25 * (around[:, 2, 4] - 2 * here + around[:, 2, 0])
    dxy = 0.25 * (around[:, 3, 3] - around[:, 1, 3] - around[:, 3, 1] + around[:, 1, 1])
    dyy = 0.25 * (around[:, 4, 2] - 2 * here + around[:, 0, 2])
    inside = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2) & (dxx * dyy - dxy * dxy != 0)
    return np.where(inside[:, np.newaxis], _top(dx, dy, dxx, dxy, dyy), 0)


def _unbiased(maps: Floats, x: Cells, y: Cells) -> NDArray[np.float64]:
    """Return the top of a parabola through logarithms of neighbouring cells. MMPose: refine_keypoints_dark_udp."""
    around = logarithm(_neighbourhood(maps, x, y, 1).clip(UDP_LOWEST, UDP_HIGHEST))
    here = around[:, 1, 1]
    left, right, above, below = around[:, 1, 0], around[:, 1, 2], around[:, 0, 1], around[:, 2, 1]
    dx, dy = 0.5 * (right - left), 0.5 * (below - above)
    dxx, dyy = right - 2 * here + left, below - 2 * here + above
    dxy = 0.5 * (around[:, 2, 2] - right - below + here + here - left - above + around[:, 0, 0])
    tiny = float(np.finfo(np.float32).eps)
    return _top(dx, dy, dxx + tiny, dxy, dyy + tiny)


def _top(
    dx: NDArray[np.float64],
    dy: NDArray[np.float64],
    dxx: NDArray[np.float64],
    dxy: NDArray[np.float64],
    dyy: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return where the parabola of these derivatives has no slope: minus the inverse of the Hessian times the slope."""
    determinant = dxx * dyy - dxy * dxy
    with np.errstate(divide="ignore", invalid="ignore"):
        along = (dxy * dy - dyy * dx) / determinant
        down = (dxy * dx - dxx * dy) / determinant
    return np.stack([along, down], axis=1)


def logarithm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the natural logarithm of positive values, the same bits on every processor; numpy's differ in the last.

    It is 2 artanh((m - 1) / (m + 1)) of the mantissa m, from the square root of 1/2 to that of 2, as a series.
    """
    mantissa, exponent = np.frexp(values)
    low = mantissa < math.sqrt(0.5)
    mantissa, exponent = np.where(low, 2 * mantissa, mantissa), np.where(low, exponent - 1, exponent)
    ratio = (mantissa - 1) / (mantissa + 1)
    square = ratio * ratio
    series = np.zeros_like(ratio)
    for power in range(LAST_POWER, 0, -2):
        series = series * square + 1 / power
    result: NDArray[np.float64] = exponent * math.log(2) + 2 * ratio * series
    return result


def _neighbourhood(maps: Floats, x: Cells, y: Cells, reach: int) -> NDArray[np.float64]:
    """Return the cells around one of each map, float64 (M, 2 reach + 1, 2 reach + 1); edges repeat outwards."""
    height, width = maps.shape[1:]
    steps = np.arange(-reach, reach + 1)
    rows = (y[:, np.newaxis] + steps).clip(0, height - 1)
    columns = (x[:, np.newaxis] + steps).clip(0, width - 1)
    frames = np.arange(len(maps))[:, np.newaxis, np.newaxis]
    cells: Floats = maps[frames, rows[:, :, np.newaxis], columns[:, np.newaxis]]
    return cells.astype(np.float64)


def _blurred(maps: Floats, highest: Floats, kernel: int) -> Floats:
    """Return maps blurred by a Gaussian window, black beyond the edge, with their old maxima. MMPose: gaussian_blur."""
    weights = np.asarray(cv2.getGaussianKernel(kernel, 0, cv2.CV_32F), np.float32)[:, 0]
    blurred = _blur_axis(_blur_axis(maps, weights, 2), weights, 1)
    blurred *= (highest / blurred.max(axis=(1, 2)))[:, np.newaxis, np.newaxis]
    return blurred


def _blur_axis(maps: Floats, weights: Floats, axis: int) -> Floats:
    """Return maps blurred along an axis: the middle first, then pairs outwards."""
    reach, length = len(weights) // 2, maps.shape[axis]
    padding = [(0, 0)] * 3
    padding[axis] = (reach, reach)
    padded = np.pad(maps, padding)

    def shifted(first: int) -> Floats:
        part: list[slice] = [slice(None)] * 3
        part[axis] = slice(first, first + length)
        return padded[tuple(part)]

    total: Floats = shifted(reach) * weights[reach]
    for step in range(1, reach + 1):
        total += (shifted(reach - step) + shifted(reach + step)) * weights[reach + step]
    return total
