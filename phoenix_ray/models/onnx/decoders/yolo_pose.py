"""YOLO-Pose: each anchor has a box, a score, and points with a visibility (YOLOv8-Pose, YOLO11-Pose)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.onnx.decoders.points import DecodedPoints
from phoenix_ray.models.onnx.manifest import YoloPoseDecoder

# Before the points: middle, width and height of the box, and its score.
SCORE, FIRST_POINT = 4, 5


def decode_yolo_pose(rows: NDArray[np.float32], decoder: YoloPoseDecoder) -> DecodedPoints:
    """Return the points of the anchor with the highest score, the first of equals.

    Non-maximum suppression keeps it in any case, so it is not computed. Ultralytics moves points outside of the picture
    to its edge (`scale_coords`).

    Args:
        rows: float32 (N, 5 + 3 * points, anchors): x and y of the box's middle, its width and height, its score; then
            x, y and visibility of each point. In pixels of the input; scores are probabilities.
        decoder: Lowest score of a person.
    """
    count = (rows.shape[1] - FIRST_POINT) // 3
    if not rows.shape[2]:
        nobody = np.full(len(rows), np.nan, np.float32)
        points = np.full((len(rows), count, 2), np.nan, np.float32)
        return DecodedPoints(points, np.zeros(points.shape[:2], np.float32), nobody, clipped=True)
    scores = rows[:, SCORE]
    best = scores.argmax(axis=1)
    person = np.take_along_axis(scores, best[:, np.newaxis], axis=1)[:, 0]
    points = np.take_along_axis(rows[:, FIRST_POINT:], best[:, np.newaxis, np.newaxis], axis=2)
    points = points.reshape(-1, count, 3)
    person = np.where(person > np.float32(decoder.min_score), person, np.float32(np.nan))
    return DecodedPoints(points[:, :, :2], points[:, :, 2], person, clipped=True)
