from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from phoenix_ray.exports.csv_tables import to_coordinate_table, write_csv_tables
from tests.exports.made_up import SELECTION, VIDEOS


def test_pandas_reads_equal_numbers(tmp_path: Path) -> None:
    write_csv_tables(SELECTION, tmp_path)
    video = VIDEOS[1]
    table = pd.read_csv(tmp_path / "train" / f"{video.video_id}.csv")
    assert len(table) == 6
    assert table["frame_name"].tolist() == list(video.frame_names)
    assert np.array_equal(table["face_score"].to_numpy(np.float32), video.scores["face"], equal_nan=True)
    for column, part, point, axis in (
        ("pose_nose_visibility", "pose", 0, 3),
        ("pose_world_nose_x", "pose_world", 0, 0),
        ("left_hand_index_finger_tip_y", "left_hand", 8, 1),
        ("face_467_z", "face", 467, 2),
    ):
        ours = video.points[part][:, point, axis]
        assert np.array_equal(table[column].to_numpy(np.float32), ours, equal_nan=True), column
    coordinates = sum(len(part.points) * len(part.axes) for part in video.layout.parts)
    assert len(table.columns) == len(set(table.columns)) == 6 + 4 + coordinates


def test_a_name_that_a_spreadsheet_would_compute_is_marked(tmp_path: Path) -> None:
    video = replace(VIDEOS[1], frame_names=tuple(f"=cmd|{frame}" for frame in range(len(VIDEOS[1]))))
    assert to_coordinate_table(video)["frame_name"][0].as_py() == "'=cmd|0"
