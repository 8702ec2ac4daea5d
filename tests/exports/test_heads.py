"""Heads in the formats that keep everything."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pyarrow.csv as pa_csv

from phoenix_ray.exports.lossless import (
    read_numpy_archive,
    to_coordinate_table,
    write_csv_tables,
    write_numpy_archives,
    write_webdataset_shards,
)
from phoenix_ray.exports.selection import select_for_export
from phoenix_ray.models.agreement import same_bits
from tests.dataset.with_heads import WITH_HEADS, video_with_heads
from tests.exports.made_up import InMemory

VIDEO = video_with_heads()
SELECTION = select_for_export(InMemory((VIDEO,)))


def test_an_npz_has_the_columns_of_heads_and_reads_back_bit_for_bit(tmp_path: Path) -> None:
    write_numpy_archives(SELECTION, tmp_path)
    (file,) = tmp_path.glob("**/*.npz")
    with np.load(file) as archive:
        assert archive["emotion_logits"].shape == (10, 3)
        assert archive["emotion_valence"].shape == archive["age_quality"].shape == (10,)
    back = read_numpy_archive(file)
    assert back.layout == WITH_HEADS
    for head, values in VIDEO.heads.items():
        assert same_bits(back.heads[head], values).all()


def test_a_csv_has_a_column_for_each_class_and_number_empty_where_it_is_missing(tmp_path: Path) -> None:
    write_csv_tables(SELECTION, tmp_path)
    (file,) = tmp_path.glob("**/*.csv")
    table = pa_csv.read_csv(file)
    assert [name for name in table.column_names if name.startswith(("emotion", "age"))] == [
        *("emotion_logits_glad", "emotion_logits_sad", "emotion_logits_calm"),
        *("emotion_valence", "emotion_arousal", "emotion_quality", "age_years", "age_quality"),
    ]
    found = np.array(table["emotion_logits_sad"].to_pylist(), np.float32)
    assert same_bits(found, VIDEO.heads["emotion"][:, 1]).all()
    assert to_coordinate_table(VIDEO)["age_years"].null_count == np.isnan(VIDEO.heads["age"][:, 0]).sum()


def test_shards_of_webdataset_hold_the_same_archive(tmp_path: Path) -> None:
    write_webdataset_shards(SELECTION, tmp_path / "shards")
    (shard,) = (tmp_path / "shards").glob("*.tar")
    with tarfile.open(shard) as archive:
        archive.extract("video.npz", tmp_path, filter="data")
    assert same_bits(read_numpy_archive(tmp_path / "video.npz").heads["emotion"], VIDEO.heads["emotion"]).all()
