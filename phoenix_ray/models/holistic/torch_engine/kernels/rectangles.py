"""The functions of `holistic.geometry` inside of kernels: the same operations in the same order, hence the same bits.

They work on numbers and on blocks alike; what they take together must broadcast. A rect is a tuple of `geometry.Rect`'s
five fields, a size one of width and height in pixels, a letterbox one of left and top, and points are an x and a y
apart. All are float32.

`numpy.minimum` and `maximum` return NaN where a number is NaN; so do `smaller` and `larger`, which also serve to reduce
a block: `tl.reduce(block, axis, smaller)`.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

from phoenix_ray.models.holistic import geometry, tracking
from phoenix_ray.models.holistic.torch_engine.kernels.elementary import atan2, cosine_and_sine, square_root

UPWARDS, LEVEL, DOWNWARDS = (tl.constexpr(angle) for angle in (geometry.UPWARDS, geometry.LEVEL, geometry.DOWNWARDS))
BODY_SCALE = tl.constexpr(tracking.BODY_SCALE)
HALF_TURN, TURN, TURN_PARTS = tl.constexpr(math.pi), tl.constexpr(2 * math.pi), tl.constexpr(geometry.TURN_PARTS)


@triton.jit
def smaller(a, b):
    return tl.where((a < b) | (a != a), a, b)


@triton.jit
def larger(a, b):
    return tl.where((a > b) | (a != a), a, b)


@triton.jit
def lowest(values, exists):
    """Return the lowest of the values that exist, NaN where one of them is."""
    low = tl.min(tl.where(exists & (values == values), values, float("inf")), axis=0)
    return tl.where(has_nan(values, exists), float("nan"), low)


@triton.jit
def highest(values, exists):
    """Return the highest of the values that exist, NaN where one of them is."""
    high = tl.max(tl.where(exists & (values == values), values, float("-inf")), axis=0)
    return tl.where(has_nan(values, exists), float("nan"), high)


@triton.jit
def has_nan(values, exists):
    return tl.max((exists & (values != values)).to(tl.int32), axis=0) > 0


@triton.jit
def has_area(rect):
    """Return false for empty rectangles and for missing (NaN) ones."""
    return (rect[2] > 0) & (rect[3] > 0)


@triton.jit
def square_through(center_x, center_y, edge_x, edge_y, rotation, size):
    width, height = size
    right, down = edge_x - center_x, edge_y - center_y
    side = 2 * square_root(right * right + down * down)
    return (
        tl.div_rn(center_x, width),
        tl.div_rn(center_y, height),
        tl.div_rn(side, width),
        tl.div_rn(side, height),
        rotation,
    )


@triton.jit
def bounds_of_keypoints(left, top, right, bottom, rotation):
    """Return the bounds of points whose lowest coordinates are `left` and `top`, and highest `right` and `bottom`."""
    return 0.5 * (left + right), 0.5 * (top + bottom), right - left, bottom - top, rotation


@triton.jit
def bounds_of_landmarks(left, top, right, bottom, rotation):
    """Return the bounds of points whose lowest coordinates are `left` and `top`, and highest `right` and `bottom`."""
    width, height = tl.where(right < 0, 0.0, right) - left, tl.where(bottom < 0, 0.0, bottom) - top
    return left + 0.5 * width, top + 0.5 * height, width, height, rotation


@triton.jit
def rotation_towards(start_x, start_y, end_x, end_y, target):
    angle = atan2(-1.0 * (end_y - start_y), end_x - start_x)
    return normalize_radians(-1.0 * angle + target)


@triton.jit
def normalize_radians(angle):
    # In float64, as rounding down takes float32 below 2^-126 for 0.
    turns = tl.floor(tl.div_rn(angle + HALF_TURN, TURN).to(tl.float64)).to(tl.float32)
    return (angle - turns * TURN_PARTS[0]) - turns * TURN_PARTS[1]


@triton.jit
def enlarge(rect, size, scale, shift_y):
    center_x, center_y, rect_width, rect_height, rotation = rect
    width, height = size
    cosine, sine = cosine_and_sine(rotation)
    shift = height * rect_height * shift_y
    longer_side = larger(rect_width * width, rect_height * height)
    return (
        center_x - tl.div_rn(shift * sine, width),
        center_y + tl.div_rn(shift * cosine, height),
        tl.div_rn(longer_side, width) * scale,
        tl.div_rn(longer_side, height) * scale,
        rotation,
    )


@triton.jit
def body_roi(center_x, center_y, edge_x, edge_y, size):
    """Return `tracking.body_roi` of the middle of the hips and a point on the circle around the body, normalised."""
    center_x, center_y = in_pixels(center_x, center_y, size)
    edge_x, edge_y = in_pixels(edge_x, edge_y, size)
    rotation = rotation_towards(center_x, center_y, edge_x, edge_y, UPWARDS)
    return enlarge(square_through(center_x, center_y, edge_x, edge_y, rotation, size), size, BODY_SCALE, 0.0)


@triton.jit
def remove_letterbox(x, y, letterbox):
    left, top = letterbox
    return tl.div_rn(x - left, 1 - (left + left)), tl.div_rn(y - top, 1 - (top + top))


@triton.jit
def project(x, y, z, roi, letterbox):
    center_x, center_y, width, height, rotation = roi
    left, _ = letterbox
    x, y = remove_letterbox(x, y, letterbox)
    x, y = rotate(x - 0.5, y - 0.5, rotation)
    return x * width + center_x, y * height + center_y, tl.div_rn(z, 1 - (left + left)) * width


@triton.jit
def project_keypoints(x, y, crop, size):
    """`crop` is a rect in pixels."""
    center_x, center_y, crop_width, crop_height, rotation = crop
    width, height = size
    per_column, per_row = tl.div_rn(1.0, width), tl.div_rn(1.0, height)
    cosine, sine = cosine_and_sine(rotation)
    left = ((-0.5 * crop_width * cosine + 0.5 * crop_height * sine) + center_x) * per_column
    top = ((-0.5 * crop_height * cosine - 0.5 * crop_width * sine) + center_y) * per_row
    return (
        x * (crop_width * cosine * per_column) + y * (-1.0 * crop_height * sine * per_column) + left,
        x * (crop_width * sine * per_row) + y * (crop_height * cosine * per_row) + top,
    )


@triton.jit
def in_pixels(x, y, size):
    width, height = size
    return x * width, y * height


@triton.jit
def through_pixels(x, y, z, size):
    width, height = size
    return tl.div_rn(x * width, width), tl.div_rn(y * height, height), tl.div_rn(z * width, width)


@triton.jit
def rotate(x, y, rotation):
    cosine, sine = cosine_and_sine(rotation)
    return cosine * x - sine * y, sine * x + cosine * y


@triton.jit
def whole_image(like):
    """`like` has the shape of the rect's fields."""
    nothing = tl.zeros(like.shape, tl.float32)
    return nothing + 0.5, nothing + 0.5, nothing + 1.0, nothing + 1.0, nothing


@triton.jit
def stretched_view(roi, size):
    """Return the rect in pixels that is cropped, and left and top of the letterbox."""
    center_x, center_y, roi_width, roi_height, rotation = roi
    width, height = size
    x = center_x * width
    return (x, center_y * height, roi_width * width, roi_height * height, rotation), (0.0 * x, 0.0 * x)


@triton.jit
def padded_view(roi, size):
    """Return the rect in pixels that is cropped, and left and top of the letterbox."""
    crop, _ = stretched_view(roi, size)
    x, y, width, height, rotation = crop
    aspect = tl.div_rn(height, width)
    is_wide = aspect < 1
    side = tl.where(is_wide, width, height)
    # `1 / aspect` with a number for 1 would not be rounded right.
    inverted = tl.div_rn(tl.full(aspect.shape, 1.0, tl.float32), aspect)
    left, top = tl.where(is_wide, 0.0, 0.5 * (1 - inverted)), tl.where(is_wide, 0.5 * (1 - aspect), 0.0)
    return (x, y, side, side, rotation), (left, top)
