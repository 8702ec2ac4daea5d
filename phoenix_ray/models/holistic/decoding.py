"""What the networks' raw outputs mean: detections and the pose refined by its heat map.

All functions work on arrays with a leading batch axis (see `arrays`). Points are 0..1 in the network's input.
"""

from __future__ import annotations

from array_api_compat import array_namespace

from phoenix_ray.models.holistic.arrays import Array, sigmoid

# Boxes that overlap the best one by more than this (intersection over union) say the same person:
# `min_suppression_threshold` of both detectors.
SAME_DETECTION_OVERLAP = 0.3
# Heat maps whose window stays below this say nothing about their point: `min_confidence_to_refine`.
MIN_HEATMAP_CONFIDENCE = 0.5


def best_detection(regressors: Array, logits: Array, anchors: Array, input_size: int, min_score: float) -> Array:
    """Return the keypoints of the best detection, as weighted non-maximum suppression gives them first.

    The keypoints are the mean over all boxes that overlap the best one, weighted by score. MediaPipe's
    TensorsToDetectionsCalculator and NonMaxSuppressionCalculator (`WEIGHTED`); Holistic uses the first result only, so
    nothing needs to be sorted or suppressed.

    Args:
        regressors: float32 (N, A, 4 + 2 K): centre, size and keypoints of each box, in pixels of the input from the
            anchor.
        logits: float32 (N, A).
        anchors: float32 (A, 2).
        input_size: Pixels per side of the network's input.
        min_score: Boxes with a lower score do not count.

    Returns:
        float32 (N, K, 2): keypoints, NaN where nothing was detected.
    """
    xp = array_namespace(regressors)
    score = sigmoid(logits)
    center_x = regressors[:, :, 0] / input_size + anchors[:, 0]
    center_y = regressors[:, :, 1] / input_size + anchors[:, 1]
    width, height = regressors[:, :, 2] / input_size, regressors[:, :, 3] / input_size
    counts = (score >= min_score) & (width >= 0) & (height >= 0)
    best = xp.argmax(xp.where(counts, score, -1.0), axis=1)[:, None]
    is_best = xp.arange(score.shape[1])[None, :] == best

    left, right = center_x - width / 2, center_x + width / 2
    top, bottom = center_y - height / 2, center_y + height / 2
    shared_width = xp.minimum(right, _at(right, best)) - xp.maximum(left, _at(left, best))
    shared_height = xp.minimum(bottom, _at(bottom, best)) - xp.maximum(top, _at(top, best))
    shared = xp.where((shared_width > 0) & (shared_height > 0), shared_width * shared_height, 0.0)
    area = width * height
    overlaps = shared > SAME_DETECTION_OVERLAP * (area + _at(area, best) - shared)

    weight = xp.where(counts & (overlaps | is_best), score, 0.0)
    offsets = xp.reshape(regressors[:, :, 4:], (*score.shape, -1, 2)) / input_size
    keypoints = xp.sum(weight[:, :, None, None] * (offsets + anchors[None, :, None, :]), axis=1)
    total = xp.where(xp.any(counts, axis=1), xp.sum(weight, axis=1), xp.nan)
    return keypoints / total[:, None, None]


def refine_by_heatmap(x: Array, y: Array, heatmap: Array, kernel: int) -> tuple[Array, Array]:
    """Return points moved to the centre of mass of their heat map in a window around them.

    MediaPipe's RefineLandmarksFromHeatmapCalculator. A point stays where it is outside of the map, or where no cell of
    its window reaches `MIN_HEATMAP_CONFIDENCE`. A cell's place is its index, without the half cell to its centre.

    Args:
        x: float32 (N, K).
        y: float32 (N, K).
        heatmap: float32 (N, rows, columns, K): logits.
        kernel: Cells per side of the window, odd.
    """
    xp = array_namespace(heatmap)
    batch, rows, columns, points = heatmap.shape
    column, row = xp.astype(x * columns, xp.int64), xp.astype(y * rows, xp.int64)
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)

    window = xp.arange(kernel) - kernel // 2
    window_columns = column[:, :, None, None] + window[None, None, None, :]
    window_rows = row[:, :, None, None] + window[None, None, :, None]
    column_exists = (window_columns >= 0) & (window_columns < columns)
    row_exists = (window_rows >= 0) & (window_rows < rows)
    cell = xp.where(row_exists, window_rows, 0) * columns + xp.where(column_exists, window_columns, 0)
    frame = xp.arange(batch)[:, None, None, None] * (rows * columns)
    value = (frame + cell) * points + xp.arange(points)[None, :, None, None]
    logit = xp.reshape(xp.take(xp.reshape(heatmap, (-1,)), xp.reshape(value, (-1,))), value.shape)
    confidence = xp.where(column_exists & row_exists, sigmoid(logit), 0.0)

    refined = inside & (xp.max(confidence, axis=(2, 3)) >= MIN_HEATMAP_CONFIDENCE)
    total = xp.where(refined, xp.sum(confidence, axis=(2, 3)), 1.0)
    column_sum = xp.sum(confidence * xp.astype(window_columns, confidence.dtype), axis=(2, 3))
    row_sum = xp.sum(confidence * xp.astype(window_rows, confidence.dtype), axis=(2, 3))
    return (
        xp.where(refined, column_sum / columns / total, x),
        xp.where(refined, row_sum / rows / total, y),
    )


def _at(values: Array, column: Array) -> Array:
    """Return values[n, column[n]] of values (N, A), column (N, 1), as (N, 1)."""
    xp = array_namespace(values)
    rows, columns = values.shape
    return xp.take(xp.reshape(values, (-1,)), xp.arange(rows) * columns + column[:, 0])[:, None]
