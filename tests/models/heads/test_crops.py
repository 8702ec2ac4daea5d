from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.layouts import Part
from phoenix_ray.models.heads.crops import Image, cut_square, square_around, to_input
from phoenix_ray.models.onnx.manifest import HeadInput

PART = Part("face", ("a", "b", "c"), ("x", "y", "z"))


def points(*places: tuple[float, float]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.array([(x, y, 0) for x, y in places], np.float32)


def noise(width: int, height: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def cut(image: Image, corners: tuple[tuple[float, float], ...], scale: float = 1.0, **form: Any) -> Image:
    square = square_around(PART, points(*corners))
    assert square is not None
    return cut_square(image, square, scale, HeadInput.model_validate({"size": (16, 16), **form}))


def test_a_square_of_the_inputs_size_is_cut_out_pixel_by_pixel() -> None:
    image = noise(64, 48)
    # 16 x 16 pixels from (20, 12) on; the third point lies inside.
    crop = cut(image, ((20 / 64, 12 / 48), (36 / 64, 28 / 48), (30 / 64, 20 / 48)))
    assert np.array_equal(crop, image[12:28, 20:36])


def test_the_side_is_the_longer_one_in_pixels_times_the_scale_around_the_middle_of_the_box() -> None:
    image = noise(64, 48)
    # A box of 4 x 8 pixels around (28, 20): with scale 2 the same 16 x 16 pixels.
    crop = cut(image, ((26 / 64, 16 / 48), (30 / 64, 24 / 48)), scale=2.0)
    assert np.array_equal(crop, image[12:28, 20:36])


def test_what_lies_outside_of_the_picture_has_the_value_of_fill() -> None:
    crop = cut(np.full((32, 32, 3), 200, np.uint8), ((-8 / 32, -8 / 32), (8 / 32, 8 / 32)), fill=9)
    assert (crop[:7, :7] == 9).all()
    assert (crop[9:, 9:] == 200).all()


def test_an_input_is_normalised_in_the_order_of_channels_and_axes_that_the_manifest_says() -> None:
    image = noise(16, 16)
    corners = ((0.0, 0.0), (1.0, 1.0))
    form: dict[str, Any] = {"size": (16, 16), "channel_order": "bgr", "mean": (1, 2, 3), "std": (4, 5, 6)}
    bgr = to_input(cut(image, corners, **form), HeadInput.model_validate(form))
    assert bgr.shape == (3, 16, 16)
    assert np.array_equal(bgr[0], (image[:, :, 2].astype(np.float32) - 1) / np.float32(4))
    grey_form: dict[str, Any] = {
        "size": (16, 16),
        "channel_order": "grey",
        "layout": "nhwc",
        "mean": (127.5,),
        "std": (127.5,),
    }
    grey = to_input(cut(image, corners, **grey_form), HeadInput.model_validate(grey_form))
    assert grey.shape == (16, 16, 1)
    expected = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    assert np.allclose(grey[:, :, 0], (expected / 255 - 0.5) * 2, atol=1e-6)


@pytest.mark.parametrize("missing", [(), ((np.nan, np.nan),), ((0.5, 0.5), (0.5, 0.5))], ids=["none", "NaN", "no area"])
def test_a_part_without_extent_has_no_square(missing: tuple[tuple[float, float], ...]) -> None:
    assert square_around(PART, points(*missing).reshape(-1, 3)) is None


@given(
    st.lists(st.tuples(st.floats(-2, 3, width=32), st.floats(-2, 3, width=32)), min_size=2, max_size=5),
    st.integers(1, 70),
    st.integers(1, 70),
)
def test_whatever_the_points_a_crop_has_the_inputs_shape(
    corners: list[tuple[float, float]], width: int, height: int
) -> None:
    square = square_around(PART, points(*corners))
    if square is not None:
        crop = cut_square(noise(width, height), square, 1.0, HeadInput(size=(16, 16)))
        assert crop.shape == (16, 16, 3)
