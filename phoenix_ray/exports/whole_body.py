"""Pixels, confidences and COCO-WholeBody's 133 points of a video, for the formats that are made of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.coco_wholebody import HOLISTIC_POINTS
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, image_parts
from phoenix_ray.errors import ConfigError


def whole_body(video: VideoLandmarks, sizes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return x, y in pixels and a confidence, float32 (frames, 133, 3), all 0 where a point is missing.

    The confidence is the visibility of a point of the pose, and the presence score of the hand or face of any other; 1
    where the source records neither. Points may lie outside the picture (`within_picture`).

    Args:
        video: Holistic landmarks.
        sizes: int (frames, 2) or (1, 2): width and height that 1.0 becomes.
    """
    values = np.empty((len(video), len(HOLISTIC_POINTS), 3), np.float32)
    for column, (part, index) in enumerate(HOLISTIC_POINTS):
        values[:, column, :2] = video.points[part][:, index, :2].astype(np.float64) * sizes
        values[:, column, 2] = confidence(video, part)[:, index]
    return np.nan_to_num(values, nan=0.0)


def within_picture(points: NDArray[np.float32], sizes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return the points with those outside the picture as zeros, which means "not annotated" to COCO and OpenPose.

    Args:
        points: float32 (frames, points, 3): x, y in pixels and a confidence.
        sizes: int (frames, 2): width and height of each frame.
    """
    inside = np.all((points[:, :, :2] >= 0) & (points[:, :, :2] < sizes[:, np.newaxis]), axis=2, keepdims=True)
    return np.where(inside, points, np.float32(0))


def confidence(video: VideoLandmarks, part: str) -> NDArray[np.float32]:
    """Return the confidence of each point, float32 (frames, points), 0 where the point is missing."""
    points, axes = video.points[part], video.layout.part(part).axes
    if "visibility" in axes:
        given = points[:, :, axes.index("visibility")]
    else:
        given = np.repeat(np.nan_to_num(video.scores[part], nan=1.0)[:, np.newaxis], points.shape[1], axis=1)
    return np.where(np.isnan(points[:, :, 0]), 0, given).astype(np.float32)


def pixel_sizes(video: VideoLandmarks) -> NDArray[np.int32]:
    """Return the width and height of each frame, int32 (frames, 2).

    Raises:
        ConfigError: The size of a frame with landmarks is not known, so they cannot be given in pixels.
    """
    found = np.any([~np.isnan(video.points[part][:, :, 0]).all(axis=1) for part in image_parts(video.layout)], axis=0)
    unknown = np.flatnonzero(found & (video.sizes == 0).any(axis=1))
    if len(unknown):
        raise ConfigError(
            f"{video.split}/{video.video_id}: the size of frame {video.frame_index[unknown[0]]} is not known, so its "
            "landmarks cannot be given in pixels. The formats pickle, npz, csv, kaggle, fingerspelling and webdataset "
            "need no sizes."
        )
    return video.sizes


def shortest_decimals(values: NDArray[np.float32]) -> list[float]:
    """Return the values, flattened, as floats that JSON spells with the fewest digits that give the same float32."""
    return [float(text) for text in values.ravel().astype(np.str_)]
