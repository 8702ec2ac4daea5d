"""ROIs of the frame before, and the choice between them and new ones, in kernels: the bits of the array code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray.models.holistic import tracking
from phoenix_ray.models.holistic.geometry import ImageSize, Rect
from phoenix_ray.models.holistic.torch_engine.kernels import tracked_regions
from phoenix_ray.models.holistic.torch_engine.rows import RowColumns
from phoenix_ray.models.holistic.tracking import FACE_NEARNESS, HAND_NEARNESS, HAND_POINTS, Memory, choose_roi
from tests.models.holistic.torch_engine.kernels.saying_networks import frames_of
from tests.models.holistic.torch_engine.kernels.test_elementary import assert_same_bits
from tests.models.holistic.torch_engine.kernels.test_tracked_pose import as_sizes, sizes_of

FloatArray = NDArray[np.float32]


def states_of(count: int, face_points: int, random: np.random.Generator) -> FloatArray:
    """Random states: hands and faces of all sizes and angles, also outside of the frame; a fifth of them missing."""
    states = random.normal(0, 1, (count, Memory.numbers(face_points))).astype(np.float32)
    memory = Memory.from_rows(states, face_points)
    for points in (memory.left_hand, memory.right_hand, memory.face):
        center = random.uniform(-0.3, 1.1, (count, 1, 2))
        size = np.exp(random.uniform(-4, 0, (count, 1, 1)))
        points[:] = center + size * random.normal(0, 0.3, points.shape)
        points[random.random(count) < 0.2] = math.nan
    return states


def near(rois: Rect, random: np.random.Generator) -> FloatArray:
    """Return ROIs (5, M) about as far from those given as is near enough to keep them, some as near as can be."""
    values = np.stack(rois)
    found = values + np.concatenate(
        [
            values[2:4] * random.normal(0, 0.07, (2, values.shape[1])),
            values[2:4] * random.normal(0, 0.2, (2, values.shape[1])),
            random.normal(0, 0.2, (1, values.shape[1]))
            + random.choice([0, 2 * math.pi, -2 * math.pi], (1, values.shape[1])),
        ]
    )
    found[2:4] *= random.choice([1, 1.3], values.shape[1])
    missing = random.random(values.shape[1]) < 0.1
    alone = random.random(values.shape[1]) < 0.2
    found[:, alone] = np.abs(random.normal(0.4, 0.2, (5, np.count_nonzero(alone))))
    found[:, missing] = math.nan
    return np.asarray(found, np.float32)


def twice(sizes: NDArray[np.int64]) -> ImageSize:
    return as_sizes(np.concatenate([sizes, sizes], axis=1))


def test_a_hands_roi_is_kept_or_found_anew_with_the_bits_of_the_array_code(device_name: str) -> None:
    random = np.random.default_rng(8)
    states, sizes = states_of(30, 468, random), sizes_of(30, random)
    memory = Memory.from_rows(states, 468)
    hands = np.concatenate([memory.left_hand, memory.right_hand])
    with np.errstate(all="ignore"):
        previous = tracking.previous_hand_roi(hands, twice(sizes))
        found = near(previous, random)
        expected = np.stack(choose_roi(Rect(*found), previous, hands, twice(sizes), HAND_NEARNESS))
    kept = (expected == np.stack(previous)).all(axis=0)
    assert 0.1 < kept.mean() < 0.7
    chosen = tracked_regions.tracked_hand_rois(
        frames_of(sizes, device_name), torch.from_numpy(states).to(device_name), torch.from_numpy(found).to(device_name)
    )
    assert_same_bits(expected, chosen.cpu().numpy())


def test_a_fingertip_at_the_limit_of_a_roi_counts_as_in_the_array_code(device_name: str) -> None:
    count, random = 24, np.random.default_rng(12)
    sizes = np.tile(sizes_of(1, random), (1, count))
    hand = np.tile(0.5 + random.normal(0, 0.03, (1, HAND_POINTS, 2)), (count, 1, 1)).astype(np.float32)
    previous, size = tracking.previous_hand_roi(hand, as_sizes(sizes)), as_sizes(sizes)
    # The tip of the index finger does not belong to the palm, so it does not move the ROI.
    offset = 0.5 * HAND_NEARNESS.inner * previous.width * size.width * (1 + np.linspace(-4e-6, 4e-6, count))
    hand[:, 8, 0] = previous.center_x + offset * np.cos(previous.rotation) / size.width
    hand[:, 8, 1] = previous.center_y + offset * np.sin(previous.rotation) / size.height
    memory = Memory.from_rows(np.full((count, Memory.numbers(468)), math.nan, np.float32), 468)
    states = memory._replace(left_hand=hand).rows()
    # A hair's breadth beside it, so that it is seen which of the two is chosen.
    found = previous._replace(rotation=previous.rotation + np.float32(1e-6))
    expected = choose_roi(found, previous, hand, size, HAND_NEARNESS)
    kept = expected.rotation == previous.rotation
    assert kept.any()
    assert not kept.all()
    nothing = np.full((5, count), math.nan, np.float32)
    chosen = tracked_regions.tracked_hand_rois(
        frames_of(sizes, device_name),
        torch.from_numpy(states).to(device_name),
        torch.from_numpy(np.concatenate([np.stack(found), nothing], axis=1)).to(device_name),
    )
    assert_same_bits(np.concatenate([np.stack(expected), nothing], axis=1), chosen.cpu().numpy())


@pytest.mark.parametrize("face_points", [468, 478])
def test_a_faces_roi_is_kept_or_found_anew_with_the_bits_of_the_array_code(face_points: int, device_name: str) -> None:
    random = np.random.default_rng(9)
    states, sizes = states_of(30, face_points, random), sizes_of(30, random)
    face = Memory.from_rows(states, face_points).face
    # Within a narrower limit than that of hands, and with more points that may lie outside.
    face -= face.mean(axis=1, keepdims=True)
    face *= 0.3
    face += random.uniform(0, 1, (30, 1, 2))
    with np.errstate(all="ignore"):
        previous = tracking.previous_face_roi(face, as_sizes(sizes))
        found = near(previous, random)
        found[:2, :15] = np.stack(previous)[:2, :15]
        found[4, :22] = previous.rotation[:22]
        expected = np.stack(choose_roi(Rect(*found), previous, face, as_sizes(sizes), FACE_NEARNESS))
    kept = (expected == np.stack(previous)).all(axis=0)
    assert 0.1 < kept.mean() < 0.7
    chosen = tracked_regions.tracked_face_rois(
        frames_of(sizes, device_name),
        torch.from_numpy(states).to(device_name),
        torch.from_numpy(found).to(device_name),
        face_points,
    )
    assert_same_bits(expected, chosen.cpu().numpy())


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**16), count=st.integers(1, 4))
def test_where_hands_were_is_chosen_as_in_the_array_code_whatever_they_are(
    seed: int, count: int, device_name: str
) -> None:
    random = np.random.default_rng(seed)
    states, sizes = states_of(count, 468, random), sizes_of(count, random)
    memory = Memory.from_rows(states, 468)
    hands = np.concatenate([memory.left_hand, memory.right_hand])
    with np.errstate(all="ignore"):
        previous = tracking.previous_hand_roi(hands, twice(sizes))
        found = near(previous, random)
        expected = np.stack(choose_roi(Rect(*found), previous, hands, twice(sizes), HAND_NEARNESS))
    chosen = tracked_regions.tracked_hand_rois(
        frames_of(sizes, device_name), torch.from_numpy(states).to(device_name), torch.from_numpy(found).to(device_name)
    )
    assert_same_bits(expected, chosen.cpu().numpy())


def test_a_body_is_looked_for_where_it_was_and_else_where_it_is_found(device_name: str) -> None:
    random = np.random.default_rng(10)
    states, found = states_of(300, 0, random), random.uniform(0, 1, (5, 300)).astype(np.float32)
    states[10:20, :5] = math.nan
    states[20:30, 2] = 0
    states[30:40, 3] = -0.0
    found[:, 15:25] = math.nan
    tracked = (states[:, 2] > 0) & (states[:, 3] > 0)
    given = torch.from_numpy(states).to(device_name)
    chosen = tracked_regions.tracked_body_rois(given, torch.from_numpy(found).to(device_name))
    assert_same_bits(np.where(tracked, states[:, :5].T, found), chosen.cpu().numpy())
    assert_same_bits(states[:, :5].T.copy(), tracked_regions.tracked_body_rois(given, None).cpu().numpy())


@pytest.mark.parametrize("face_points", [468, 478])
def test_hands_and_face_are_remembered_and_nothing_else_is_written(face_points: int, device_name: str) -> None:
    columns, state_size = RowColumns.of_face(face_points), Memory.numbers(face_points)
    rows = np.random.default_rng(11).normal(0, 1, (3, columns.count + state_size)).astype(np.float32)
    rows[1, 300:] = math.nan
    expected = rows.copy()
    memory = Memory.from_rows(expected[:, columns.count :], face_points)
    for name, points in (("left_hand", HAND_POINTS), ("right_hand", HAND_POINTS), ("face", face_points)):
        first = columns.points[name]
        getattr(memory, name)[:] = rows[:, first : first + 3 * points].reshape(3, points, 3)[:, :, :2]
    expected[:, columns.count :] = memory.rows()
    found = torch.from_numpy(rows.copy()).to(device_name)
    tracked_regions.remember(found, columns.points["left_hand"], state_size, face_points)
    assert_same_bits(expected, found.cpu().numpy())
