from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.tally import total
from phoenix_ray.dataset.totals import Extent, measure_extent, tally_splits
from tests.dataset.made_up import IDENTITY, commit, make_video, new_dataset
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
