"""Faces found by the pose and read in kernels: the bits of the array code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phoenix_ray.models.holistic.networks import FACE_DETECTION, FACE_LANDMARK, POSE_LANDMARK
from phoenix_ray.models.holistic.torch_engine.rows import RowColumns
from tests.models.holistic.torch_engine.kernels.saying_networks import (
    Sayings,
    plausible,
    rows_of_arrays,
    rows_of_kernels,
    some_sides,
)
from tests.models.holistic.torch_engine.kernels.test_rectangles import assert_same_bits

COLUMNS = RowColumns.of_face(468)
FACE, SCORE = COLUMNS.points["face"], COLUMNS.score["face"]
MESH = FACE_LANDMARK[468].file


def people_with_faces(frames: int, seed: int) -> Sayings:
    sayings = plausible(frames, seed)
    sayings[POSE_LANDMARK.file][1][:] = 3
    sayings[MESH][1][:] = 2
    return sayings


def test_faces_are_those_of_the_array_code(device_name: str) -> None:
    sayings, sides = people_with_faces(3, seed=1), some_sides(3, seed=1)
    sayings[MESH] = [np.asfortranarray(values) for values in sayings[MESH]]
    rows = rows_of_kernels(sayings, sides, device_name)
    assert_same_bits(rows_of_arrays(sayings, sides), rows)
    assert np.isfinite(rows[:, FACE : FACE + 3 * 468]).all()


def test_a_face_at_the_threshold_is_missing_and_keeps_its_score_and_one_not_detected_has_none(device_name: str) -> None:
    sayings, sides = people_with_faces(3, seed=2), some_sides(3, seed=2)
    sayings[MESH][1][0] = 0
    sayings[FACE_DETECTION.file][1][1] = -9
    rows = rows_of_kernels(sayings, sides, device_name)
    assert_same_bits(rows_of_arrays(sayings, sides), rows)
    assert np.isnan(rows[:, FACE]).tolist() == [True, True, False]
    assert np.isnan(rows[:, SCORE]).tolist() == [False, True, False]


@pytest.mark.parametrize("offset", [-900, 900])
def test_a_face_outside_of_the_image_is_looked_for_as_the_array_code_does(offset: int, device_name: str) -> None:
    sayings, sides = people_with_faces(2, seed=3), some_sides(2, seed=3)
    sayings[POSE_LANDMARK.file][0].reshape(2, 39, 5)[:, :11, :2] += offset
    assert_same_bits(rows_of_arrays(sayings, sides), rows_of_kernels(sayings, sides, device_name))


SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e30, 96.0)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pose=st.lists(st.tuples(st.integers(0, 10), st.integers(0, 1), st.sampled_from(SPECIAL)), max_size=4),
    mesh=st.lists(st.tuples(st.integers(0, 1403), st.sampled_from(SPECIAL)), max_size=6),
)
def test_whatever_networks_say_is_read_as_the_array_code_reads_it(
    pose: list[tuple[int, int, float]], mesh: list[tuple[int, float]], device_name: str
) -> None:
    sayings, sides = people_with_faces(1, seed=5), some_sides(1, seed=5)
    for point, axis, value in pose:
        sayings[POSE_LANDMARK.file][0].reshape(39, 5)[point, axis] = value
    for number, value in mesh:
        sayings[MESH][0].reshape(-1)[number] = value
    assert_same_bits(rows_of_arrays(sayings, sides), rows_of_kernels(sayings, sides, device_name))
