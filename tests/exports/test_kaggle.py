"""How readers of the competition's files do it: by file, then by sequence; with pandas, and with pyarrow's filters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from phoenix_ray.exports import kaggle
from phoenix_ray.exports.kaggle import write_kaggle_asl, write_kaggle_fingerspelling
from phoenix_ray.exports.selection import select_for_export
from phoenix_ray.layouts import holistic
from tests.exports.made_up import SELECTION, VIDEOS, InMemory, make_landmarks

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


HAND_COLUMNS = [f"{axis}_right_hand_{index}" for axis in "xyz" for index in range(21)]


def test_the_tables_name_the_file_and_sequence_of_each_video(tmp_path: Path) -> None:
    write_kaggle_fingerspelling(SELECTION, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "train.csv")
    assert list(table.columns[:5]) == ["path", "file_id", "sequence_id", "participant_id", "phrase"]
    assert table.path.tolist() == ["train_landmarks/1.parquet"] * 2
    assert table.sequence_id.tolist() == [1, 2]
    assert table.video_id.tolist() == ["01April_2010_Thursday_heute-6694", "b/ü.1"]
    assert table.phrase.tolist() == ["morgen regnet es: 10°"] * 2
    assert table.participant_id.dtype == np.int64
    assert table.signer.tolist() == ["Signer04"] * 2
    assert pd.read_csv(tmp_path / "out" / "dev.csv").path.tolist() == ["dev_landmarks/0.parquet"]


def test_frames_of_a_sequence_are_picked_by_the_index_that_pandas_gives(tmp_path: Path) -> None:
    write_kaggle_fingerspelling(SELECTION, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "train.csv")
    for file_id in table.file_id.unique():
        file = tmp_path / "out" / "train_landmarks" / f"{file_id}.parquet"
        data = pq.read_table(file, columns=["sequence_id", *HAND_COLUMNS]).to_pandas()
        numbers = data.to_numpy()
        for sequence_id, video in zip(table.sequence_id, VIDEOS[1:], strict=True):
            frames = numbers[data.index == sequence_id]
            ours = video.points["right_hand"].transpose(0, 2, 1).reshape(len(video), 63)
            assert frames.dtype == np.float32
            assert np.array_equal(frames, ours, equal_nan=True)


def test_one_sequence_is_read_with_a_filter(tmp_path: Path) -> None:
    write_kaggle_fingerspelling(SELECTION, tmp_path / "out")
    file = tmp_path / "out" / "train_landmarks" / "1.parquet"
    rows = pq.read_table(file, filters=[("sequence_id", "=", 1)], columns=["sequence_id", "frame", "x_pose_0"])
    assert rows["frame"].to_pylist() == [0, 1, 2, 3, 4, 5]
    assert rows["x_pose_0"].to_pylist()[0] is None
    assert np.array_equal(rows["x_pose_0"].to_pylist()[1:], VIDEOS[1].points["pose"][1:, 0, 0])


def test_a_row_has_all_points_in_the_order_of_the_competition(tmp_path: Path) -> None:
    video = make_landmarks(layout=holistic(478))
    write_kaggle_fingerspelling(select_for_export(InMemory((video,))), tmp_path / "out")
    data = pd.read_parquet(tmp_path / "out" / "train_landmarks" / "0.parquet")
    assert data.shape == (5, 1630)
    assert data.index.name == "sequence_id"
    assert list(data.columns[:2]) == ["frame", "x_face_0"]
    assert [data.columns[place] for place in (469, 490, 523, 543)] == [
        *("x_left_hand_0", "x_pose_0", "x_right_hand_0", "x_right_hand_20"),
    ]
    assert list(data.columns[[544, -1]]) == ["y_face_0", "z_right_hand_20"]
    parts = {"face": 468, "left_hand": 21, "pose": 33, "right_hand": 21}
    ours = np.concatenate([video.points[part][:, :points, :3] for part, points in parts.items()], axis=1)
    theirs = data.iloc[:, 1:].to_numpy().reshape(5, 3, 543).transpose(0, 2, 1)
    assert np.array_equal(theirs, ours, equal_nan=True)


def test_a_file_takes_so_many_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kaggle, "_FRAMES_PER_GROUP", 6)
    videos = tuple(make_landmarks("train", f"v{number}", number + 1) for number in range(7))
    write_kaggle_fingerspelling(select_for_export(InMemory(videos)), tmp_path / "out", sequences_per_file=3)
    table = pd.read_csv(tmp_path / "out" / "train.csv")
    assert table.file_id.tolist() == [0, 0, 0, 1, 1, 1, 2]
    files = [pq.ParquetFile(tmp_path / "out" / path) for path in sorted(set(table.path))]
    assert [file.metadata.num_rows for file in files] == [6, 15, 7]
    assert [file.metadata.num_row_groups for file in files] == [1, 2, 1]
    for path, sequence_id, video in zip(table.path, table.sequence_id, videos, strict=True):
        frames = pd.read_parquet(tmp_path / "out" / path).loc[[sequence_id]]
        assert np.array_equal(frames["y_face_7"], video.points["face"][:, 7, 1], equal_nan=True)


def test_the_characters_of_all_phrases_are_numbered(tmp_path: Path) -> None:
    write_kaggle_fingerspelling(SELECTION, tmp_path / "out")
    index = json.loads((tmp_path / "out" / "character_to_prediction_index.json").read_text(encoding="utf-8"))
    assert sorted(index) == sorted(set("morgen regnet es: 10°"))
    assert sorted(index.values()) == list(range(len(index)))
