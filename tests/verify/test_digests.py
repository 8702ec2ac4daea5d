from __future__ import annotations

from pathlib import Path

from phoenix_ray.verify.digests import agreed_videos
from tests.verify.conftest import Compute

EVERYTHING = {("dev", "delta"): 9, ("train", "alpha"): 21, ("train", "beta"): 14}


def test_datasets_that_were_sharded_differently_agree_by_their_digests(compute: Compute) -> None:
    assert agreed_videos(compute("one", 8), compute("other", 100)) == EVERYTHING


def test_a_file_whose_bytes_changed_vouches_for_nothing(compute: Compute) -> None:
    one, other = compute("one"), compute("other")
    (file,) = Path(other).glob("data/split=train/*.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert agreed_videos(one, other) == {("dev", "delta"): 9}


def test_partitions_are_not_vouched_for(compute: Compute) -> None:
    assert agreed_videos(compute("one"), compute("other", compacted=False)) == {}
