"""Landmarks as rows of points in pixels with a confidence: what `coco`, `openpose`, `mska` and `twostream` write.

Points come from any layout by the correspondence with COCO-WholeBody's 133 points (`layouts.correspondence`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks, image_parts
from phoenix_ray.errors import ConfigError
from phoenix_ray.layouts import SEEN_FROM, Layout
from phoenix_ray.layouts.correspondence import Point, coco_133_points

# Presence scores of hands and faces are probabilities, as visibility is.
_SEEN_FROM_SCORE = SEEN_FROM["visibility"]


def whole_body(video: VideoLandmarks, sizes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return COCO-WholeBody's points, float32 (frames, 133, 3); see `pixel_points`."""
    return pixel_points(video, sizes, coco_133_points(video.layout))


def pixel_points(
    video: VideoLandmarks, sizes: NDArray[np.int32], points: Sequence[Point | None]
) -> NDArray[np.float32]:
    """Return x, y in pixels and a confidence, float32 (frames, points, 3), all 0 where a point is missing.

    The confidence is that of the point where the layout has one, in the units of its network; MediaPipe's visibility;
    or the presence score of the part (`confidence`). Points may lie outside the picture (`within_picture`).

    Args:
        video: Landmarks.
        sizes: int (frames, 2) or (1, 2): width and height that 1.0 becomes.
        points: The points, None for one that the layout lacks, which is missing throughout.
    """
    values = np.zeros((len(video), len(points), 3), np.float32)
    for part in dict.fromkeys(point[0] for point in points if point is not None):
        columns = [column for column, point in enumerate(points) if point is not None and point[0] == part]
        indices = [point[1] for point in points if point is not None and point[0] == part]
        values[:, columns, :2] = video.points[part][:, indices, :2].astype(np.float64) * sizes[:, np.newaxis]
        values[:, columns, 2] = confidence(video, part)[:, indices]
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
    """Return the confidence of each point, float32 (frames, points), 0 where the point is missing.

    It is 1 where the source records none.
    """
    points, described = video.points[part], video.layout.part(part)
    if described.sureness:
        given = points[:, :, described.axes.index(described.sureness)]
    else:
        given = np.repeat(np.nan_to_num(video.scores[part], nan=1.0)[:, np.newaxis], points.shape[1], axis=1)
    return np.where(np.isnan(points[:, :, 0]), 0, given).astype(np.float32)


def seen_from(layout: Layout) -> NDArray[np.float32]:
    """Return, for each of the 133 points, the confidence from which on it counts as seen, float32 (133,)."""
    thresholds = [
        _SEEN_FROM_SCORE if point is None else SEEN_FROM.get(layout.part(point[0]).sureness, _SEEN_FROM_SCORE)
        for point in coco_133_points(layout)
    ]
    return np.array(thresholds, np.float32)


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
