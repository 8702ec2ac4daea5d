from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray.models.holistic.crop_transforms import MAX_SIDE
from phoenix_ray.models.holistic.geometry import Rect
from phoenix_ray.models.holistic.litert_engine.engine import WarpCropper
from phoenix_ray.models.holistic.networks import NetworkSpec
from tests.models.holistic.floats import float32

torch = pytest.importorskip("torch")

from phoenix_ray.models.holistic.torch_engine import crops  # noqa: E402
from tests.models.holistic.torch_engine.uploaded import cropper_of  # noqa: E402

# Each example below crops this many ROIs.
ROIS = 12

degrees = st.sampled_from([0.0, 90.0, 180.0, -90.0, 45.0])
# Sizes from a twentieth of a pixel to some hundred images, up to 2,000 pixels outside.
rois = st.tuples(
    st.floats(-2000, 2400, width=32),
    st.floats(-2000, 2400, width=32),
    st.floats(np.log(0.05), np.log(50_000)).map(np.exp),
    st.sampled_from([1.0, 1.0, 0.2, 1.01, 7.0]),
    st.one_of(degrees.map(np.radians), st.floats(-7, 7, width=32)),
)


def both_crops(
    images: list[NDArray[np.uint8]], index: list[int], regions: Sequence[tuple[float, ...]], network: NetworkSpec
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    x, y, side, aspect, rotation = float32(regions).T
    roi = Rect(x, y, side, side * aspect, rotation)
    expected = WarpCropper(images).crop(np.array(index), roi, network)
    result = cropper_of(images).crop(torch.tensor(index), Rect(*(torch.from_numpy(values) for values in roi)), network)
    return expected, result.numpy()


@settings(max_examples=90)
@given(
    seed=st.integers(0, 2**16),
    sizes=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), min_size=2, max_size=2),
    regions=st.lists(rois, min_size=ROIS, max_size=ROIS),
    size=st.sampled_from([8, 65, 80]),
    repeat_border=st.booleans(),
)
@example(
    seed=0,
    sizes=[(260, 210), (1, 1)],
    # The whole of a PHOENIX frame, whose pixels lie between two steps, and ROIs half and wholly outside.
    regions=[(105.0, 130.0, 260.0, 1.0, 0.0), (0.0, 130.0, 260.0, 1.0, 0.3), (-900.0, 0.0, 99.0, 1.0, 0.0)] * 4,
    size=224,
    repeat_border=False,
)
def test_crops_are_the_same_bits_as_those_of_opencv(
    seed: int, sizes: list[tuple[int, int]], regions: list[tuple[float, ...]], size: int, repeat_border: bool
) -> None:
    random = np.random.default_rng(seed)
    images = [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in sizes]
    index = [item % 2 for item in range(ROIS)]
    expected, result = both_crops(images, index, regions, NetworkSpec("", size, 0.0, repeat_border))
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("pixels_at_once", [1, 24 * 24 * 5])
def test_a_bound_on_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch, pixels_at_once: int) -> None:
    monkeypatch.setattr(crops, "PIXELS_AT_ONCE_ON_A_CPU", pixels_at_once)
    image = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    regions = [(20.0 + item, 20.0, 30.0, 1.0, 0.1 * item) for item in range(ROIS)]
    expected, result = both_crops([image], [0] * ROIS, regions, NetworkSpec("", 24, 0.0, repeat_border=True))
    np.testing.assert_array_equal(result, expected)


def test_the_last_image_stands_in_for_those_that_lack() -> None:
    images = [np.full((4 + item, 5, 3), 50 * item, dtype=np.uint8) for item in range(2)]
    cropper = cropper_of(images, 4)
    assert cropper.size.height.tolist() == [4, 5, 5, 5]
    roi = Rect(*(torch.full((4,), value) for value in (2.5, 2.0, 2.0, 2.0, 0.0)))
    cropped = cropper.crop(torch.arange(4), roi, NetworkSpec("", 2, 0.0, repeat_border=True))
    assert cropped[:, 0, 0, 0].tolist() == [0, 50, 50, 50]


def test_views_and_images_too_long_to_warp_are_cropped_as_by_opencv() -> None:
    random = np.random.default_rng(0)
    images = [
        random.integers(0, 256, (20, 30, 3), dtype=np.uint8)[::-1, ::2],
        random.integers(0, 256, (2, MAX_SIDE + 900, 3), dtype=np.uint8),
    ]
    network = NetworkSpec("", 16, 0.0, repeat_border=True)
    expected, result = both_crops(images, [0, 1], [(7.0, 9.0, 16.0, 1.0, 0.2), (9000.0, 1.0, 12.0, 1.0, 0.0)], network)
    np.testing.assert_array_equal(result, expected)


def test_an_roi_without_area_gives_a_crop_all_the_same() -> None:
    image = np.full((9, 9, 3), 7, dtype=np.uint8)
    roi = Rect(*(torch.tensor([value, value]) for value in (1e7, 1e7, 1e-6, 1e-6, 0.4)))
    cropper = cropper_of([image])
    assert (cropper.crop(torch.tensor([0, 0]), roi, NetworkSpec("", 8, 0.0, repeat_border=True)) == 7).all()
