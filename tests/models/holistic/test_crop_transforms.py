from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray.models.holistic.crop_transforms import image_from_crop
from phoenix_ray.models.holistic.geometry import Rect
from tests.models.holistic.floats import float32

SIDE = 256

# Centre, width, height in pixels and rotation, as ROIs come: partly outside of the image, turned by more than a turn.
# Where corners hardly differ in float32, OpenCV takes its system for singular and solves it in another way.
rois = st.builds(
    lambda x, y, side, aspect, rotation: (x, y, side, side * aspect, rotation),
    st.floats(-2000, 2400, width=32),
    st.floats(-2000, 2400, width=32),
    st.floats(1, 50_000, width=32),
    st.sampled_from([1.0, 0.2, 1.01, 7.0]),
    st.one_of(st.sampled_from([0.0, math.pi / 2, -math.pi, math.pi / 4]), st.floats(-7, 7, width=32)),
)


def matrix_of_opencv(region: tuple[float, ...]) -> NDArray[np.float64]:
    x, y, width, height, rotation = float32([region])[0]
    degrees = float(rotation * np.float32(180)) / math.pi
    corners = np.float32(cv2.boxPoints(((x, y), (width, height), degrees)))
    targets = float32([[0, 1], [0, 0], [1, 0], [1, 1]]) * np.float32(SIDE)
    _, inverse = cv2.invert(cv2.getPerspectiveTransform(corners, targets))
    return np.asarray(inverse, dtype=np.float64).reshape(9)


@given(st.lists(rois, min_size=1, max_size=5))
def test_matrices_are_those_of_opencv_to_the_last_bit(regions: list[tuple[float, ...]]) -> None:
    expected = np.stack([matrix_of_opencv(region) for region in regions])
    np.testing.assert_array_equal(image_from_crop(Rect(*float32(regions).T), SIDE), expected)


@given(st.lists(rois, min_size=1, max_size=5))
def test_torch_computes_the_same_bits_as_numpy(regions: list[tuple[float, ...]]) -> None:
    torch = pytest.importorskip("torch")
    roi = Rect(*float32(regions).T)
    found = image_from_crop(Rect(*(torch.from_numpy(values.copy()) for values in roi)), SIDE)
    np.testing.assert_array_equal(np.asarray(found), image_from_crop(roi, SIDE))


def test_a_rectangle_without_area_takes_everything_to_the_corner() -> None:
    roi = Rect(*(float32([value]) for value in (1e7, 1e7, 1e-6, 1e-6, 0.4)))
    x, y, scale = image_from_crop(roi, SIDE).reshape(3, 3) @ [100, 50, 1]
    assert (x, y) == (0, 0)
    assert scale != 0
