"""Hands found by the pose and read in kernels: the bits of the array code."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phoenix_ray.models.holistic.networks import HAND_LANDMARK, HAND_RECROP, POSE_LANDMARK
from phoenix_ray.models.holistic.pipeline import LEFT_HAND, RIGHT_HAND
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
LEFT, RIGHT = COLUMNS.points["left_hand"], COLUMNS.points["right_hand"]
SCORES = [COLUMNS.score["left_hand"], COLUMNS.score["right_hand"]]


def people_with_hands(frames: int, seed: int) -> Sayings:
    """Everybody shows both hands."""
    sayings = plausible(frames, seed)
    sayings[POSE_LANDMARK.file][1][:] = 3
    points = sayings[POSE_LANDMARK.file][0].reshape(frames, 39, 5)
    points[:, [LEFT_HAND[0], RIGHT_HAND[0]], 3] = 4
    sayings[HAND_LANDMARK.file][1][:] = np.linspace(0.5, 3, 2 * frames)[:, None]
    return sayings


def test_hands_are_those_of_the_array_code_left_and_right(device_name: str) -> None:
    sayings, sides = people_with_hands(3, seed=1), some_sides(3, seed=1)
    sayings[HAND_RECROP.file] = [np.asfortranarray(values) for values in sayings[HAND_RECROP.file]]
    sayings[HAND_LANDMARK.file] = [np.asfortranarray(values) for values in sayings[HAND_LANDMARK.file]]
    expected = rows_of_arrays(sayings, sides)
    assert np.isfinite(expected[:, LEFT : RIGHT + 63]).all()
    assert_same_bits(expected, rows_of_kernels(sayings, sides, device_name))


def test_a_hidden_wrist_and_a_low_score_hide_a_hand_and_only_the_first_its_score(device_name: str) -> None:
    sayings, sides = people_with_hands(2, seed=2), some_sides(2, seed=2)
    points = sayings[POSE_LANDMARK.file][0].reshape(2, 39, 5)
    # Visibility 0.0998 and 0.1002.
    points[:, LEFT_HAND[0], 3] = [-2.2, -2.195]
    # Left, left, right, right.
    sayings[HAND_LANDMARK.file][1][:, 0] = [1, 1, 0, 1]
    rows = rows_of_kernels(sayings, sides, device_name)
    assert_same_bits(rows_of_arrays(sayings, sides), rows)
    assert np.isnan(rows[:, [LEFT, RIGHT]]).tolist() == [[True, True], [False, False]]
    assert np.isnan(rows[:, SCORES]).tolist() == [[True, False], [False, False]]


SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e30, 128.0)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    alignment=st.lists(st.tuples(st.integers(0, 7), st.sampled_from(SPECIAL)), max_size=4),
    hands=st.lists(st.tuples(st.integers(0, 125), st.sampled_from(SPECIAL)), max_size=6),
    pose=st.lists(st.tuples(st.sampled_from((*LEFT_HAND, *RIGHT_HAND)), st.sampled_from(SPECIAL)), max_size=3),
)
def test_whatever_networks_say_is_read_as_the_array_code_reads_it(
    alignment: list[tuple[int, float]], hands: list[tuple[int, float]], pose: list[tuple[int, float]], device_name: str
) -> None:
    sayings, sides = people_with_hands(1, seed=5), some_sides(1, seed=5)
    for number, value in alignment:
        sayings[HAND_RECROP.file][0].reshape(-1)[number] = value
    for number, value in hands:
        sayings[HAND_LANDMARK.file][0].reshape(-1)[number] = value
    for point, value in pose:
        sayings[POSE_LANDMARK.file][0].reshape(39, 5)[point, :2] = value
    assert_same_bits(rows_of_arrays(sayings, sides), rows_of_kernels(sayings, sides, device_name))
