from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.holistic.crop_transforms import MAX_SIDE
from phoenix_ray.models.holistic.geometry import Rect
from phoenix_ray.models.holistic.litert_engine.crops import WarpCropper
from phoenix_ray.models.holistic.networks import NetworkSpec
from tests.models.holistic.floats import float32

BLACK_OUTSIDE = NetworkSpec("", 16, 0.0, repeat_border=False)
REPEATED_OUTSIDE = NetworkSpec("", 16, 0.0, repeat_border=True)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)


def squares(*centers: tuple[float, float], side: float = 16, rotation: float = 0) -> Rect:
    x, y = float32(centers).T
    return Rect(x, y, np.full_like(x, side), np.full_like(x, side), np.full_like(x, rotation))


def test_an_upright_roi_on_whole_pixels_is_a_slice() -> None:
    image = noise(40, 50)
    (crop,) = WarpCropper([image]).crop(np.array([0]), squares((20, 18)), BLACK_OUTSIDE)
    np.testing.assert_array_equal(crop, image[10:26, 12:28])


def test_a_quarter_turn_turns_the_pixels() -> None:
    image = noise(40, 50)
    (crop,) = WarpCropper([image]).crop(np.array([0]), squares((20, 20), rotation=np.pi / 2), BLACK_OUTSIDE)
    turned = np.rot90(image[12:29, 12:29])
    np.testing.assert_array_equal(crop[1:], turned[:16, :16][1:])


def test_outside_of_the_image_is_black_or_its_repeated_border() -> None:
    image = noise(40, 50)
    roi = squares((0, 20))
    (black,) = WarpCropper([image]).crop(np.array([0]), roi, BLACK_OUTSIDE)
    (repeated,) = WarpCropper([image]).crop(np.array([0]), roi, REPEATED_OUTSIDE)
    assert (black[:, :8] == 0).all()
    np.testing.assert_array_equal(repeated[:, :8], np.repeat(image[12:28, :1], 8, axis=1))
    np.testing.assert_array_equal(black[:, 8:], repeated[:, 8:])


def test_each_crop_comes_from_its_own_image() -> None:
    images = [noise(30, 30, seed=1), noise(40, 60, seed=2)]
    cropper = WarpCropper(images)
    np.testing.assert_array_equal([*cropper.size], [[30, 60], [30, 40]])
    crops = cropper.crop(np.array([1, 0, 1]), squares((10, 10), (10, 10), (12, 10)), BLACK_OUTSIDE)
    np.testing.assert_array_equal(crops[0], images[1][2:18, 2:18])
    np.testing.assert_array_equal(crops[1], images[0][2:18, 2:18])
    np.testing.assert_array_equal(crops[2], images[1][2:18, 4:20])


def test_an_image_too_long_to_warp_is_reduced() -> None:
    cropper = WarpCropper([np.full((2, MAX_SIDE + 5000, 3), 7, dtype=np.uint8)])
    assert (cropper.size.width, cropper.size.height) == (MAX_SIDE, 2)
    assert (cropper.crop(np.array([0]), squares((MAX_SIDE - 8, 1)), REPEATED_OUTSIDE) == 7).all()


def test_an_image_that_is_a_view_is_cropped_like_its_copy() -> None:
    image = noise(40, 50)[:, ::-1]
    view, copy = (
        WarpCropper([pixels]).crop(np.array([0]), squares((20, 20), rotation=0.3), REPEATED_OUTSIDE)
        for pixels in (image, image.copy())
    )
    np.testing.assert_array_equal(view, copy)
