from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest

from phoenix_ray.dataset.partitions import write_partition
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.schema import empty_batch
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.totals import unreadable_videos
from phoenix_ray.dataset.unreadable import UnreadableVideo, describe_unreadable, unreadable_in
from phoenix_ray.sources.base import Video
from tests.dataset.made_up import IDENTITY, LAYOUT, SETTINGS, commit, make_records, make_video, new_dataset
from tests.dataset.test_compaction import compact_and_publish


def commit_truncated(storage: Storage, video: Video, first: int, last: int, unreadable: Collection[int]) -> None:
    records = [
        replace(record, status="unreadable", error="the file ends") if record.index in unreadable else record
        for record in make_records(first, last)
    ]
    batch = empty_batch(LAYOUT, last - first)
    write_partition(storage, LAYOUT, IDENTITY, SETTINGS, video, first, last, records, batch)


@pytest.mark.parametrize("table_is_lost", [False, True])
def test_videos_with_unreadable_frames_are_counted_compacted_or_not(tmp_path: Path, table_is_lost: bool) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video("sound"), 0, 10)
    commit_truncated(storage, make_video("cut", frames=58), 0, 58, range(9, 58))
    commit_truncated(storage, make_video("mended"), 0, 10, range(4))
    compact_and_publish(storage)
    commit(storage, make_video("mended", signature="2"), 0, 10)
    commit_truncated(storage, make_video("open", split="dev"), 0, 6, range(5, 10))
    commit_truncated(storage, make_video("open", split="dev"), 4, 10, range(5, 10))
    if table_is_lost:
        storage.delete("videos.parquet")
    expected = [UnreadableVideo("dev", "open", 10, 5), UnreadableVideo("train", "cut", 58, 49)]
    assert unreadable_videos(storage, IDENTITY) == expected
    assert unreadable_in(Dataset(storage, IDENTITY).videos()) == expected


def test_a_line_names_the_worst_videos_and_counts_the_others() -> None:
    videos = [
        UnreadableVideo("train", name, 100, frames) for name, frames in zip("abcde", [1, 99, 5, 4, 3], strict=True)
    ]
    assert describe_unreadable([]) == ""
    assert describe_unreadable(videos[1:2]) == "1 video partly unreadable: train/b (99 of 100 frames)"
    assert describe_unreadable(videos) == (
        "5 videos partly unreadable: train/b (99 of 100 frames), train/c (5 of 100 frames), train/d (4 of 100 frames), "
        "2 more"
    )
