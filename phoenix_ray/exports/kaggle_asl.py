"""Landmark files as in Kaggle's "Google - Isolated Sign Language Recognition": a Parquet file per video.

Columns `frame`, `row_id` ("<frame>-<type>-<index>"), `type`, `landmark_index`, `x`, `y`, `z`; 543 rows a frame in the
order face, left hand, pose, right hand; normalised coordinates as float64, null where a part is missing. The loader of
that competition reads them: `pd.read_parquet(file, columns=["x", "y", "z"]).values.reshape(-1, 543, 3)`. Irises have no
place in it and are left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from phoenix_ray.dataset.video_landmarks import IMAGE_AXES, VideoLandmarks
from phoenix_ray.exports.output import video_file
from phoenix_ray.exports.selection import Selection, require_holistic

POINTS = {"face": 468, "left_hand": 21, "pose": 33, "right_hand": 21}


def write_kaggle_asl(selection: Selection, output: Path) -> None:
    """Write `<split>/<video ID>.parquet` for each video.

    Raises:
        ConfigError: The layout is not Holistic's.
    """
    require_holistic(selection.layout, "kaggle")
    for video in selection.videos():
        pq.write_table(
            to_kaggle_asl(video), video_file(output, video.split, video.video_id, ".parquet"), compression="zstd"
        )


def to_kaggle_asl(video: VideoLandmarks) -> pa.Table:
    """Return a video as rows, 543 a frame."""
    types = [part for part, count in POINTS.items() for _ in range(count)]
    indices = [index for count in POINTS.values() for index in range(count)]
    names = [f"{part}-{index}" for part, index in zip(types, indices, strict=True)]
    values = np.concatenate([video.points[part][:, :count, :3] for part, count in POINTS.items()], axis=1)
    columns = {
        "frame": pa.array(np.repeat(video.frame_index, len(types)), pa.int32()),
        "row_id": pa.array([f"{frame}-{name}" for frame in video.frame_index for name in names], pa.string()),
        "type": pa.array(types * len(video), pa.string()),
        "landmark_index": pa.array(indices * len(video), pa.int16()),
        **{
            axis: pa.array(values[:, :, column].ravel().astype(np.float64), from_pandas=True)
            for column, axis in enumerate(IMAGE_AXES)
        },
    }
    return pa.table(columns)
