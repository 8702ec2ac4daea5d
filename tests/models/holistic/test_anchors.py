from __future__ import annotations

import numpy as np

from phoenix_ray.models.holistic.anchors import FACE_ANCHORS, POSE_ANCHORS, grid_anchors
from tests.models.holistic.floats import float32


def test_the_detectors_have_the_anchors_of_their_outputs() -> None:
    assert POSE_ANCHORS.shape == (2254, 2)
    assert FACE_ANCHORS.shape == (896, 2)
    assert POSE_ANCHORS.dtype == FACE_ANCHORS.dtype == np.float32


def test_anchors_are_cell_centres_row_by_row_each_repeated() -> None:
    anchors = grid_anchors([(2, 2), (1, 1)])
    expected = [(0.25, 0.25)] * 2 + [(0.75, 0.25)] * 2 + [(0.25, 0.75)] * 2 + [(0.75, 0.75)] * 2 + [(0.5, 0.5)]
    np.testing.assert_array_equal(anchors, np.array(expected, dtype=np.float32))


def test_the_first_and_last_anchor_lie_in_opposite_corners() -> None:
    np.testing.assert_array_equal(POSE_ANCHORS[0], float32([0.5 / 28, 0.5 / 28]))
    np.testing.assert_array_equal(POSE_ANCHORS[-1], float32([6.5 / 7, 6.5 / 7]))
    np.testing.assert_array_equal(FACE_ANCHORS[-1], float32([7.5 / 8, 7.5 / 8]))
