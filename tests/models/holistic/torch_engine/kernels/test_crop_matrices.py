"""Crop matrices inside of kernels: the bits of the array code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from phoenix_ray.models.holistic import crop_transforms
from phoenix_ray.models.holistic.geometry import Rect
from phoenix_ray.models.holistic.torch_engine.kernels.crop_matrices import image_from_crop
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from tests.models.holistic.floats import float32
from tests.models.holistic.torch_engine.kernels.test_elementary import assert_same_bits

COUNT = 16_384
SPECIAL = float32([0.0, -0.0, 1.0, 0.5, math.pi / 2, -math.pi, 1e7, 1e-6, 1e38, 1e-40, math.inf, -math.inf, math.nan])


@triton.jit
def matrices_of(rois, matrices, side: tl.constexpr, count: tl.constexpr):
    region = tl.arange(0, count)
    x, y = tl.load(rois + region), tl.load(rois + count + region)
    width, height = tl.load(rois + 2 * count + region), tl.load(rois + 3 * count + region)
    found = image_from_crop(x, y, width, height, tl.load(rois + 4 * count + region), side)
    for entry in tl.static_range(9):
        tl.store(matrices + entry * count + region, found[entry])


@triton.jit
def matrix_of_numbers(rois, matrices, side: tl.constexpr):
    x, y, width, height = tl.load(rois), tl.load(rois + 1), tl.load(rois + 2), tl.load(rois + 3)
    found = image_from_crop(x, y, width, height, tl.load(rois + 4), side)
    for entry in tl.static_range(9):
        tl.store(matrices + entry, found[entry])


def found_by(kernel: Any, rois: NDArray[np.float32], side: int, device_name: str) -> NDArray[np.float64]:
    matrices = torch.empty((9, rois.shape[1]), dtype=torch.float64, device=device_name)
    constants = {"side": side} if kernel is matrix_of_numbers else {"side": side, "count": rois.shape[1]}
    launch(kernel, (1,), {"rois": torch.from_numpy(rois).to(device_name), "matrices": matrices}, constants)
    found: NDArray[np.float64] = matrices.cpu().numpy()
    return found


def expected(rois: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(crop_transforms.image_from_crop(Rect(*rois), side).T)


def random_rois(random: np.random.Generator) -> NDArray[np.float32]:
    width = np.exp(random.uniform(-3, 11, COUNT))
    height = width * random.choice([1.0, 1.0, 0.2, 1.01, 7.0], COUNT)
    x, y, rotation = (
        random.uniform(-2000, 2400, COUNT),
        random.uniform(-2000, 2400, COUNT),
        random.uniform(-7, 7, COUNT),
    )
    return float32(np.stack([x, y, width, height, rotation]))


@pytest.mark.parametrize("side", [128, 192, 224, 256])
def test_matrices_have_the_bits_of_the_array_code(side: int, device_name: str) -> None:
    rois = random_rois(np.random.default_rng(side))
    assert_same_bits(expected(rois, side), found_by(matrices_of, rois, side, device_name))


def test_pivots_of_one_size_and_zeros_change_nothing(device_name: str) -> None:
    """Whole numbers and right angles give rows whose order depends on which of equal pivots comes first."""
    random = np.random.default_rng(5)
    rois = float32(np.round(random_rois(random) / 16) * 16)
    rois[4] = random.choice(float32([0, math.pi / 2, math.pi, -math.pi / 2, math.pi / 4]), COUNT)
    rois[:2, : COUNT // 2] = random.choice(float32([0, 128, 112, -64]), (2, COUNT // 2))
    rois[2:4, : COUNT // 2] = random.choice(float32([256, 128, 64]), (2, COUNT // 2))
    assert_same_bits(expected(rois, 256), found_by(matrices_of, rois, 256, device_name))


def test_what_spans_no_area_and_what_is_no_number_gives_what_the_array_code_gives(device_name: str) -> None:
    random = np.random.default_rng(6)
    rois = random_rois(random)
    is_special = random.random(rois.shape) < 0.3
    rois[is_special] = random.choice(SPECIAL, np.count_nonzero(is_special))
    matrices = expected(rois, 224)
    assert np.isnan(matrices).any(axis=0).mean() > 0.2
    # Nothing but (0, 0): the system was singular.
    assert (matrices[:6] == 0).all(axis=0).mean() > 0.05
    assert_same_bits(matrices, found_by(matrices_of, rois, 224, device_name))


def test_one_region_without_lanes_gives_the_same(device_name: str) -> None:
    rois = float32([[105.0], [130.0], [260.0], [200.0], [0.3]])
    assert_same_bits(expected(rois, 224), found_by(matrix_of_numbers, rois, 224, device_name))
