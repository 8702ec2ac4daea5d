from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.compaction import Compacted, compact_videos
from phoenix_ray.dataset.compaction_plan import CompactionTask, plan_compaction
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.publication import publish
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.dataset.tally import tally_rows, total
from phoenix_ray.dataset.video_table import read_entries
from tests.dataset.earlier_form import give_earlier_form
from tests.dataset.made_up import IDENTITY, LAYOUT, SETTINGS, commit, make_batch, make_video, new_dataset

LARGE = 10**9


def plan(storage: Storage, target_bytes: float = LARGE) -> list[CompactionTask]:
    survey = take_survey(storage, IDENTITY)
    return plan_compaction(survey, lambda name: read_entries(storage, IDENTITY, name), target_bytes)


def compact_and_publish(storage: Storage, target_bytes: float = LARGE) -> list[Compacted]:
    results = [compact_videos(storage, task, SETTINGS) for task in plan(storage, target_bytes)]
    publish(storage, IDENTITY, results)
    return results


def videos_of(task: CompactionTask) -> list[str]:
    return [video.video_id for video in task.videos]


def data_file(storage: Storage) -> str:
    (file,) = read_manifest(storage, IDENTITY).files
    return file.name


def test_only_whole_videos_are_taken(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video("whole"), 0, 4)
    commit(storage, make_video("whole"), 4, 10)
    commit(storage, make_video("half"), 4, 10)
    (task,) = plan(storage)
    assert videos_of(task) == ["whole"]
    compact_and_publish(storage)
    dataset = Dataset.open(str(tmp_path))
    assert dataset.read_video("train", "whole").num_rows == 10
    assert dataset.read_video("train", "half").num_rows == 6


def test_files_are_filled_to_the_target_in_the_order_of_videos_split_by_split(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for video_id in "dbeac":
        size = commit(storage, make_video(video_id), 0, 10).bytes
        commit(storage, make_video(video_id, split="dev"), 0, 10)
    tasks = plan(storage, 2.5 * size)
    assert [(task.split, *videos_of(task)) for task in tasks] == [
        ("dev", "a", "b"),
        ("dev", "c", "d"),
        ("dev", "e"),
        ("train", "a", "b"),
        ("train", "c", "d"),
        ("train", "e"),
    ]


def test_rows_are_sorted_whole_and_described(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    receipts = [commit(storage, make_video(video_id, gloss=video_id), 0, 10) for video_id in ("ü", "b", "a/b")]
    (result,) = compact_and_publish(storage)
    assert result.data_file is not None
    table = pq.read_table(tmp_path / result.data_file.name, partitioning=None)
    rows = list(zip(table["video_id"].to_pylist(), table["frame_index"].to_pylist(), strict=True))
    assert rows == [(video_id, frame) for video_id in ("a/b", "b", "ü") for frame in range(10)]
    metadata = pq.ParquetFile(tmp_path / result.data_file.name).metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [8, 8, 8, 6]
    assert result.data_file.tally == total(receipt.tally for receipt in receipts)
    content = storage.read(result.data_file.name)
    assert result.data_file.sha256 == hashlib.sha256(content).hexdigest()
    assert result.data_file.bytes == len(content)
    assert (result.data_file.first_video, result.data_file.last_video) == ("a/b", "ü")
    entries = read_entries(storage, IDENTITY, result.data_file.name)
    assert [(entry.video_id, entry.first_row, entry.annotation) for entry in entries] == [
        ("a/b", 0, {"gloss": "a/b"}),
        ("b", 10, {"gloss": "b"}),
        ("ü", 20, {"gloss": "ü"}),
    ]


def test_a_task_done_again_writes_the_same_bytes_under_another_name(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video(), 0, 10)
    (task,) = plan(storage)
    first, second = (compact_videos(storage, task, SETTINGS).data_file for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.name != second.name
    assert replace(second, name=first.name) == first


def test_overlapping_partitions_give_each_frame_once(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    video = make_video()
    whole = commit(storage, video, 0, 10)
    storage.delete(whole.name)
    for first, last in ((0, 4), (2, 8), (3, 5), (7, 10), (4, 8)):
        commit(storage, video, first, last)
    dataset = Dataset.open(str(tmp_path))
    assert dataset.digest() == whole.tally.digest
    compact_and_publish(storage)
    assert read_manifest(storage, IDENTITY).tally == whole.tally
    assert not (tmp_path / "partitions").exists()


def test_new_videos_leave_full_files_alone_and_join_small_ones(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for video_id in "abc":
        commit(storage, make_video(video_id), 0, 10)
    compact_and_publish(storage)
    size = read_manifest(storage, IDENTITY).files[0].bytes
    commit(storage, make_video("bb"), 0, 10)
    (alone,) = plan(storage, target_bytes=1.9 * size)
    assert (videos_of(alone), alone.replaces) == (["bb"], ())
    (joined,) = plan(storage, target_bytes=3 * size)
    assert (videos_of(joined), joined.replaces) == (["a", "b", "bb", "c"], (data_file(storage),))
    compact_and_publish(storage, 3 * size)
    assert len(list((tmp_path / "data").rglob("*.parquet"))) == 1
    rows = pq.read_table(tmp_path / "data", columns=["video_id", "frame_index"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [(v, f) for v in ("a", "b", "bb", "c") for f in range(10)]


def test_a_file_with_rows_of_a_changed_video_is_written_anew_without_them(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for video_id in "abc":
        commit(storage, make_video(video_id), 0, 10)
    compact_and_publish(storage)
    changed = make_video("b", frames=4, signature="2")
    commit(storage, changed, 0, 3)
    assert plan(storage, target_bytes=1) == []
    commit(storage, changed, 3, 4)
    compact_and_publish(storage, target_bytes=1)
    dataset = Dataset.open(str(tmp_path))
    assert [dataset.read_video("train", video_id).num_rows for video_id in "abc"] == [10, 4, 10]
    assert pq.read_table(tmp_path / "data").num_rows == 24


def flip(path: Path, column: str, row_group: int) -> None:
    """Change one byte in the values of a column, as a failing disk would."""
    group = pq.ParquetFile(path).metadata.row_group(row_group)
    chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema.startswith(column))
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size - 2] ^= 1
    path.write_bytes(content)


def test_a_video_with_damaged_rows_is_left_out_and_missing_again(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    receipts = {video_id: commit(storage, make_video(video_id), 0, 10) for video_id in "abc"}
    flip(tmp_path / receipts["b"].name, "body_y", 1)
    (result,) = compact_and_publish(storage)
    assert [damage.name for damage in result.damaged] == [receipts["b"].name]
    assert result.data_file is not None
    assert result.data_file.videos == 2
    assert not (tmp_path / "partitions").exists()
    assert Dataset.open(str(tmp_path)).videos()["video_id"].to_pylist() == ["a", "c"]


def test_of_a_damaged_data_file_the_readable_videos_are_saved(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for video_id in "abc":
        commit(storage, make_video(video_id, frames=8), 0, 8)
    compact_and_publish(storage)
    flip(tmp_path / data_file(storage), "body_y", 1)
    commit(storage, make_video("d"), 0, 10)
    compact_and_publish(storage)
    assert pq.read_table(tmp_path / "data")["video_id"].unique().to_pylist() == ["a", "c", "d"]
    assert Dataset.open(str(tmp_path)).videos()["video_id"].to_pylist() == ["a", "c", "d"]


def test_a_partition_that_changed_since_the_plan_is_not_taken_for_it(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video("a"), 0, 10)
    commit(storage, make_video("b"), 0, 10)
    (task,) = plan(storage)
    commit(storage, make_video("b", signature="2"), 0, 10)
    result = compact_videos(storage, task, SETTINGS)
    assert result.data_file is not None
    assert result.data_file.last_video == "a"
    assert len(result.damaged) == 1


def test_plain_readers_open_the_data_folder(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for split in ("train", "dev", "2014 test"):
        commit(storage, make_video("a", split=split), 0, 10)
        commit(storage, make_video("b", split=split), 0, 10)
    compact_and_publish(storage, target_bytes=1)
    expected = make_batch(make_video("b"), 0, 10).points["body"][7, :, 2].tolist()
    frame = pd.read_parquet(tmp_path / "data")
    assert sorted(frame["split"].unique()) == ["2014 test", "dev", "train"]
    chosen = frame[(frame["split"] == "train") & (frame["video_id"] == "b") & (frame["frame_index"] == 7)]
    assert [values.tolist() for values in chosen["body_z"]] == [expected]
    where = f"'{tmp_path}/data/**/*.parquet' where split = 'train' and video_id = 'b' and frame_index = 7"
    assert [list(row[0]) for row in duckdb.sql(f"select body_z from {where}").fetchall()] == [expected]
    lazy = pl.scan_parquet(tmp_path / "data" / "**" / "*.parquet")
    lazy = lazy.filter(pl.col("split") == "train", pl.col("video_id") == "b", pl.col("frame_index") == 7)
    assert lazy.collect()["body_z"].to_list() == [expected]
    assert len(frame) == 60


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_the_size_of_row_groups_changes_no_row(tmp_path: Path, rows: int) -> None:
    storage = new_dataset(tmp_path)
    for video_id in "ab":
        commit(storage, make_video(video_id), 0, 10)
    before = Dataset.open(str(tmp_path)).digest()
    (task,) = plan(storage)
    result = compact_videos(storage, task, SETTINGS.model_copy(update={"row_group_rows": rows}))
    publish(storage, IDENTITY, [result])
    assert Dataset.open(str(tmp_path)).digest() == before


def in_earlier_form(folder: Path, *videos: str) -> Storage:
    storage = new_dataset(folder)
    for name in videos:
        commit(storage, make_video(name, purpose="test"), 0, 10)
    compact_and_publish(storage)
    give_earlier_form(storage, IDENTITY)
    return storage


def test_a_dataset_of_an_earlier_version_is_read_and_checked_as_it_is(tmp_path: Path) -> None:
    storage = in_earlier_form(tmp_path, "a", "b")
    assert data_file(storage).startswith("data/split=train/")
    dataset = Dataset.open(str(tmp_path))
    assert check_dataset(storage).findings == ()
    assert dataset.digest() == total(tally_rows(LAYOUT, rows) for rows in dataset.scan()).digest
    assert dataset.load("train", "a").annotation == {"purpose": "test"}


def test_a_compaction_gives_files_of_earlier_versions_the_present_form(tmp_path: Path) -> None:
    storage = in_earlier_form(tmp_path, "a", "b")
    digest = Dataset.open(str(tmp_path)).digest()
    (task,) = plan(storage, target_bytes=1)
    assert (task.video_count, task.replaces) == (2, (data_file(storage),))
    compact_and_publish(storage, target_bytes=1)
    assert pq.read_schema(tmp_path / data_file(storage)).field("split").type == pa.string()
    assert Dataset.open(str(tmp_path)).digest() == digest
    assert not (tmp_path / "data" / "split=train").exists()
    assert check_dataset(storage).findings == ()
    assert plan(storage, target_bytes=1) == []


def test_a_compaction_beside_the_workers_leaves_them_to_the_end(tmp_path: Path) -> None:
    survey = take_survey(in_earlier_form(tmp_path, "a"), IDENTITY)
    assert plan_compaction(survey, lambda _: [], 1, convert=False) == []


def test_new_videos_are_merged_with_files_of_an_earlier_version(tmp_path: Path) -> None:
    storage = in_earlier_form(tmp_path, "a", "c")
    commit(storage, make_video("b"), 0, 10)
    compact_and_publish(storage)
    assert not paths.is_earlier_data_file_name(data_file(storage))
    assert Dataset.open(str(tmp_path)).videos()["video_id"].to_pylist() == ["a", "b", "c"]
    assert check_dataset(storage).findings == ()


@pytest.mark.parametrize("damage", ["page", "footer", "gone"])
def test_a_damaged_file_of_an_earlier_version_stays_with_all_that_is_left_of_it(tmp_path: Path, damage: str) -> None:
    storage = in_earlier_form(tmp_path, "a", "b")
    (task,) = plan(storage)
    path = tmp_path / data_file(storage)
    content = bytearray(path.read_bytes())
    content[10 if damage == "page" else -20] ^= 0xFF
    path.write_bytes(content)
    if damage == "gone":
        path.unlink()
    result = compact_videos(storage, task, SETTINGS)
    assert result.data_file is None
    assert [file.name for file in result.unconverted] == ([] if damage == "gone" else list(task.replaces))
    assert (result.replaces, result.damaged) == ((), ())
    assert not list(tmp_path.glob("data/*.parquet"))
