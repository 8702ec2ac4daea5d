from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.video_table import gather_videos, parse_entries, read_entries, video_schema, write_videos
from tests.dataset.made_up import IDENTITY, LAYOUT, commit, make_video, new_dataset
from tests.dataset.test_compaction import compact_and_publish


def test_whether_the_frame_rate_varies_is_kept_from_the_source_to_the_reader(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for name, varies in (("even", False), ("uneven", True)):
        commit(storage, replace(make_video(name), fps_varies=varies), 0, 10)
    for _ in range(2):
        dataset = Dataset(storage, IDENTITY)
        assert dataset.videos().column("fps_varies").to_pylist() == [False, True]
        assert [dataset.load("train", name).fps_varies for name in ("even", "uneven")] == [False, True]
        assert list(dataset.select(where=pc.field("fps_varies")).keys()) == [("train", "uneven")]
        compact_and_publish(storage)


def test_a_table_without_the_later_columns_is_read_with_nulls(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video(), 0, 10)
    compact_and_publish(storage)
    table = pq.read_table(tmp_path / "videos.parquet")
    # Only the table says 49.
    later = ["fps_varies", "start_frame", "start_seconds", "pixel_aspect_ratio"]
    write_videos(storage, table.drop_columns(later).set_column(3, table.schema.field("fps"), [[49.0]]))
    found, damaged = gather_videos(storage, IDENTITY, read_manifest(storage, IDENTITY))
    assert not damaged
    assert found.schema.equals(video_schema(LAYOUT))
    assert [found.column(name).to_pylist() for name in ("fps", *later)] == [[49.0], *[[None]] * len(later)]


@pytest.mark.parametrize("flag", [True, False, None])
def test_an_entry_comes_back_from_a_footer(tmp_path: Path, flag: bool | None) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video(), 0, 10)
    compact_and_publish(storage)
    (file,) = read_manifest(storage, IDENTITY).files
    (entry,) = read_entries(storage, IDENTITY, file.name)
    tree = json.loads(json.dumps(replace(entry, fps_varies=flag).to_json()))
    assert parse_entries([tree]) == [replace(entry, fps_varies=flag)]
    if flag is None:
        later = ("fps_varies", "start_frame", "start_seconds", "pixel_aspect_ratio")
        for name in later:
            del tree[name]
        assert [getattr(parse_entries([tree])[0], name) for name in later] == [None] * len(later)
