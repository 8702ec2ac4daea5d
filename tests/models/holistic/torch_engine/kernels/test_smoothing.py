"""The filters inside of kernels: the bits of the array code, frame after frame."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from phoenix_ray.models.holistic import smoothing, tracking
from phoenix_ray.models.holistic.smoothing import FilterState, OneEuroFilter
from phoenix_ray.models.holistic.torch_engine.kernels import smoothing as kernel_smoothing
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from tests.models.holistic.torch_engine.kernels.test_elementary import assert_same_bits

FloatArray = NDArray[np.float32]
COUNT = 2048


@triton.jit
def next_frame(state, found, count: tl.constexpr, options: tl.constexpr):
    """`state` is float32 (6, count): values, the four fields of `FilterState`, and the scale."""
    place = tl.arange(0, count)
    values, raw = tl.load(state + place), tl.load(state + count + place)
    smoothed, speed = tl.load(state + 2 * count + place), tl.load(state + 3 * count + place)
    age, scale = tl.load(state + 4 * count + place), tl.load(state + 5 * count + place)
    smoothed, speed = kernel_smoothing.smooth(values, raw, smoothed, speed, age, scale.to(tl.float64), options)
    tl.store(found + place, smoothed)
    tl.store(found + count + place, speed)


@triton.jit
def passed(state, found, count: tl.constexpr):
    """`state` is float32 (3, count): values, the last result, and alpha."""
    place = tl.arange(0, count)
    alpha = tl.load(state + 2 * count + place)
    tl.store(found + place, kernel_smoothing.low_pass(tl.load(state + place), tl.load(state + count + place), alpha))


FILTERS: dict[str, tuple[OneEuroFilter, Any]] = {
    "pose": (tracking.POSE_FILTER, kernel_smoothing.POSE_FILTER),
    "auxiliary": (tracking.AUXILIARY_FILTER, kernel_smoothing.AUXILIARY_FILTER),
    "world": (tracking.WORLD_FILTER, kernel_smoothing.WORLD_FILTER),
}


def in_a_kernel(
    values: FloatArray, last: FilterState, scale: FloatArray, name: str, device_name: str
) -> tuple[FloatArray, FloatArray]:
    """Return smoothed values and speeds of numbers that are each a video."""
    table = np.stack([values, *(field.reshape(-1) for field in last), scale])
    found = torch.empty((2, len(values)), device=device_name)
    arguments = {"state": torch.from_numpy(table).to(device_name), "found": found}
    launch(next_frame, (1,), arguments, {"count": len(values), "options": FILTERS[name][1]})
    smoothed, speed = found.cpu().numpy()
    return smoothed, speed


def in_arrays(values: FloatArray, last: FilterState, scale: FloatArray, name: str) -> tuple[FloatArray, FilterState]:
    with np.errstate(all="ignore"):
        smoothed, state = FILTERS[name][0].smooth(values[:, None, None], last, scale)
    return smoothed[:, 0, 0], state


def state_of(numbers: FloatArray) -> FilterState:
    raw, smoothed, speed = numbers[:3, :, None, None]
    return FilterState(raw, smoothed, speed, numbers[3])


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_gives_the_bits_of_the_array_code(name: str, device_name: str) -> None:
    random = np.random.default_rng(len(name))
    numbers = (random.normal(0, 1, (4, COUNT)) * np.exp(random.normal(0, 4, (4, COUNT)))).astype(np.float32)
    numbers[1] = numbers[0] + numbers[1] * np.float32(0.01)
    age = random.integers(0, 40, COUNT).astype(np.float32)
    last = np.stack([*numbers[1:4], age])
    for row in range(4):
        last[row, random.integers(0, COUNT, 30)] = math.nan
    last[:, :20] = math.nan
    numbers[0, 10:30] = math.nan
    last[0, 30:40] = numbers[0, 30:40]
    scale = np.exp(random.normal(-3, 3, COUNT)).astype(np.float32)
    expected, state = in_arrays(numbers[0], state_of(last), scale, name)
    smoothed, speed = in_a_kernel(numbers[0], state_of(last), scale, name, device_name)
    assert_same_bits(expected, smoothed)
    assert_same_bits(state.speed[:, 0, 0], speed)


@pytest.mark.parametrize("name", FILTERS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    videos=arrays(np.float32, (7, 8), elements=st.floats(-1e4, 1e4, width=32)),
    scales=arrays(np.float32, (7, 8), elements=st.floats(2**-10, 2.0, width=32)),
    gaps=arrays(np.bool_, (7, 8)),
)
def test_a_filter_follows_the_array_code_through_videos_with_gaps(
    name: str, videos: FloatArray, scales: FloatArray, gaps: NDArray[np.bool_], device_name: str
) -> None:
    state = state_of(np.full((4, videos.shape[1]), math.nan, np.float32))
    for values, scale, gap in zip(videos, scales, gaps, strict=True):
        expected, fed = in_arrays(values, state, scale, name)
        smoothed, speed = in_a_kernel(values, state, scale, name, device_name)
        assert_same_bits(expected, smoothed)
        assert_same_bits(fed.speed[:, 0, 0], speed)
        # A frame that the filter is not fed leaves it a frame older.
        age = np.where(gap, state.age + 1, fed.age).astype(np.float32)
        numbers = [np.where(gap, old[:, 0, 0], new[:, 0, 0]) for new, old in zip(fed[:3], state[:3], strict=True)]
        state = state_of(np.stack([*numbers, age]))


def test_a_low_pass_gives_the_bits_of_the_array_code(device_name: str) -> None:
    table = np.random.default_rng(3).normal(0, 1, (3, COUNT)).astype(np.float32)
    table[2] = np.abs(table[2])
    table[0, :9] = table[1, 5:14] = math.nan
    found = torch.empty(COUNT, device=device_name)
    launch(passed, (1,), {"state": torch.from_numpy(table).to(device_name), "found": found}, {"count": COUNT})
    assert_same_bits(smoothing.low_pass(*table), found.cpu().numpy())
