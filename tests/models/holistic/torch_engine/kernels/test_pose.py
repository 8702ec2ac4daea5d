"""The pose network read in a kernel: the bits of the array code, whatever the network says."""

from __future__ import annotations

import math
from unittest.mock import patch

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from phoenix_ray.models.holistic import decoding
from phoenix_ray.models.holistic.geometry import Rect
from phoenix_ray.models.holistic.networks import POSE_LANDMARK
from phoenix_ray.models.holistic.torch_engine.kernels import pipeline as kernels
from phoenix_ray.models.holistic.torch_engine.kernels.elementary import powers_on
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from phoenix_ray.models.holistic.torch_engine.kernels.pose import BODY_COLUMNS, read_body, refine_by_heatmap
from tests.models.holistic.torch_engine.kernels.made_up_networks import (
    Blind,
    Sayings,
    array_pipeline,
    frames_of,
    kernel_pipeline,
    no_crops,
    plausible,
    rows_of_arrays,
    rows_of_kernels,
    some_sides,
)
from tests.models.holistic.torch_engine.kernels.test_rectangles import assert_same_bits

Values = NDArray[np.float32]
FILE = POSE_LANDMARK.file
SCORE = -1


def assert_read_like_the_array_code(
    sayings: Sayings, sides: NDArray[np.int64], device_name: str, window: int = 7
) -> Values:
    expected = rows_of_arrays(sayings, sides, 0, window)
    assert_same_bits(expected, rows_of_kernels(sayings, sides, device_name, 0, window))
    return expected


@pytest.mark.parametrize("window", [7, 9])
def test_poses_are_those_of_the_array_code(window: int, device_name: str) -> None:
    sayings = plausible(5, seed=window)
    points = sayings[FILE][0].reshape(5, 39, 5)
    # Points at the edges of the heat map and outside of it.
    points[:, :8, 0] = [-9.0, -3.9, -0.0, 0.0, 3.9, 252.0, 255.9, 256.0]
    points[:, 8:16, 1] = points[:, :8, 0]
    rows = assert_read_like_the_array_code(sayings, some_sides(5, seed=1), device_name, window)
    assert np.isfinite(rows[:, 0]).sum() >= 3


def test_a_pose_at_the_threshold_is_missing_and_keeps_its_score(device_name: str) -> None:
    sayings = plausible(2, seed=2)
    sayings[FILE][1][:] = [[0.0], [1.0]]
    rows = assert_read_like_the_array_code(sayings, some_sides(2, seed=2), device_name)
    assert np.isnan(rows[0, :SCORE]).all()
    assert rows[0, SCORE] == 0.5
    assert np.isfinite(rows[1]).all()


def test_outputs_may_lie_in_memory_in_any_order(device_name: str) -> None:
    sayings = plausible(3, seed=4)
    expected = rows_of_kernels(sayings, some_sides(3, seed=4), device_name, 0)
    sayings[FILE] = [np.asfortranarray(values) for values in sayings[FILE]]
    assert_same_bits(expected, rows_of_kernels(sayings, some_sides(3, seed=4), device_name, 0))


def test_a_body_before_any_filter_is_that_of_the_array_code(device_name: str) -> None:
    sayings, sides = plausible(4, seed=3), some_sides(4, seed=3)
    sayings[FILE][1][1] = -2
    arrays, pipeline, frames = (
        array_pipeline(sayings),
        kernel_pipeline(sayings, device_name),
        frames_of(sides, device_name),
    )
    rois = np.random.default_rng(3).uniform(0.2, 0.8, (5, 4)).astype(np.float32)
    rois[:, 2] = math.nan
    body, score = arrays._body(Blind(sides), Rect(*torch.from_numpy(rois)))
    with patch.object(kernels, "cut_crops", no_crops):
        regions, output = pipeline._look_for_poses(frames, torch.from_numpy(rois).to(device_name))
    found = read_body(frames, regions, output, 7, 0.5).cpu().numpy()
    assert_same_bits(score.numpy(), found[:, BODY_COLUMNS.score])
    points = found[:, : BODY_COLUMNS.world].reshape(4, 35, 4)
    assert_same_bits(body.points.numpy(), points[:, :33])
    assert_same_bits(body.auxiliary.numpy(), points[:, 33:, :3])
    assert_same_bits(body.world.numpy(), found[:, BODY_COLUMNS.world : BODY_COLUMNS.score].reshape(4, 33, 3))
    assert np.isnan(found[:, 0]).tolist() == [False, True, True, False]


@triton.jit
def refine(x, y, heatmap, powers, found, points: tl.constexpr, cells: tl.constexpr, window: tl.constexpr):
    point = tl.arange(0, points)
    given = tl.load(x + point), tl.load(y + point)
    refined_x, refined_y = refine_by_heatmap(
        given[0], given[1], heatmap + point, point < points, cells * points, points, powers, cells, cells, window
    )
    tl.store(found + point, refined_x)
    tl.store(found + points + point, refined_y)


shares = st.floats(-0.125, 1.125, width=32) | st.just(math.nan)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(x=arrays(np.float32, 16, elements=shares), y=arrays(np.float32, 16, elements=shares), seed=st.integers(0, 99))
def test_the_heat_map_moves_points_as_it_does_with_numpy(x: Values, y: Values, seed: int, device_name: str) -> None:
    # Small enough that many windows reach beyond it, dark enough that some have nothing in them.
    heatmap = np.random.default_rng(seed).normal(-5, 2.5, (1, 12, 12, 16)).astype(np.float32)
    with np.errstate(all="ignore"):
        expected = np.concatenate(decoding.refine_by_heatmap(x[None], y[None], heatmap, 7))
    found = torch.empty((2, 16), device=device_name)
    given = {"x": x, "y": y, "heatmap": heatmap}
    arguments = {name: torch.from_numpy(values).to(device_name) for name, values in given.items()}
    arguments |= {"powers": powers_on(found.device), "found": found}
    launch(refine, (1,), arguments, {"points": 16, "cells": 12, "window": 7})
    assert_same_bits(expected, found.cpu().numpy())


SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, -1e-30, 1e30, 256.0, 255.99)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.tuples(st.integers(0, 194), st.sampled_from(SPECIAL)), max_size=30),
    cells=st.lists(st.tuples(st.integers(0, 63), st.integers(0, 63), st.sampled_from(SPECIAL)), max_size=30),
)
def test_whatever_a_network_says_is_read_as_the_array_code_reads_it(
    numbers: list[tuple[int, float]], cells: list[tuple[int, int, float]], device_name: str
) -> None:
    sayings = plausible(1, seed=2)
    landmarks, logit, heatmap, _ = sayings[FILE]
    logit[:] = 3
    for number, value in numbers:
        landmarks[0, number] = value
    for row, column, value in cells:
        heatmap[0, row, column] = value
    assert_read_like_the_array_code(sayings, some_sides(1, seed=2), device_name)
