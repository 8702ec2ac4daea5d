from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.models.holistic import geometry
from phoenix_ray.models.holistic.geometry import ImageSize, Rect
from tests.models.holistic.floats import float32

sides = st.floats(1, 4000, width=32)
shares = st.floats(0.0625, 2, width=32)
angles = st.floats(-3.125, 3.125, width=32)


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def rect(x: float, y: float, width: float, height: float, rotation: float = 0.0) -> Rect:
    return Rect(*(column(value) for value in (x, y, width, height, rotation)))


def size(width: float, height: float) -> ImageSize:
    return ImageSize(column(width), column(height))


@given(st.floats(-20, 20, width=32))
def test_normalized_angle_is_the_same_direction_within_half_a_turn(angle: float) -> None:
    (normal,) = geometry.normalize_radians(column(angle))
    assert -math.pi - 1e-6 <= normal <= math.pi + 1e-6
    assert math.isclose(math.cos(normal), math.cos(angle), abs_tol=1e-5)
    assert math.isclose(math.sin(normal), math.sin(angle), abs_tol=1e-5)


@given(st.floats(-3.125, 3.125, width=32))
def test_angle_in_range_is_not_touched(angle: float) -> None:
    assert geometry.normalize_radians(column(angle)) == column(angle)


def test_alignment_turns_the_edge_to_its_target() -> None:
    right = float32([[10, 0]])
    center = float32([[0, 0]])
    assert geometry.rotation_towards(center, right, 0.0) == 0
    np.testing.assert_allclose(geometry.rotation_towards(center, right, math.pi / 2), math.pi / 2, rtol=1e-6)
    above = float32([[0, -10]])
    np.testing.assert_allclose(geometry.rotation_towards(center, above, math.pi / 2), 0, atol=1e-6)


def test_square_through_reaches_twice_from_center_to_edge() -> None:
    square = geometry.square_through(float32([[50, 40]]), float32([[53, 44]]), column(0.5), size(100, 200))
    np.testing.assert_allclose([*square], [[0.5], [0.2], [0.1], [0.05], [0.5]], rtol=1e-6)


@given(sides, sides, shares, shares, angles)
def test_enlarged_rect_is_square_in_pixels_around_the_longer_side(
    width: float, height: float, share_x: float, share_y: float, angle: float
) -> None:
    enlarged = geometry.enlarge(rect(0.5, 0.5, share_x, share_y, angle), size(width, height), scale=1.5)
    longer = max(share_x * width, share_y * height)
    np.testing.assert_allclose(enlarged.width * width, 1.5 * longer, rtol=1e-5)
    np.testing.assert_allclose(enlarged.height * height, 1.5 * longer, rtol=1e-5)
    assert (enlarged.center_x, enlarged.center_y) == (0.5, 0.5)


def test_shift_follows_the_rectangles_own_axis() -> None:
    upright = geometry.enlarge(rect(0.5, 0.5, 0.2, 0.2), size(100, 100), scale=1.0, shift_y=-0.1)
    np.testing.assert_allclose([upright.center_x, upright.center_y], [[0.5], [0.48]], rtol=1e-6)
    quarter = geometry.enlarge(rect(0.5, 0.5, 0.2, 0.2, math.pi / 2), size(100, 100), scale=1.0, shift_y=-0.1)
    np.testing.assert_allclose([quarter.center_x, quarter.center_y], [[0.52], [0.5]], rtol=1e-6)


@given(sides, sides)
def test_removing_the_letterbox_takes_the_images_corners_to_zero_and_one(width: float, height: float) -> None:
    image = size(width, height)
    view = geometry.padded_view(geometry.whole_image(image), image)
    longer = max(width, height)
    assert view.crop.width == view.crop.height == longer
    left, top = (longer - width) / 2 / longer, (longer - height) / 2 / longer
    corners = float32([[[left, top], [1 - left, 1 - top]]])
    tolerance = 1e-5 * longer / min(width, height)
    np.testing.assert_allclose(geometry.remove_letterbox(corners, view), [[[0, 0], [1, 1]]], atol=tolerance)


@given(sides, sides, shares, angles, st.floats(-1, 2, width=32), st.floats(-1, 2, width=32))
def test_projection_is_undone_by_its_inverse(
    width: float, height: float, share: float, angle: float, x: float, y: float
) -> None:
    image = size(width, height)
    roi = geometry.enlarge(rect(0.4, 0.6, share, share, angle), image, scale=1.0)
    points = float32([[[x, y, 0.5]]])
    projected = geometry.project(points, geometry.padded_view(roi, image))[0, 0].astype(np.float64)

    side = float(roi.width[0] * width)
    right, down = (projected[0] - 0.4) * width / side, (projected[1] - 0.6) * height / side
    # Where a side of the image is short, the normalised ROI is large and float32 is coarse.
    tolerance = 2e-5 * max(1, width / height, height / width)
    np.testing.assert_allclose(math.cos(angle) * right + math.sin(angle) * down + 0.5, x, atol=tolerance, rtol=1e-4)
    np.testing.assert_allclose(math.cos(angle) * down - math.sin(angle) * right + 0.5, y, atol=tolerance, rtol=1e-4)
    np.testing.assert_allclose(projected[2], 0.5 * roi.width[0], rtol=1e-5)


@given(sides, sides, shares, angles)
def test_keypoints_and_landmarks_are_projected_to_the_same_place(
    width: float, height: float, share: float, angle: float
) -> None:
    image = size(width, height)
    roi = geometry.enlarge(rect(0.5, 0.5, share, share, angle), image, scale=1.0)
    view = geometry.padded_view(roi, image)
    points = float32([[[0.0, 0.0], [1.0, 0.25], [0.5, 0.5]]])
    extent = float(max(roi.width[0], roi.height[0], 1))
    np.testing.assert_allclose(
        geometry.project_keypoints(points, view), geometry.project(points, view), atol=1e-5 * extent
    )


def test_landmarks_left_of_the_image_are_bounded_by_its_edge() -> None:
    points = float32([[[-0.5, 0.2], [-0.25, 0.4]]])
    bounds = geometry.bounds_of_landmarks(points, column(0))
    np.testing.assert_allclose([*bounds][:4], [[-0.25], [0.3], [0.5], [0.2]], rtol=1e-6)
    keypoints = geometry.bounds_of_keypoints(points, column(0))
    np.testing.assert_allclose([*keypoints][:4], [[-0.375], [0.3], [0.25], [0.2]], rtol=1e-6)


def test_missing_and_empty_rects_have_no_area() -> None:
    sizes = column(1, 0, -1, math.nan)
    assert Rect(sizes, sizes, sizes, sizes, sizes).has_area().tolist() == [True, False, False, False]
