from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from phoenix_ray.exports.kaggle import write_kaggle_asl
from tests.exports.made_up import SELECTION, VIDEOS

FILE = "train/01April_2010_Thursday_heute-6694.parquet"


def test_the_competitions_own_loader_reads_equal_numbers(tmp_path: Path) -> None:
    write_kaggle_asl(SELECTION, tmp_path / "out")
    data = pd.read_parquet(tmp_path / "out" / FILE, columns=["x", "y", "z"])
    frames = data.values.reshape(len(data) // 543, 543, 3).astype(np.float32)
    video = VIDEOS[1]
    ours = np.concatenate(
        [video.points[part][:, :, :3] for part in ("face", "left_hand", "pose", "right_hand")], axis=1
    )
    assert np.array_equal(frames, ours, equal_nan=True)


def test_the_columns_are_the_competitions(tmp_path: Path) -> None:
    write_kaggle_asl(SELECTION, tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / FILE)
    assert table.column_names == ["frame", "row_id", "type", "landmark_index", "x", "y", "z"]
    row = table.slice(543 + 468 + 21 + 33 + 20, 1).to_pylist()[0]
    assert (row["frame"], row["row_id"], row["type"], row["landmark_index"]) == (1, "1-right_hand-20", "right_hand", 20)
    assert table.column("x").null_count == 543 + 21 + 468


def test_the_table_names_the_file_signer_and_sign_of_each_video(tmp_path: Path) -> None:
    write_kaggle_asl(SELECTION, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "train.csv")
    assert list(table.columns) == ["path", "participant_id", "sequence_id", "sign", "video_id", "signer"]
    assert table.path.tolist() == [FILE, "train/b%2F%C3%BC.1.parquet"]
    assert all((tmp_path / "out" / path).is_file() for path in table.path)
    assert table.participant_id.tolist() == [0, 0]
    assert table.sequence_id.tolist() == [1, 2]
    assert pd.read_csv(tmp_path / "out" / "dev.csv").sequence_id.tolist() == [0]
    index = json.loads((tmp_path / "out" / "sign_to_prediction_index_map.json").read_text())
    assert index == {"MORGEN __ON__ REGEN": 0}
    assert table.sign.map(index).tolist() == [0, 0]
