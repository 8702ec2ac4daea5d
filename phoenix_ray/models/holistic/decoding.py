"""Decodes the networks' raw outputs: detections from boxes around anchors, and the pose refined by its heat map.

Functions of arrays take a leading batch axis (see `arrays`). Points are 0..1 in the network's input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.holistic.arrays import (
    Array,
    divide,
    indices,
    missing,
    namespace,
    shapes_are_fixed,
    sum_in_order,
)
from phoenix_ray.models.holistic.elementary import sigmoid

# Boxes that overlap the best box by more than this (intersection over union) belong to the same person:
# `min_suppression_threshold` of both detectors.
SAME_DETECTION_OVERLAP = 0.3
# A heat map whose window stays below this does not move its point: `min_confidence_to_refine`.
MIN_HEATMAP_CONFIDENCE = 0.5


def best_detection(regressors: Array, logits: Array, anchors: Array, input_size: int, min_score: float) -> Array:
    """Return the keypoints of the best detection, as MediaPipe's weighted suppression gives them first.

    The keypoints are the mean over all boxes that overlap the best box, weighted by score. Holistic uses only the first
    detection, so there is nothing to suppress.
    MediaPipe: TensorsToDetectionsCalculator, NonMaxSuppressionCalculator with `WEIGHTED`.

    Args:
        regressors: float32 (N, A, 4 + 2 K): centre, size and keypoints of each box, in pixels of the input relative to
            its anchor.
        logits: float32 (N, A).
        anchors: float32 (A, 2).
        input_size: Pixels per side of the network's input.
        min_score: Boxes with a lower score do not count.

    Returns:
        float32 (N, K, 2): keypoints, NaN where nothing was detected.
    """
    xp = namespace(regressors)
    # Where shapes may vary, only the few dozen of thousands of boxes are decoded that count in some image.
    if shapes_are_fixed(logits):
        chosen = indices(logits.shape[1], like=logits)
    else:
        # NaN does not count, and must not hide what another image has in the same box.
        highest = xp.max(xp.where(logits == logits, logits, -xp.inf), axis=0)
        chosen = xp.nonzero(sigmoid(highest) >= min_score)[0]
    batch, boxes = logits.shape[0], chosen.shape[0]
    if boxes == 0:
        return missing((batch, (regressors.shape[2] - 4) // 2, 2), regressors)
    score = sigmoid(xp.take(logits, chosen, axis=1))
    points = xp.reshape(divide(xp.take(regressors, chosen, axis=1), input_size), (batch, boxes, -1, 2))
    anchor = xp.take(anchors, chosen, axis=0)[None, :, None, :]
    center, extent, keypoints = points[:, :, 0:1, :] + anchor, points[:, :, 1:2, :], points[:, :, 2:, :] + anchor

    half = 0.5 * extent
    lowest = center - half
    extent = (center + half) - lowest
    counts = (score >= min_score) & xp.all(extent[:, :, 0, :] >= 0, axis=2)
    best = xp.argmax(xp.where(counts, score, -1.0), axis=1)
    is_best = indices(boxes, like=score)[None, :] == best[:, None]
    weight = xp.where(counts & (is_best | _overlaps(lowest, lowest + extent, is_best)), score, 0.0)

    # MediaPipe adds up the boxes from the best to the worst.
    order = xp.argsort(weight, axis=1, descending=True) + boxes * indices(batch, like=score)[:, None]
    order = xp.reshape(order, (-1,))
    weight = xp.reshape(xp.take(xp.reshape(weight, (-1,)), order), weight.shape)
    keypoints = xp.reshape(xp.take(xp.reshape(keypoints, (batch * boxes, -1)), order, axis=0), (batch, boxes, -1, 2))
    # A box without weight must add nothing, not even NaN: which boxes are decoded depends on the other images.
    weighted = xp.where(weight[:, :, None, None] > 0, keypoints * weight[:, :, None, None], 0.0)
    weighted = xp.reshape(weighted, (batch, boxes, -1))
    sums = sum_in_order(xp.concat([weight[:, :, None], weighted], axis=2))
    total = sums[:, :1]
    return xp.reshape(sums[:, 1:] / xp.where(total > 0, total, xp.nan), (batch, -1, 2))


def _overlaps(lowest: Array, highest: Array, is_best: Array) -> Array:
    """Return a bool array (N, C): boxes with corners (N, C, 1, 2) that overlap the best box of their image."""
    xp = namespace(lowest)
    best = is_best[:, :, None, None]
    best_lowest = xp.sum(xp.where(best, lowest, 0.0), axis=1, keepdims=True)
    best_highest = xp.sum(xp.where(best, highest, 0.0), axis=1, keepdims=True)
    shared = xp.minimum(highest, best_highest) - xp.maximum(lowest, best_lowest)
    shared = xp.prod(xp.where(shared > 0, shared, 0.0), axis=3)
    area, best_area = xp.prod(highest - lowest, axis=3), xp.prod(best_highest - best_lowest, axis=3)
    union = area + best_area - shared
    return (shared / xp.where(union > 0, union, 1.0) > SAME_DETECTION_OVERLAP)[:, :, 0]


def refine_by_heatmap(x: Array, y: Array, heatmap: Array, kernel: int) -> tuple[Array, Array]:
    """Return points moved to the centre of mass of their heat map in a window around them.

    A point stays where it is if it lies outside of the map, or if no cell of its window reaches
    `MIN_HEATMAP_CONFIDENCE`. A cell's place is its index, without the half cell to its centre. MediaPipe:
    RefineLandmarksFromHeatmapCalculator.

    Args:
        x: float32 (N, K).
        y: float32 (N, K).
        heatmap: float32 (N, rows, columns, K): logits.
        kernel: Cells per side of the window, odd.
    """
    xp = namespace(heatmap)
    batch, rows, columns, points = heatmap.shape
    column, row = xp.astype(x * columns, xp.int64), xp.astype(y * rows, xp.int64)
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)

    window = indices(kernel, like=x) - kernel // 2
    window_columns = column[:, :, None, None] + window[None, None, None, :]
    window_rows = row[:, :, None, None] + window[None, None, :, None]
    column_exists = (window_columns >= 0) & (window_columns < columns)
    row_exists = (window_rows >= 0) & (window_rows < rows)
    cell = xp.where(row_exists, window_rows, 0) * columns + xp.where(column_exists, window_columns, 0)
    frame = indices(batch, like=x)[:, None, None, None] * (rows * columns)
    value = (frame + cell) * points + indices(points, like=x)[None, :, None, None]
    logit = xp.reshape(xp.take(xp.reshape(heatmap, (-1,)), xp.reshape(value, (-1,))), value.shape)
    confidence = xp.where(column_exists & row_exists, sigmoid(logit), 0.0)

    by_column = confidence * xp.astype(window_columns, confidence.dtype)
    by_row = confidence * xp.astype(window_rows, confidence.dtype)
    cells = xp.stack([confidence, by_column, by_row], axis=-1)
    totals = xp.reshape(sum_in_order(xp.reshape(cells, (batch * points, kernel * kernel, 3))), (batch, points, 3))

    refined = inside & (xp.max(confidence, axis=(2, 3)) >= MIN_HEATMAP_CONFIDENCE)
    weight = xp.where(refined, totals[:, :, 0], 1.0)
    column_mean = divide(totals[:, :, 1], columns) / weight
    row_mean = divide(totals[:, :, 2], rows) / weight
    return xp.where(refined, column_mean, x), xp.where(refined, row_mean, y)


def grid_anchors(cells_and_repeats: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    """Return anchor centres, the points that a detector's outputs are offsets from.

    MediaPipe: SsdAnchorsCalculator with `fixed_anchor_size`.

    Args:
        cells_and_repeats: For each feature map, from fine to coarse, its cells per side and the anchors per cell.

    Returns:
        float32 (anchors, 2): x, y of each centre, 0..1 in the detector's square input; row by row, each centre repeated
        for the anchors of its cell.
    """
    return np.concatenate([np.repeat(_cell_centres(cells), repeats, axis=0) for cells, repeats in cells_and_repeats])


def _cell_centres(cells: int) -> NDArray[np.float32]:
    centre = (np.arange(cells, dtype=np.float32) + np.float32(0.5)) / np.float32(cells)
    y, x = np.meshgrid(centre, centre, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=-1)


# Input 224, strides 8, 16 and three times 32, two anchors a cell and stride.
POSE_ANCHORS = grid_anchors([(28, 2), (14, 2), (7, 6)])
# Input 128, strides 8 and three times 16, two anchors a cell and stride.
FACE_ANCHORS = grid_anchors([(16, 2), (8, 6)])
