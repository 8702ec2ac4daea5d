"""Where the pixels of a crop lie in its image: the matrices that OpenCV computes for a rotated rectangle.

OpenCV 4.10 to 4.13 compute them in `RotatedRect::points`, `getPerspectiveTransform` (`hal::LU`) and `invert`. Here they
are written out over arrays with a batch axis, operation by operation. So they depend neither on the C library's cosine
nor on how a compiler fused OpenCV's products and sums, and both engines share them. On x86-64 the bits are OpenCV's.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.holistic.arrays import Array, constant, divide, indices, namespace
from phoenix_ray.models.holistic.elementary import long_cosine_and_sine
from phoenix_ray.models.holistic.geometry import Rect

# OpenCV addresses the pixels of a warp's source with 16 bits.
MAX_SIDE = 2**15 - 2
# Smaller pivots make a matrix singular for hal::LU.
SMALLEST_PIVOT = 100 * float(np.finfo(np.float64).eps)

# Cofactors of a 3x3 matrix, by entries counted row by row: the entry in the first row here times that in the second,
# less that in the third times that in the fourth.
COFACTORS = (
    (4, 2, 1, 5, 0, 2, 3, 1, 0),
    (8, 7, 5, 6, 8, 3, 7, 6, 4),
    (5, 1, 2, 3, 2, 0, 4, 0, 1),
    (7, 8, 4, 8, 6, 5, 6, 7, 3),
)


def within_limits(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image, reduced if a side is longer than OpenCV can warp."""
    height, width = image.shape[:2]
    if max(height, width) <= MAX_SIDE:
        return np.ascontiguousarray(image)
    reduced = (min(width, MAX_SIDE), min(height, MAX_SIDE))
    return np.asarray(cv2.resize(image, reduced, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def image_from_crop(roi: Rect, side: int) -> Array:
    """Return the matrices that map a place in a crop to its place in the image, float64 (M, 9), row by row.

    Where a ROI spans no area, the matrix maps everything to (0, 0).

    Args:
        roi: M ROIs in pixels.
        side: Pixels per side of the square crops.
    """
    return _inverse(_perspective_transform(_corners(roi), side))


def _corners(roi: Rect) -> Array:
    """Return the corners of ROIs in pixels, float32 (M, 4, 2): bottom left, top left, top right, bottom right."""
    xp = namespace(roi.rotation)
    degrees = xp.astype(divide(xp.astype(roi.rotation * 180.0, xp.float64), math.pi), roi.rotation.dtype)
    radians = divide(xp.astype(degrees, xp.float64) * math.pi, 180.0)
    cosine, sine = (xp.astype(values, degrees.dtype) for values in long_cosine_and_sine(radians))
    across, down = cosine * 0.5, sine * 0.5
    x, y, width, height = roi.center_x, roi.center_y, roi.width, roi.height
    bottom_left = xp.stack([x - down * height - across * width, y + across * height - down * width], axis=1)
    top_left = xp.stack([x + down * height - across * width, y - across * height - down * width], axis=1)
    twice_center = xp.stack([2 * x, 2 * y], axis=1)
    return xp.stack([bottom_left, top_left, twice_center - bottom_left, twice_center - top_left], axis=1)


def _perspective_transform(corners: Array, side: int) -> Array:
    """Return the matrices float64 (M, 9) that map corners (M, 4, 2) to those of a square.

    Where the corners do not span an area, all entries but the last are 0.

    OpenCV solves eight equations of eight unknowns: four corners times column and row of the square. The equations for
    columns have zeros where those for rows have x, y and 1, and vice versa, and a product with zero changes nothing. So
    hal::LU in effect solves two systems with three unknowns each and two in common; here they are solved side by side.
    The first has one row more than unknowns of its own, and that row takes part in the pivoting of the second: it
    stands before the second's rows, as zeros and marked by the last coefficient, until only the unknowns in common
    remain.
    """
    xp = namespace(corners)
    x, y = corners[:, :, 0], corners[:, :, 1]
    # The square's corners, from the bottom left clockwise, computed on the device by comparison alone.
    order = indices(4, like=corners)
    targets = (side * xp.astype(order >= 2, x.dtype), side * xp.astype((order == 0) | (order == 3), x.dtype))
    ones, nothing = xp.ones_like(x), xp.zeros_like(x)
    columns, rows = (
        xp.astype(
            xp.stack([x, y, ones, -x * target, -y * target, xp.broadcast_to(target, x.shape), nothing], axis=2),
            xp.float64,
        )
        for target in targets
    )
    mark = xp.broadcast_to(xp.astype(indices(7, like=corners) == 6, xp.float64), (x.shape[0], 1, 7))
    system = xp.stack([xp.concat([columns, 0 * mark], axis=1), xp.concat([mark, rows], axis=1)], axis=1)
    pivots = []
    for step in range(3):
        system, pivot = _eliminate(system, step)
        pivots.append(pivot)

    left_over, rest = system[:, 0, 3, None, 3:6], system[:, 1, 3:, :]
    rest, pivot = _eliminate((rest[:, :, 3:6] + rest[:, :, 6:] * left_over)[:, None, :, :], 0)
    first, second = rest[:, 0, 0, :], rest[:, 0, 1, :]
    smallest = xp.min(xp.concat([*pivots, pivot, xp.abs(second[:, 1:2])], axis=1), axis=1)
    is_singular = smallest < SMALLEST_PIVOT
    # Avoid divisions by numbers that are practically zero: the matrix of a singular system is replaced below.
    seventh = second[:, 2] / _or_one(second[:, 1], is_singular)
    sixth = (first[:, 2] - first[:, 1] * seventh) / _or_one(first[:, 0], is_singular)

    in_common = (system[:, :, :3, 3] * sixth[:, None, None], system[:, :, :3, 4] * seventh[:, None, None])
    unknowns: list[Array] = []
    for row in (2, 1, 0):
        value = system[:, :, row, 5]
        for column, known in enumerate(unknowns, start=row + 1):
            value = value - system[:, :, row, column] * known
        for product in in_common:
            value = value - product[:, :, row]
        unknowns.insert(0, value / _or_one(system[:, :, row, row], is_singular[:, None]))
    own = xp.reshape(xp.stack(unknowns, axis=2), (-1, 6))
    matrix = xp.concat([own, xp.stack([sixth, seventh], axis=1)], axis=1)
    matrix = xp.where(is_singular[:, None], 0.0, matrix)
    return xp.concat([matrix, xp.ones_like(matrix[:, :1])], axis=1)


def _eliminate(system: Array, step: int) -> tuple[Array, Array]:
    """Swap the first largest pivot of a column into its row and eliminate it from the rows below, as a step of hal::LU.

    Args:
        system: float64 (M, S, rows, columns).
        step: Number of the column, and of the row.

    Returns:
        The system after the step, and the absolute value of the pivot, float64 (M, S).
    """
    xp = namespace(system)
    sizes = xp.abs(system[:, :, step:, step])
    size, offset = xp.max(sizes, axis=2), xp.argmax(sizes, axis=2)
    is_pivot = (indices(system.shape[2], like=system) == (offset + step)[:, :, None])[:, :, :, None]
    pivot = xp.sum(xp.where(is_pivot, system, 0.0), axis=2, keepdims=True)
    swapped = xp.where(is_pivot, system[:, :, step : step + 1, :], system)[:, :, step + 1 :, :]
    # Each product is rounded before it is added.
    divisor = pivot[:, :, :, step : step + 1]
    factor = swapped[:, :, :, step : step + 1] * (-1 / _or_one(divisor, divisor == 0))
    return xp.concat([system[:, :, :step, :], pivot, swapped + factor * pivot], axis=2), size


def _inverse(matrices: Array) -> Array:
    """Return the inverse of matrices (M, 9), by cofactors; for singular matrices, one that maps all to (0, 0)."""
    xp = namespace(matrices)
    first, second, third, fourth = (
        xp.take(matrices, constant(entries, like=matrices), axis=1) for entries in COFACTORS
    )
    cofactors = first * second - third * fourth
    products = matrices[:, :3] * cofactors[:, ::3]
    determinant = (products[:, 0] + products[:, 1] + products[:, 2])[:, None]
    # OpenCV returns zeros, and takes a division by zero for 0.
    nowhere = xp.astype(indices(9, like=matrices) == 8, matrices.dtype)
    is_singular = determinant == 0
    return xp.where(is_singular, nowhere, cofactors * (1 / _or_one(determinant, is_singular)))


def _or_one(divisor: Array, is_singular: Array) -> Array:
    return namespace(divisor).where(is_singular, 1.0, divisor)
