"""What computed a row is kept from the worker to the table of videos, through partitions and compactions."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from phoenix_ray.commands.check import check
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.partitions import PartitionInfo, list_partitions
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.video_table import read_entries
from tests.dataset.made_up import (
    IDENTITY,
    commit_rows,
    make_batch,
    make_records,
    make_video,
    new_dataset,
)
from tests.dataset.test_compaction import compact_and_publish

AVX512 = "arch=x86_64 isa=avx512 litert=2.3.0"
AVX2 = "arch=x86_64 isa=avx2 litert=2.3.0"
ARM = "arch=aarch64 isa=neon litert=2.3.0"


def commit_on(storage: Storage, kernels: str, video_id: str, first: int, last: int) -> PartitionInfo:
    video, records = make_video(video_id), make_records(first, last)
    batch = make_batch(video, first, last)
    return commit_rows(storage, Shard(video, first, last), records, batch, kernels=kernels)


def test_a_partition_says_what_computed_it(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    receipt = commit_on(storage, AVX512, "a", 0, 4)
    (listed,) = list_partitions(storage, IDENTITY)
    assert isinstance(listed, PartitionInfo)
    assert receipt.tally.kernels == listed.tally.kernels == {AVX512: 4}


def test_a_video_of_several_machines_names_them_before_and_after_each_compaction(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit_on(storage, AVX512, "a", 0, 6)
    commit_on(storage, AVX2, "a", 4, 10)
    both = {AVX512: 10, AVX2: 10}
    assert Dataset.open(str(tmp_path)).kernels() == both
    for video_id in "bc":
        compact_and_publish(storage)
        (file,) = read_manifest(storage, IDENTITY).files
        assert {entry.video_id: entry.tally.kernels for entry in read_entries(storage, IDENTITY, file.name)}["a"] == {
            AVX512: 6,
            AVX2: 4,
        }
        commit_on(storage, AVX2, video_id, 0, 10)
    assert Dataset.open(str(tmp_path)).select(split="train").kernels() == {AVX512: 10, AVX2: 30}


def test_a_dataset_that_does_not_say_what_computed_it_is_read_all_the_same(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit_on(storage, "", "a", 0, 10)
    assert Dataset.open(str(tmp_path)).kernels() == {}
    compact_and_publish(storage)
    assert Dataset.open(str(tmp_path)).kernels() == {}


@pytest.mark.parametrize(("others", "said"), [(AVX2, False), (ARM, True)])
@pytest.mark.parametrize("compacted", [False, True])
def test_check_names_unlike_machines_and_how_far_they_are_apart(
    tmp_path: Path, others: str, said: bool, compacted: bool
) -> None:
    storage = new_dataset(tmp_path)
    commit_on(storage, AVX512, "a", 0, 10)
    commit_on(storage, others, "b", 0, 10)
    if compacted:
        compact_and_publish(storage)
    output = CliRunner().invoke(check, [str(tmp_path)]).output
    assert ("Rows come from unlike machines, up to 1.25 px apart" in output) == said
    assert (f"10 frames: {others}" in output) == said
