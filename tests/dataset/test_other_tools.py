"""Other tools open one and the same dataset: each sees all rows, and the split that the source gave them.

Spark is not installed for the tests. What it takes for a partition, leaves out or does not find follows from names
alone (`org.apache.spark.sql.execution.datasources`), and these are tested here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from phoenix_ray.dataset.card import CardWords, hub_splits
from phoenix_ray.dataset.card_file import write_card
from tests.dataset.made_up import IDENTITY, commit, make_video, new_dataset
from tests.dataset.test_compaction import compact_and_publish

# Split → frames. Names that a tool may take for a hidden file, a partition, a pattern or an escape.
FRAMES = {"train": 20, "dev": 4, "all": 3, "train-small": 5, "_hidden": 6, "day 1/ü=%*": 7}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset whose split `train` has two data files."""
    folder = tmp_path_factory.mktemp("tools") / "OUTPUT"
    storage = new_dataset(folder)
    for split, frames in FRAMES.items():
        commit(storage, make_video("b", split, frames // 2, gloss="REGEN", place="Köln"), 0, frames // 2)
    compact_and_publish(storage, target_bytes=1)
    for split, frames in FRAMES.items():
        left = frames - frames // 2
        commit(storage, make_video("a", split, left, gloss="SCHNEE"), 0, left)
    compact_and_publish(storage, target_bytes=1)
    write_card(storage, IDENTITY, CardWords(), pytest.fail)
    assert len(list(folder.glob("data/*"))) == 2 * len(FRAMES)
    return folder


def counts(splits: Any) -> dict[str, int]:
    return dict(Counter(splits))


# Each reads all columns of `OUTPUT/data` and returns the split of each row.
ARROW: Mapping[str, Callable[[str], Any]] = {
    "pyarrow.dataset": lambda data: pads.dataset(data).to_table()["split"].to_pylist(),
    "pyarrow.dataset, hive": lambda data: pads.dataset(data, partitioning="hive").to_table()["split"].to_pylist(),
    "pyarrow.parquet": lambda data: pq.read_table(data)["split"].to_pylist(),
    "pyarrow.parquet, no partitions": lambda data: pq.read_table(data, partitioning=None)["split"].to_pylist(),
    "pandas": lambda data: pd.read_parquet(data)["split"],
    "polars": lambda data: pl.scan_parquet(data).collect()["split"],
    "polars, hive": lambda data: pl.scan_parquet(data, hive_partitioning=True).collect()["split"],
    "polars, not hive": lambda data: pl.scan_parquet(data, hive_partitioning=False).collect()["split"],
    "polars, a pattern": lambda data: pl.scan_parquet(f"{data}/*.parquet").collect()["split"],
    "polars, folders below": lambda data: pl.scan_parquet(f"{data}/**/*.parquet").collect()["split"],
}


@pytest.mark.parametrize("read", ARROW.values(), ids=ARROW)
def test_a_tool_reads_all_rows_with_their_split(output: Path, read: Callable[[str], Any]) -> None:
    assert counts(read(f"{output}/data")) == FRAMES


@pytest.mark.parametrize("pattern", ["data/*.parquet", "data/**/*.parquet"])
@pytest.mark.parametrize("options", ["", ", hive_partitioning=true", ", hive_partitioning=false"])
def test_duckdb_reads_all_rows_with_their_split(output: Path, options: str, pattern: str) -> None:
    rows = duckdb.sql(f"SELECT * FROM read_parquet('{output}/{pattern}'{options})")
    assert dict(rows.aggregate("split, count(*)").fetchall()) == FRAMES
    assert "body_x" in rows.columns


@pytest.mark.parametrize("split", FRAMES)
def test_a_filter_by_split_skips_the_files_of_others(output: Path, split: str) -> None:
    data = pads.dataset(f"{output}/data", partitioning="hive")
    chosen = pads.field("split") == split
    assert data.count_rows(filter=chosen) == FRAMES[split]
    assert len(pd.read_parquet(output / "data", filters=[("split", "==", split)])) == FRAMES[split]
    read = [fragment.path for fragment in data.get_fragments() if fragment.subset(chosen).row_groups]
    assert len(read) == 2


@pytest.mark.parametrize("read", [pd.read_parquet, pl.read_parquet, pq.read_table], ids=["pandas", "polars", "pyarrow"])
def test_the_table_of_videos_is_read(output: Path, read: Callable[[Path], Any]) -> None:
    videos = read(output / "videos.parquet")
    assert counts(map(str, videos["split"])) == dict.fromkeys(FRAMES, 2)
    assert sum(map(int, videos["frames"])) == sum(FRAMES.values())


def test_duckdb_finds_the_columns_of_the_source_by_their_names(output: Path) -> None:
    places = duckdb.sql(
        f"SELECT DISTINCT map_from_entries(annotation)['place'] FROM '{output}/videos.parquet' WHERE video_id = 'b'"
    ).fetchall()
    assert places == [("Köln",)]


@pytest.fixture
def load(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return Hugging Face's `load_dataset` on the dataset, off line and with a cache of its own."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    return lambda *arguments, **options: datasets.load_dataset(
        str(output), *arguments, cache_dir=str(tmp_path), **options
    )


def test_hugging_face_gives_the_frames_by_split(load: Callable[..., Any]) -> None:
    names = hub_splits(FRAMES)
    frames = load()
    assert {split: len(rows) for split, rows in frames.items()} == {names[split]: n for split, n in FRAMES.items()}
    for split, name in names.items():
        assert set(frames[name]["split"]) == {split}
    assert frames["train"].features["body_x"] == datasets.List(datasets.Value("float32"))
    assert names["train"] == "train"
    assert names["all"] == "all_videos"


def test_hugging_face_gives_one_split(load: Callable[..., Any]) -> None:
    rows = load("frames", split="dev")
    assert rows["frame_index"][:] == [0, 1, 0, 1]
    assert rows[0]["hand_x"] is None
    assert len(rows[1]["hand_x"]) == 2


def test_hugging_face_gives_the_videos(load: Callable[..., Any]) -> None:
    videos = load("videos")["videos"]
    assert counts(videos["split"]) == dict.fromkeys(FRAMES, 2)
    assert counts(videos["gloss"]) == {"REGEN": len(FRAMES), "SCHNEE": len(FRAMES)}
    assert videos.filter(lambda row: row["video_id"] == "b")[0]["annotation"] == [{"key": "place", "value": "Köln"}]


def test_hugging_face_streams_the_frames(load: Callable[..., Any]) -> None:
    assert sum(1 for _ in load("frames", split="train", streaming=True)) == FRAMES["train"]


def test_spark_finds_every_file_and_takes_no_name_for_a_column(output: Path) -> None:
    """Spark reads the files of a folder, and goes into folders below it only where they are named `key=value`.

    It leaves out files whose names begin with `_` or `.`.
    """
    files = list((output / "data").iterdir())
    assert all(file.is_file() for file in files)
    assert not [file.name for file in files if file.name.startswith(("_", ".")) or "=" in file.name]


@pytest.mark.cluster
def test_ray_data_reads_all_rows_with_their_split(output: Path) -> None:
    import ray

    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        rows = ray.data.read_parquet(f"{output}/data")
        assert counts(row["split"] for row in rows.select_columns(["split"]).take_all()) == FRAMES
        assert rows.count() == sum(FRAMES.values())
    finally:
        ray.shutdown()


def test_hugging_face_does_not_return_earlier_rows_from_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    output = tmp_path / "OUTPUT"
    storage = new_dataset(output)

    def loaded(video_id: str, *arguments: str) -> tuple[list[str], list[str]]:
        commit(storage, make_video(video_id, "train", 4), 0, 4)
        compact_and_publish(storage, target_bytes=10**9)
        write_card(storage, IDENTITY, CardWords(), pytest.fail)
        frames, videos = (
            datasets.load_dataset(str(output), name, cache_dir=str(tmp_path / "cache")) for name in ("frames", "videos")
        )
        return sorted(set(frames["train"]["video_id"])), sorted(videos["videos"]["video_id"])

    assert loaded("a") == (["a"], ["a"])
    assert loaded("b") == (["a", "b"], ["a", "b"])
