"""Kernels between convolutions: the bits of torch's layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from phoenix_ray.models.holistic.torch_engine.kernels import elementwise
from phoenix_ray.models.holistic.torch_engine.kernels.layers import Activation, Ending, Taps
from phoenix_ray.models.holistic.torch_engine.layers import ResizeBilinear, mean_of_cells, neighbours

RANDOM = np.random.default_rng(5)


def features(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RANDOM.normal(0, 3, shape).astype(np.float32))


def assert_same_bits(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Fail unless all numbers have the same bits, but for those of NaN."""
    np.testing.assert_array_equal(bits_of(found), bits_of(expected))


def bits_of(values: torch.Tensor) -> NDArray[np.int32]:
    numbers: NDArray[np.float32] = values.cpu().numpy().copy()
    numbers[np.isnan(numbers)] = np.nan
    return numbers.view(np.int32)


@pytest.mark.parametrize("activation", ["none", "relu", "relu6", "prelu"])
@pytest.mark.parametrize("last", ["none", "relu", "prelu"])
def test_a_finish_activates_scales_adds_and_activates(
    activation: Activation, last: Activation, device_name: str
) -> None:
    values, added = features(3, 5, 7), features(3, 5, 7)
    values[0, 0, :3] = torch.tensor([math.nan, math.inf, -math.inf])
    factor, shift, slope, last_slope = (features(5) for _ in range(4))
    out = torch.empty((3, 5, 7), device=device_name)
    ending = Ending(activation, slope.to(device_name), added.to(device_name), False, last, last_slope.to(device_name))
    elementwise.finish_values(values.to(device_name), (factor.to(device_name), shift.to(device_name)), ending, out)
    active = activate(values, activation, slope)
    total = active * factor[:, None] + shift[:, None] + added
    assert_same_bits(out, activate(total, last, last_slope))


def activate(values: torch.Tensor, kind: Activation, slope: torch.Tensor) -> torch.Tensor:
    match kind:
        case "relu":
            return functional.relu(values)
        case "relu6":
            return functional.relu6(values)
        case "prelu":
            return functional.prelu(values, slope)
    return values


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("target", [(6, 10), (7, 4), (1, 1)])
def test_resizing_rounds_as_the_plain_layer(
    target: tuple[int, int], align_corners: bool, adds: bool, device_name: str
) -> None:
    source, added = features(2, 3, 3, 5), features(2, 3, *target)
    rows, columns = (
        tuple(torch.from_numpy(table).to(device_name) for table in neighbours(length, wanted, align_corners))
        for length, wanted in zip((3, 5), target, strict=True)
    )
    out = torch.empty((2, 3, *target), device=device_name)
    elementwise.resize(source.to(device_name), rows, columns, added.to(device_name) if adds else None, out)
    layer = ResizeBilinear((5, 3), (target[1], target[0]), align_corners)
    expected = layer(source.transpose(2, 3)).transpose(2, 3)
    assert_same_bits(out, expected + added if adds else expected)


@pytest.mark.parametrize(("size", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, 0)])
def test_a_pool_takes_the_maximum_of_what_lies_inside(size: int, stride: int, padding: int, device_name: str) -> None:
    source = -1 - features(2, 3, 7, 6).abs()
    source[1, 1, 2, 2] = math.nan
    expected = functional.max_pool2d(source, size, stride, padding)
    out = torch.empty(expected.shape, device=device_name)
    taps = Taps((size, size), (stride, stride), (padding, padding))
    elementwise.pool(source.to(device_name), taps, out)
    assert_same_bits(out, expected)


def test_depth_is_spread_with_the_place_in_the_block_as_slower_part_of_the_channel(device_name: str) -> None:
    source = features(2, 12, 3, 4)
    out = torch.empty((2, 3, 6, 8), device=device_name)
    elementwise.spread_depth(source.to(device_name), 2, out)
    expected = source.reshape(2, 2, 2, 3, 3, 4).permute(0, 3, 4, 1, 5, 2).reshape(2, 3, 6, 8)
    assert_same_bits(out, expected)


def test_means_are_added_up_row_by_row(device_name: str) -> None:
    source = features(2, 200, 7, 5)
    out = torch.empty((2, 200, 1, 1), device=device_name)
    elementwise.mean_of_planes(source.to(device_name), out)
    assert_same_bits(out[:, :, 0, 0], mean_of_cells(source.transpose(2, 3)))
