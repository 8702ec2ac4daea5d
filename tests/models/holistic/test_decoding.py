from __future__ import annotations

import numpy as np
import pytest

from phoenix_ray.models.holistic.decoding import (
    FACE_ANCHORS,
    POSE_ANCHORS,
    best_detection,
    grid_anchors,
    refine_by_heatmap,
)
from tests.models.holistic.floats import float32

INPUT = 128
NO, FAINT, SURE = -20.0, 0.5, 4.0


class Boxes:
    """Raw output of a detector, filled box by box."""

    def __init__(self, images: int = 1) -> None:
        self.regressors = np.zeros((images, len(FACE_ANCHORS), 4 + 2 * 2), dtype=np.float32)
        self.logits = np.full((images, len(FACE_ANCHORS)), NO, dtype=np.float32)

    def put(self, index: int, center: tuple[float, float], side: float, logit: float, image: int = 0) -> None:
        offset = (float32(center) - FACE_ANCHORS[index]) * INPUT
        self.regressors[image, index] = [*offset, side * INPUT, side * INPUT, *offset, *(offset + side * INPUT)]
        self.logits[image, index] = logit

    def best(self) -> np.ndarray:
        result: np.ndarray = best_detection(self.regressors, self.logits, FACE_ANCHORS, INPUT, 0.5)
        return result


def test_nothing_above_the_minimum_is_nan() -> None:
    boxes = Boxes(images=2)
    boxes.put(100, (0.5, 0.5), 0.2, -0.1)
    assert boxes.best().shape == (2, 2, 2)
    assert np.isnan(boxes.best()).all()


def test_a_lone_box_gives_its_keypoints() -> None:
    boxes = Boxes()
    boxes.put(100, (0.5, 0.25), 0.2, SURE)
    np.testing.assert_allclose(boxes.best(), [[[0.5, 0.25], [0.7, 0.45]]], rtol=1e-5)


def test_overlapping_boxes_are_averaged_by_score_and_others_are_not() -> None:
    boxes = Boxes()
    boxes.put(100, (0.50, 0.5), 0.2, SURE)
    boxes.put(101, (0.52, 0.5), 0.2, FAINT)
    boxes.put(500, (0.90, 0.9), 0.2, SURE - 0.1)
    high, low = (1 / (1 + np.exp(-logit)) for logit in (SURE, FAINT))
    expected = (0.50 * high + 0.52 * low) / (high + low)
    np.testing.assert_allclose(boxes.best()[0, 0], [expected, 0.5], rtol=1e-5)


def test_a_box_of_negative_size_does_not_count_however_sure() -> None:
    boxes = Boxes()
    boxes.put(100, (0.5, 0.5), -0.2, SURE)
    assert np.isnan(boxes.best()).all()
    boxes.put(500, (0.8, 0.8), 0.1, FAINT)
    np.testing.assert_allclose(boxes.best()[0, 0], [0.8, 0.8], rtol=1e-5)


def test_a_best_box_without_area_still_counts_itself() -> None:
    boxes = Boxes()
    boxes.put(100, (0.5, 0.5), 0.0, SURE)
    np.testing.assert_allclose(boxes.best()[0, 0], [0.5, 0.5], rtol=1e-5)


@pytest.mark.parametrize("hostile", [np.nan, np.inf])
def test_an_image_of_which_a_network_says_nonsense_hides_nothing_in_another(hostile: float) -> None:
    alone, together = Boxes(), Boxes(images=2)
    for boxes in (alone, together):
        boxes.put(100, (0.5, 0.5), 0.3, SURE)
    together.put(100, (0.5, 0.5), 0.3, np.nan, image=1)
    together.regressors[0, 500] = hostile
    together.put(500, (0.2, 0.2), 0.3, SURE, image=1)
    alone.regressors[0, 500] = hostile
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(together.best()[0], alone.best()[0])
    assert np.isfinite(alone.best()).all()


def test_images_of_a_batch_do_not_see_each_other() -> None:
    together = Boxes(images=3)
    alone = []
    for image, (index, center) in enumerate([(100, (0.5, 0.5)), (200, (0.2, 0.6))]):
        single = Boxes()
        for boxes, place in ((together, image), (single, 0)):
            boxes.put(index, center, 0.3, SURE, image=place)
            boxes.put(index + 1, (center[0] + 0.01, center[1]), 0.3, FAINT, image=place)
        alone.append(single.best()[0])
    best = together.best()
    np.testing.assert_array_equal(best[:2], alone)
    assert np.isnan(best[2]).all()


def heatmap_with(*peaks: tuple[int, int]) -> np.ndarray:
    heatmap = np.full((1, 64, 64, 1), -30.0, dtype=np.float32)
    for row, column in peaks:
        heatmap[0, row, column, 0] = 10.0
    return heatmap


@pytest.mark.parametrize("kernel", [7, 9])
def test_a_point_moves_to_the_peak_in_its_window(kernel: int) -> None:
    x, y = refine_by_heatmap(float32([[0.5]]), float32([[0.5]]), heatmap_with((30, 34)), kernel)
    np.testing.assert_allclose([x, y], [[[34 / 64]], [[30 / 64]]], rtol=1e-6)


def test_a_wider_kernel_sees_a_peak_that_a_narrower_one_does_not() -> None:
    point, heatmap = float32([[0.5]]), heatmap_with((32, 28))
    assert refine_by_heatmap(point, point, heatmap, 7)[0] == 0.5
    np.testing.assert_allclose(refine_by_heatmap(point, point, heatmap, 9)[0], 28 / 64, rtol=1e-6)


def test_a_faint_window_leaves_the_point() -> None:
    point = float32([[0.3]])
    x, y = refine_by_heatmap(point, point, np.full((1, 64, 64, 1), -0.01, dtype=np.float32), 9)
    assert (x, y) == (point, point)


@pytest.mark.parametrize("outside", [-0.02, 1.0, 7.5])
def test_a_point_outside_of_the_map_stays(outside: float) -> None:
    x, y = refine_by_heatmap(float32([[outside]]), float32([[0.5]]), np.full((1, 64, 64, 1), 5, np.float32), 9)
    assert (x, y) == (np.float32(outside), 0.5)


def test_a_point_just_left_of_the_map_is_truncated_into_it() -> None:
    x, _ = refine_by_heatmap(float32([[-0.01]]), float32([[0.5]]), heatmap_with((32, 2)), 9)
    np.testing.assert_allclose(x, 2 / 64, rtol=1e-6)


def test_the_window_ends_at_the_border_of_the_map() -> None:
    corner = float32([[0.0]])
    x, y = refine_by_heatmap(corner, corner, np.full((1, 64, 64, 1), 5, dtype=np.float32), 9)
    np.testing.assert_allclose([x, y], 2 / 64, rtol=1e-6)


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
