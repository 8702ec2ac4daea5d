from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from phoenix_ray.exports.kaggle_asl import write_kaggle_asl
from tests.exports.made_up import SELECTION, VIDEOS

FILE = "train/01April_2010_Thursday_heute-6694.parquet"


def test_the_competitions_own_loader_reads_equal_numbers(tmp_path: Path) -> None:
    write_kaggle_asl(SELECTION, tmp_path)
    data = pd.read_parquet(tmp_path / FILE, columns=["x", "y", "z"])
    frames = data.values.reshape(len(data) // 543, 543, 3).astype(np.float32)
    video = VIDEOS[1]
    ours = np.concatenate(
        [video.points[part][:, :, :3] for part in ("face", "left_hand", "pose", "right_hand")], axis=1
    )
    assert np.array_equal(frames, ours, equal_nan=True)


def test_the_columns_are_the_competitions(tmp_path: Path) -> None:
    write_kaggle_asl(SELECTION, tmp_path)
    table = pq.read_table(tmp_path / FILE)
    assert table.column_names == ["frame", "row_id", "type", "landmark_index", "x", "y", "z"]
    row = table.slice(543 + 468 + 21 + 33 + 20, 1).to_pylist()[0]
    assert (row["frame"], row["row_id"], row["type"], row["landmark_index"]) == (1, "1-right_hand-20", "right_hand", 20)
    assert table.column("x").null_count == 543 + 21 + 468
