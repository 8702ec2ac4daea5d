"""`crop_transforms.image_from_crop` inside of kernels: the same operations in the same order, hence the same bits.

A region is one lane: its two systems of equations lie in registers, as tuples of rows, which are tuples of tensors of
any one shape. Rows change places by selection alone.
"""

# Triton's compiler unrolls loops in which a tuple grows, and knows no starred expressions.
# mypy: disable-error-code="assignment, misc"
# ruff: noqa: RUF005

from __future__ import annotations

import triton
import triton.language as tl

from phoenix_ray.models.holistic import crop_transforms
from phoenix_ray.models.holistic.torch_engine.kernels.elementary import long_cosine_and_sine
from phoenix_ray.models.holistic.torch_engine.kernels.rectangles import HALF_TURN, smaller

SMALLEST_PIVOT = tl.constexpr(crop_transforms.SMALLEST_PIVOT)
COFACTORS = tl.constexpr(crop_transforms.COFACTORS)


@triton.jit
def image_from_crop(center_x, center_y, width, height, rotation, side: tl.constexpr):
    """Return the nine entries of the matrices, float64, for regions in pixels, float32."""
    x, y = corners(center_x, center_y, width, height, rotation)
    return inverse(perspective_transform(x, y, side))


@triton.jit
def corners(x, y, width, height, rotation):
    """Return x and y of the corners: bottom left, top left, top right, bottom right."""
    degrees = ((rotation * 180.0).to(tl.float64) / HALF_TURN).to(tl.float32)
    cosine, sine = long_cosine_and_sine(degrees.to(tl.float64) * HALF_TURN / 180.0)
    across, down = cosine.to(tl.float32) * 0.5, sine.to(tl.float32) * 0.5
    left, bottom = x - down * height - across * width, y + across * height - down * width
    second_left, top = x + down * height - across * width, y - across * height - down * width
    return (left, second_left, 2 * x - left, 2 * x - second_left), (bottom, top, 2 * y - bottom, 2 * y - top)


@triton.jit
def perspective_transform(x, y, side: tl.constexpr):
    # The system for columns of the crop, and that for rows; `crop_transforms` explains the mark before the second.
    columns = (
        equation(x[0], y[0], 0.0),
        equation(x[1], y[1], 0.0),
        equation(x[2], y[2], side),
        equation(x[3], y[3], side),
    )
    rows = (
        mark(x[0]),
        equation(x[0], y[0], side),
        equation(x[1], y[1], 0.0),
        equation(x[2], y[2], 0.0),
        equation(x[3], y[3], side),
    )
    columns, left_over, smallest = eliminate_own_unknowns(columns)
    rows, rest, size = eliminate_own_unknowns(rows)
    smallest = smaller(smallest, size)

    left_over = left_over[0]
    first, rest, size = eliminate((with_mark(rest[0], left_over), with_mark(rest[1], left_over)), 0)
    second = rest[0]
    smallest = smaller(smaller(smallest, size), tl.abs(second[1]))
    is_singular = smallest < SMALLEST_PIVOT
    seventh = second[2] / unity_where(is_singular, second[1])
    sixth = (first[2] - first[1] * seventh) / unity_where(is_singular, first[0])
    own = substitute(columns, sixth, seventh, is_singular) + substitute(rows, sixth, seventh, is_singular)
    entries = ()
    for entry in tl.static_range(6):
        entries = entries + (tl.where(is_singular, 0.0, own[entry]),)
    return entries + (tl.where(is_singular, 0.0, sixth), tl.where(is_singular, 0.0, seventh))


@triton.jit
def equation(x, y, target: tl.constexpr):
    """Return a row: coefficients of the three own unknowns and of the two in common, the result, and the mark's."""
    target = tl.full(x.shape, target, tl.float32)
    nothing = tl.zeros(x.shape, tl.float64)
    x_in_common, y_in_common = (-1.0 * x * target).to(tl.float64), (-1.0 * y * target).to(tl.float64)
    return x.to(tl.float64), y.to(tl.float64), nothing + 1.0, x_in_common, y_in_common, target.to(tl.float64), nothing


@triton.jit
def mark(like):
    """Return the row that stands for the first system's fourth in the second."""
    nothing = tl.zeros(like.shape, tl.float64)
    return nothing, nothing, nothing, nothing, nothing, nothing, nothing + 1.0


@triton.jit
def with_mark(row, left_over):
    """Return the unknowns in common of a row, and its result, with the row for which the mark stands."""
    return (
        row[3] + row[6] * left_over[3],
        row[4] + row[6] * left_over[4],
        row[5] + row[6] * left_over[5],
    )


@triton.jit
def eliminate_own_unknowns(rows):
    """Return the rows of a system's own three unknowns, the rows left over, and the smallest pivot."""
    first, rows, smallest = eliminate(rows, 0)
    second, rows, size = eliminate(rows, 1)
    smallest = smaller(smallest, size)
    third, rows, size = eliminate(rows, 2)
    return (first, second, third), rows, smaller(smallest, size)


@triton.jit
def eliminate(rows, column: tl.constexpr):
    """Eliminate the first largest pivot of a column from all rows but its own.

    Returns:
        The pivot's row, the others, and the absolute value of the pivot.
    """
    size = tl.abs(rows[0][column])
    place = tl.zeros(size.shape, tl.int32)
    for number in tl.static_range(1, len(rows)):
        another = tl.abs(rows[number][column])
        # NaN is the largest of all, as for numpy.
        is_larger = (another > size) | ((another != another) & (size == size))
        size, place = tl.where(is_larger, another, size), tl.where(is_larger, number, place)
    pivot = rows[0]
    for number in tl.static_range(1, len(rows)):
        pivot = choose(place == number, rows[number], pivot)
    # The array code picks a pivot's row as a sum with zeros, where -0 becomes 0.
    pivot = plus_zero(pivot)
    divisor = pivot[column]
    reciprocal = -1.0 / unity_where(divisor == 0, divisor)
    others = ()
    for number in tl.static_range(1, len(rows)):
        row = choose(place == number, rows[0], rows[number])
        others = others + (add_multiple(row, row[column] * reciprocal, pivot),)
    return pivot, others, size


@triton.jit
def substitute(rows, sixth, seventh, is_singular):
    """Return a system's own three unknowns, the last first computed, from those in common."""
    value = rows[2][5] - rows[2][3] * sixth - rows[2][4] * seventh
    third = value / unity_where(is_singular, rows[2][2])
    value = rows[1][5] - rows[1][2] * third - rows[1][3] * sixth - rows[1][4] * seventh
    second = value / unity_where(is_singular, rows[1][1])
    value = rows[0][5] - rows[0][1] * second - rows[0][2] * third - rows[0][3] * sixth - rows[0][4] * seventh
    return value / unity_where(is_singular, rows[0][0]), second, third


@triton.jit
def inverse(matrix):
    """Take the first eight entries of matrices whose last is 1."""
    matrix = matrix + (tl.zeros(matrix[0].shape, tl.float64) + 1.0,)
    cofactors = ()
    for entry in tl.static_range(9):
        first = matrix[COFACTORS[0][entry]] * matrix[COFACTORS[1][entry]]
        cofactors = cofactors + (first - matrix[COFACTORS[2][entry]] * matrix[COFACTORS[3][entry]],)
    determinant = matrix[0] * cofactors[0] + matrix[1] * cofactors[3] + matrix[2] * cofactors[6]
    is_singular = determinant == 0
    reciprocal = 1.0 / unity_where(is_singular, determinant)
    inverted = ()
    for entry in tl.static_range(8):
        inverted = inverted + (tl.where(is_singular, 0.0, cofactors[entry] * reciprocal),)
    return inverted + (tl.where(is_singular, 1.0, cofactors[8] * reciprocal),)


@triton.jit
def choose(condition, row, other):
    """Return a row where the condition holds, else the other."""
    chosen = ()
    for column in tl.static_range(len(row)):
        chosen = chosen + (tl.where(condition, row[column], other[column]),)
    return chosen


@triton.jit
def plus_zero(row):
    sums = ()
    for column in tl.static_range(len(row)):
        sums = sums + (row[column] + 0.0,)
    return sums


@triton.jit
def add_multiple(row, factor, other):
    """Return row + factor * other; each product is rounded before it is added."""
    sums = ()
    for column in tl.static_range(len(row)):
        sums = sums + (row[column] + factor * other[column],)
    return sums


@triton.jit
def unity_where(condition, divisor):
    """Return a divisor, and 1 where the condition holds."""
    return tl.where(condition, 1.0, divisor)
