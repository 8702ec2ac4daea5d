"""Landmark files as in Kaggle's "Google - Isolated Sign Language Recognition": a Parquet file per video.

    train.csv                        path, participant_id, sequence_id, sign; and our video_id and signer
    train/<video ID>.parquet         frame, row_id ("<frame>-<type>-<index>"), type, landmark_index, x, y, z
    sign_to_prediction_index_map.json  the signs, numbered

543 rows a frame in the order face, left hand, pose, right hand; normalised coordinates as float64, null where a part is
missing. The competition's loader: `pd.read_parquet(file, columns=["x", "y", "z"]).values.reshape(-1, 543, 3)`. Irises
have no place in it and are left out.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.video_landmarks import IMAGE_AXES, VideoLandmarks
from phoenix_ray.exports.kaggle_tables import Participants, sequence_table, write_index
from phoenix_ray.exports.output import video_file
from phoenix_ray.exports.selection import Selection, require_holistic
from phoenix_ray.text import spreadsheet_text

_TABLE_COLUMNS = ("path", "participant_id", "sequence_id", "sign")
POINTS = {"face": 468, "left_hand": 21, "pose": 33, "right_hand": 21}


def write_kaggle_asl(selection: Selection, output: Path) -> None:
    """Write `<split>.csv` for each split, `<split>/<video ID>.parquet` for each video, and the table of signs.

    A video's sign is its gloss. Sequences are numbered through all splits, signers in the order of their first video.

    Raises:
        ConfigError: The layout is not Holistic's.
    """
    require_holistic(selection.layout, "kaggle")
    output.mkdir(parents=True)
    participants, sequence_ids, signs = Participants(), count(), set[str]()
    for split, part in selection.by_split():
        with sequence_table(output / f"{safe_name(split)}.csv", _TABLE_COLUMNS) as table:
            for video in part.holistic_videos("kaggle"):
                file = video_file(output, video.split, video.video_id, ".parquet")
                pq.write_table(to_kaggle_asl(video), file, compression="zstd")
                path, sign = file.relative_to(output).as_posix(), spreadsheet_text(video.annotation.get("gloss", ""))
                signs.add(sign)
                table.add((path, participants.number(video), next(sequence_ids), sign), video)
    write_index(output / "sign_to_prediction_index_map.json", signs)


def to_kaggle_asl(video: VideoLandmarks) -> pa.Table:
    """Return a video as rows, 543 a frame."""
    types = np.repeat(list(POINTS), list(POINTS.values()))
    indices = np.concatenate([np.arange(count, dtype=np.int16) for count in POINTS.values()])
    names = [f"{part}-{index}" for part, index in zip(types, indices, strict=True)]
    frames = pa.array(np.repeat(video.frame_index, len(types)))
    values = np.concatenate([video.points[part][:, :count, :3] for part, count in POINTS.items()], axis=1)
    columns = {
        "frame": frames,
        "row_id": pc.binary_join_element_wise(frames.cast(pa.string()), pa.array(names * len(video), pa.string()), "-"),
        "type": pa.array(types.tolist() * len(video), pa.string()),
        "landmark_index": pa.array(np.tile(indices, len(video))),
        **{
            axis: pa.array(values[:, :, column].ravel().astype(np.float64), from_pandas=True)
            for column, axis in enumerate(IMAGE_AXES)
        },
    }
    return pa.table(columns)
