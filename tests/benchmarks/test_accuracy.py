from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.accuracy.suite import Change, judge, measure
from benchmarks.accuracy.true_joints import Offsets, TrueJoints, errors, part_sizes
from phoenix_ray.layouts import Layout, Part
from phoenix_ray.layouts.mediapipe import HAND_POINTS
from phoenix_ray.models.base import LandmarkBatch

SIZE = (210, 260)
LAYOUT = Layout("hands", tuple(Part(name, HAND_POINTS, ("x", "y", "z")) for name in ("left_hand", "right_hand")))
NAMES = tuple(f"{part.name}/{point}" for part in LAYOUT.parts for point in part.points)


def moving_hands(split: str, seed: int, frames: int = 12) -> TrueJoints:
    """Return two hands that turn and grow from frame to frame, each of the same shape throughout."""
    random = np.random.default_rng(seed)
    shapes = random.uniform(-30, 30, (2, len(HAND_POINTS), 2))
    angles, scales = random.uniform(0, 2 * np.pi, (frames, 2)), random.uniform(0.6, 1.4, (frames, 2))
    turns = np.array([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]) * scales
    hands = np.einsum("xyfh,hpy->fhpx", turns, shapes) + random.uniform(90, 120, (frames, 2, 1, 2))
    return TrueJoints(f"hands-{seed}", split, "", SIZE, NAMES, hands.reshape(frames, -1, 2).astype(np.float32))


def landmarks_at(positions: NDArray[np.float32]) -> LandmarkBatch:
    """Return landmarks at pixel positions (frames, joints of both hands, 2)."""
    points = np.full((len(positions), len(NAMES), 3), 0.5, np.float32)
    points[:, :, :2] = positions / np.array(SIZE, np.float32)
    left, right = np.split(points, 2, axis=1)
    return LandmarkBatch({"left_hand": left, "right_hand": right}, {})


class Marker:
    """A model that finds hands at given places, whatever the frames show."""

    layout = LAYOUT
    batch_size = 4

    def __init__(self, *videos: NDArray[np.float32]) -> None:
        self._rows = iter(np.concatenate(videos))

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        return landmarks_at(np.array([next(self._rows) for _ in images]))

    def close(self) -> None:
        pass


def at_the_palm(truth: TrueJoints, share: float) -> NDArray[np.float32]:
    """Return the joints moved along their palm, by a share of its length: another meaning of every point."""
    moved: NDArray[np.float32] = truth.positions.copy()
    for hand in ("left_hand", "right_hand"):
        palm = truth.joint(f"{hand}/middle_finger_mcp") - truth.joint(f"{hand}/wrist")
        joints = [truth.names.index(name) for name in truth.of_part(hand)]
        moved[:, joints] += share * palm[:, np.newaxis]
    return moved


def images(truth: TrueJoints) -> list[NDArray[np.uint8]]:
    return [np.zeros((SIZE[1], SIZE[0], 3), np.uint8) for _ in truth.positions]


def test_errors_are_pixels_of_the_frame() -> None:
    truth = moving_hands("test", 0)
    found = errors(truth, LAYOUT, landmarks_at(truth.positions + np.array([3, -4], np.float32)))
    assert set(found) == set(NAMES)
    for difference in found.values():
        np.testing.assert_allclose(difference, [[3, -4]] * len(difference), atol=1e-3)


def test_what_a_model_means_by_a_point_is_no_error() -> None:
    train, test = moving_hands("train", 1), moving_hands("test", 2)
    model = Marker(at_the_palm(train, 0.2), at_the_palm(test, 0.2))
    measured, offsets = measure(model, [(train, images(train)), (test, images(test))])
    parts = judge(measured[1:])
    assert parts["left_hand"].raw > 2
    assert parts["left_hand"].median == pytest.approx(0, abs=0.01)
    np.testing.assert_allclose(offsets.shares["hand/thumb_tip"], [0.2, 0], atol=1e-3)


def test_a_change_of_place_that_does_not_turn_with_the_hand_is_an_error() -> None:
    train, test = moving_hands("train", 1, 60), moving_hands("test", 2, 60)
    aside = np.array([6, 0], np.float32)
    model = Marker(train.positions + aside, test.positions + aside)
    parts = judge(measure(model, [(train, images(train)), (test, images(test))])[0][1:])
    assert parts["right_hand"].median == pytest.approx(6, abs=1.5)


def test_a_part_that_is_not_found_counts_as_wrong() -> None:
    train, test = moving_hands("train", 1), moving_hands("test", 2)
    blind = test.positions.copy()
    blind[::2] = np.nan
    model = Marker(train.positions, blind)
    parts = judge(measure(model, [(train, images(train)), (test, images(test))])[0][1:])
    assert parts["left_hand"].found == parts["left_hand"].correct == 0.5
    assert parts["left_hand"].median == pytest.approx(0, abs=0.01)


def test_frames_with_a_hand_out_of_the_picture_do_not_count_for_that_hand() -> None:
    train, test = moving_hands("train", 1), moving_hands("test", 2)
    test.positions[:5, NAMES.index("left_hand/pinky_tip")] = -1
    model = Marker(train.positions, test.positions)
    parts = judge(measure(model, [(train, images(train)), (test, images(test))])[0][1:])
    assert (parts["left_hand"].frames, parts["right_hand"].frames) == (7, 12)


def test_the_size_of_a_hand_is_the_longer_side_of_its_box() -> None:
    truth = moving_hands("test", 3)
    joints = truth.positions[:, : len(HAND_POINTS)]
    expected = np.maximum(np.ptp(joints[:, :, 0], axis=1), np.ptp(joints[:, :, 1], axis=1))
    np.testing.assert_allclose(part_sizes(truth, "left_hand"), expected)


def test_offsets_of_one_figure_fit_both_hands() -> None:
    truth = moving_hands("train", 4)
    offsets = Offsets.measure([(truth, errors(truth, LAYOUT, landmarks_at(at_the_palm(truth, 0.1))))])
    assert len(offsets.shares) == len(HAND_POINTS)


def test_a_change_scales_and_blurs() -> None:
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    image[:, 100] = 255
    assert Change(scale=0.5).apply(image).shape == (130, 105, 3)
    assert np.count_nonzero(Change(blur=5).apply(image)[0, :, 0]) == 5
    assert Change().apply(image) is image
