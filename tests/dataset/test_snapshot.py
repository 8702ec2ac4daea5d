from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.snapshot import (
    Extent,
    UnreadableVideo,
    describe_unreadable,
    measure_extent,
    tally_splits,
    unreadable_in,
    unreadable_videos,
)
from phoenix_ray.dataset.tally import total
from tests.dataset.made_up import (
    IDENTITY,
    commit,
    commit_truncated,
    make_video,
    new_dataset,
)
from tests.dataset.test_compaction import compact_and_publish


@pytest.mark.parametrize("partial", [0, 4, 6])
def test_rows_that_count_are_counted_once_also_beside_an_older_version(tmp_path: Path, partial: int) -> None:
    storage = new_dataset(tmp_path)
    for video in (make_video("a"), make_video("b"), make_video("c", split="dev")):
        commit(storage, video, 0, 10)
    compact_and_publish(storage)
    if partial:
        commit(storage, make_video("b", frames=6, signature="2"), 0, partial)
    commit(storage, make_video("d", frames=9), 0, 5)
    commit(storage, make_video("d", frames=9), 3, 9)
    splits = tally_splits(storage, IDENTITY)
    assert {split: tally.rows for split, tally in splits.items()} == {"dev": 10, "train": 25 if partial == 6 else 29}
    assert total(splits.values()).digest == Dataset(storage, IDENTITY).digest()
    rows = sum(tally.rows for tally in splits.values())
    assert measure_extent(storage, IDENTITY) == Extent(4, rows, 15 if partial == 6 else 9)


def test_an_empty_dataset_has_no_splits(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    assert tally_splits(storage, IDENTITY) == {}
    assert measure_extent(storage, IDENTITY) == Extent(0, 0, 0)


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


@pytest.mark.parametrize(("most", "expected"), [(1.0, "abcd"), (0.5, "abc"), (0.3, "ab"), (0.1, "a"), (0.0, "a")])
def test_a_selection_leaves_out_videos_that_lack_too_much(tmp_path: Path, most: float, expected: str) -> None:
    storage = new_dataset(tmp_path)
    for name, lacking in zip("abcd", (0, 3, 5, 10), strict=True):
        commit_truncated(storage, make_video(name), 0, 10, range(10 - lacking, 10))
    selected = Dataset(storage, IDENTITY).select(max_unreadable=most)
    assert selected.videos().column("video_id").to_pylist() == list(expected)


@pytest.mark.parametrize("most", [-0.1, 1.1, float("nan")])
def test_what_is_no_share_is_refused(tmp_path: Path, most: float) -> None:
    storage = new_dataset(tmp_path)
    with pytest.raises(ValueError, match="is not a share from 0 to 1"):
        Dataset(storage, IDENTITY).select(max_unreadable=most)
