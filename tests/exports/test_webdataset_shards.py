from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.exports.selection import select_for_export
from phoenix_ray.exports.webdataset_shards import write_webdataset
from tests.exports.made_up import SELECTION, VIDEOS, InMemory, make_landmarks

wds = pytest.importorskip("webdataset", reason="webdataset is not installed")


def test_webdataset_reads_equal_arrays_and_annotations(tmp_path: Path) -> None:
    write_webdataset(SELECTION, tmp_path / "out")
    shards = sorted(str(file) for file in (tmp_path / "out").iterdir())
    assert [Path(shard).name for shard in shards] == ["dev-000000.tar", "train-000000.tar"]
    samples = list(wds.WebDataset(shards, shardshuffle=False, empty_check=False).decode())
    assert [sample["json"]["video_id"] for sample in samples] == [video.video_id for video in VIDEOS]
    for sample, video in zip(samples, VIDEOS, strict=True):
        assert sample["json"]["annotation"]["gloss"] == "MORGEN __ON__ REGEN"
        assert sample["json"]["frames"] == len(video)
        for part, points in video.points.items():
            assert np.array_equal(sample["npz"][part], points, equal_nan=True)


def test_a_shard_takes_videos_until_it_is_full(tmp_path: Path) -> None:
    videos = tuple(make_landmarks("train", f"v{number}", 2) for number in range(5))
    write_webdataset(select_for_export(InMemory(videos)), tmp_path / "out", shard_bytes=100_000)
    shards = sorted(str(file) for file in (tmp_path / "out").iterdir())
    assert len(shards) == 3
    samples = wds.WebDataset(shards, shardshuffle=False).decode()
    assert [sample["json"]["video_id"] for sample in samples] == [video.video_id for video in videos]
