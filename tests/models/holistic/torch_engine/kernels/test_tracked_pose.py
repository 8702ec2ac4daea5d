"""The pose through its filters in a kernel: the bits of the array code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray.models.holistic import tracking
from phoenix_ray.models.holistic.geometry import ImageSize
from phoenix_ray.models.holistic.torch_engine.kernels import tracked_pose
from phoenix_ray.models.holistic.torch_engine.kernels.pose import PoseColumns
from phoenix_ray.models.holistic.torch_engine.rows import RowColumns
from phoenix_ray.models.holistic.tracking import AUXILIARY_POINTS, POSE_POINTS, Body, Memory
from tests.models.holistic.torch_engine.kernels.saying_networks import frames_of
from tests.models.holistic.torch_engine.kernels.test_elementary import assert_same_bits

FloatArray = NDArray[np.float32]


def sizes_of(count: int, random: np.random.Generator) -> NDArray[np.int64]:
    return random.integers(50, 900, (2, count))


def as_sizes(sizes: NDArray[np.int64]) -> ImageSize:
    return ImageSize(*sizes.astype(np.float32))


def bodies(count: int, random: np.random.Generator, missing: NDArray[np.bool_]) -> Body:
    """Random poses; the first has auxiliary points in one place, so that it is too small to be smoothed."""
    points = random.uniform(-0.2, 1.2, (count, POSE_POINTS, 4)).astype(np.float32)
    auxiliary = random.uniform(0, 1, (count, AUXILIARY_POINTS, 3)).astype(np.float32)
    auxiliary[0, 1] = auxiliary[0, 0]
    world = random.normal(0, 0.6, (count, POSE_POINTS, 3)).astype(np.float32)
    for values in (points, auxiliary, world):
        values[missing] = math.nan
    return Body(points, auxiliary, world)


def in_a_kernel(
    body: Body, states: FloatArray, sizes: NDArray[np.int64], face_points: int, device_name: str, *, smooth: bool
) -> tuple[FloatArray, FloatArray]:
    """Return pose and world coordinates in a row, and the states up to the hands."""
    count, columns = len(states), RowColumns.of_face(face_points)
    scores = np.arange(count, dtype=np.float32)[:, None]
    auxiliary = np.concatenate([body.auxiliary, body.auxiliary[:, :, :1]], axis=2)
    parts = (body.points, auxiliary, body.world, scores)
    numbers = np.concatenate([part.reshape(count, -1) for part in parts], axis=1)
    rows = torch.full((count, columns.count + states.shape[1]), 7.0, device=device_name)
    tracked_pose.filter_bodies(
        frames_of(sizes, device_name),
        torch.from_numpy(numbers).to(device_name),
        torch.from_numpy(states).to(device_name),
        rows,
        PoseColumns(columns.points["pose"], columns.points["pose_world"], columns.score["pose"]),
        smooth=smooth,
    )
    table: FloatArray = rows.cpu().numpy()
    landmarks, memory = np.split(table, [columns.count], axis=1)
    memory, others = np.split(memory, [Memory.numbers(0)], axis=1)
    pose, parts_and_scores = np.split(landmarks, [7 * POSE_POINTS], axis=1)
    np.testing.assert_array_equal(landmarks[:, columns.score["pose"], None], scores)
    assert np.count_nonzero(parts_and_scores == 7) >= count * (columns.count - 7 * POSE_POINTS - 1)
    assert (others == 7).all()
    return pose.copy(), memory.copy()


def in_arrays(
    body: Body, states: FloatArray, sizes: NDArray[np.int64], face_points: int, *, smooth: bool
) -> tuple[FloatArray, FloatArray]:
    with np.errstate(all="ignore"):
        body, memory = tracking.filter_body(body, Memory.from_rows(states, face_points), as_sizes(sizes), smooth=smooth)
    count = len(states)
    return np.concatenate([body.points.reshape(count, -1), body.world.reshape(count, -1)], axis=1), memory.rows()


@pytest.mark.parametrize("face_points", [0, 468])
@pytest.mark.parametrize("smooth", [True, False])
def test_a_filtered_pose_and_its_state_have_the_bits_of_the_array_code(
    smooth: bool, face_points: int, device_name: str
) -> None:
    count, random = 12, np.random.default_rng(6)
    states = random.normal(0, 30, (count, Memory.numbers(face_points))).astype(np.float32)
    memory = Memory.from_rows(states, face_points)
    for state in (memory.pose, memory.auxiliary, memory.world):
        state.age[:] = random.integers(0, 9, count)
        # What was fed and what came of it lie near each other, and near what comes.
        state.raw[:] = random.uniform(0, 200, state.raw.shape)
        state.smoothed[:] = state.raw + random.normal(0, 1, state.raw.shape)
    states = memory.rows()
    states[3] = math.nan
    sizes, body = sizes_of(count, random), bodies(count, random, np.arange(count) % 5 == 4)
    expected, after = in_arrays(body, states, sizes, face_points, smooth=smooth)
    found, memory_after = in_a_kernel(body, states, sizes, face_points, device_name, smooth=smooth)
    assert_same_bits(expected, found)
    assert_same_bits(after[:, : Memory.numbers(0)].copy(), memory_after)


@pytest.mark.parametrize("smooth", [True, False])
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    found=st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=2, max_size=7),
    seed=st.integers(0, 2**16),
)
def test_videos_with_gaps_have_the_bits_of_the_array_code_in_every_frame(
    found: list[list[bool]], seed: int, smooth: bool, device_name: str
) -> None:
    random = np.random.default_rng(seed)
    sizes = sizes_of(3, random)
    states = np.full((3, Memory.numbers(0)), math.nan, np.float32)
    for presence in found:
        body = bodies(3, random, ~np.array(presence))
        expected, after = in_arrays(body, states, sizes, 0, smooth=smooth)
        rows, states = in_a_kernel(body, states, sizes, 0, device_name, smooth=smooth)
        assert_same_bits(expected, rows)
        assert_same_bits(after, states)
