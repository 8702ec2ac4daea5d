from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.check.repair import alone_on, repair
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.compaction_plan import plan_compaction
from phoenix_ray.dataset.identity import read_identity
from phoenix_ray.dataset.publication import publish, sweep
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.dataset.video_landmarks import from_rows
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.exports.delta import write_delta
from tests.exports.made_up import VIDEOS, assert_same_points, make_landmarks, write_dataset

deltalake = pytest.importorskip("deltalake", reason="deltalake is not installed")


def compact_all(folder: Path) -> str:
    storage = LocalStorage(str(folder))
    identity = read_identity(storage)
    tasks = plan_compaction(take_survey(storage, identity), lambda name: read_entries(storage, identity, name), 1e9)
    publish(storage, identity, [compact_videos(storage, task, OutputSettings()) for task in tasks])
    return str(folder)


def make_dataset(folder: Path) -> str:
    write_dataset(folder)
    return compact_all(folder)


def test_deltalake_reads_equal_rows_without_a_copy(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    before = sorted(file for file in tmp_path.rglob("*.parquet"))
    table = deltalake.DeltaTable(str(write_delta(dataset, None, overwrite=False)))
    assert sorted(file for file in tmp_path.rglob("*.parquet")) == before
    rows = table.to_pyarrow_table()
    assert rows.num_rows == 10
    for video in VIDEOS:
        ids = rows.column("video_id").to_pylist()
        own = rows.take([index for index, video_id in enumerate(ids) if video_id == video.video_id])
        again = from_rows(video.layout, video.split, video.video_id, own.sort_by("frame_index"))
        assert_same_points(video, again, tuple(video.points))


def test_the_dataset_stays_what_it_was(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    digest = Dataset.open(dataset).digest()
    write_delta(dataset, None, overwrite=False)
    storage = LocalStorage(dataset)
    assert sweep(storage, read_identity(storage), 0).removed == ()
    assert Dataset.open(dataset).digest() == digest
    assert len(pd.read_parquet(tmp_path / "data")) == 10
    assert (tmp_path / "data" / "_delta_log" / f"{0:020}.json").is_file()


def test_a_check_takes_the_log_for_a_part_of_the_dataset_and_a_repair_leaves_it(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    table = write_delta(dataset, None, overwrite=False)
    deltalake.DeltaTable(str(table)).create_checkpoint()
    storage = LocalStorage(dataset)
    assert check_dataset(storage).findings == ()
    (tmp_path / "data" / "other.parquet").write_bytes(b"of another program")
    with alone_on(storage):
        moved = repair(storage, check_dataset(storage)).quarantined
    assert moved == ("data/other.parquet",)
    assert check_dataset(storage).findings == ()
    assert deltalake.DeltaTable(str(table)).to_pyarrow_table().num_rows == 10


def test_a_log_is_replaced_only_on_request_and_then_as_a_new_version(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    table = write_delta(dataset, None, overwrite=False)
    with pytest.raises(OutputError, match="is a Delta table already"):
        write_delta(dataset, None, overwrite=False)
    write_dataset(tmp_path, (make_landmarks("test", "new", 4),))
    with pytest.raises(OutputError, match=r"1 videos of .* are not compacted yet"):
        write_delta(dataset, None, overwrite=True)
    compact_all(tmp_path)
    write_delta(dataset, None, overwrite=True)
    latest = deltalake.DeltaTable(str(table))
    assert latest.version() == 1
    assert latest.to_pyarrow_table().num_rows == 14


def test_splits_and_the_statistics_that_queries_skip_files_by(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path)
    table = write_delta(dataset, ["dev"], overwrite=False)
    assert set(deltalake.DeltaTable(str(table)).to_pyarrow_table().column("split").to_pylist()) == {"dev"}
    log = (table / "_delta_log" / f"{0:020}.json").read_text().splitlines()
    (add,) = [json.loads(line)["add"] for line in log if "add" in json.loads(line)]
    assert json.loads(add["stats"])["minValues"] == {"split": "dev", "video_id": "a"}
    with pytest.raises(ConfigError, match=r"no split 'dve'\. Did you mean 'dev'"):
        write_delta(dataset, ["dve"], overwrite=True)


def test_names_of_splits_that_are_encoded_on_disk_are_found(tmp_path: Path) -> None:
    videos = (make_landmarks("dev set/ü%", "v", 3),)
    write_dataset(tmp_path, videos)
    table = write_delta(compact_all(tmp_path), None, overwrite=False)
    rows = deltalake.DeltaTable(str(table)).to_pyarrow_table()
    assert rows.column("split").to_pylist() == ["dev set/ü%"] * 3
    assert np.array_equal(rows.column("frame_index").to_numpy(), np.arange(3))


def test_what_is_not_a_dataset_is_reported(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a dataset of phoenix_ray on a local disk"):
        write_delta(str(tmp_path), None, overwrite=False)
