from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.cluster.claim import make_identity
from phoenix_ray.cluster.plan import make_plan
from phoenix_ray.cluster.rates import SHARDS, measure_rates, spread_sample
from phoenix_ray.cluster.shard_queue import PackedShards
from phoenix_ray.config import Settings, SourceSettings
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.errors import SourceError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.registry import open_source
from tests.cluster.conftest import FRAMES, Run
from tests.dataset.made_up import make_video


def shards_of(settings: Settings) -> list[Shard]:
    videos = open_source(settings.source).videos()
    return list(make_plan(videos, lambda video: [(0, video.frame_count)], 512, 16).shards)


@pytest.mark.parametrize("mode", ["static", "tracking"])
def test_every_step_of_a_worker_is_measured_on_frames_of_the_source(frame_folders: Path, mode: str) -> None:
    settings = Settings(
        source=SourceSettings(path=str(frame_folders)),
        model=ModelSettings.model_validate({"name": "synthetic", "mode": mode, "batch_size": 3}),
    )
    before = sorted(frame_folders.rglob("*"))
    rates = measure_rates(shards_of(settings), settings, make_identity(settings, ""), seconds=60)
    assert rates.videos == 5
    assert rates.frames == (FRAMES if mode == "static" else sum(min(16, n) for n in (21, 40, 9, 13, 30)))
    for cost in (rates.decode, rates.model, rates.rows):
        assert cost.seconds > 0
        assert cost.cpu_seconds > 0
    assert (rates.chain_seconds > 0) == (mode == "tracking")
    # 26x21 pictures of noise in PNG take 1.7 kB, a row of 543 points at most 8 kB.
    assert rates.read_bytes > 1_000
    assert 500 < rates.written_bytes < 10_000
    assert "arch=" in rates.kernels
    assert sorted(frame_folders.rglob("*")) == before


def test_time_that_is_over_ends_the_measurement_after_the_first_shard(frame_folders: Path) -> None:
    settings = Settings(source=SourceSettings(path=str(frame_folders)), model=ModelSettings(name="synthetic"))
    assert measure_rates(shards_of(settings), settings, make_identity(settings, ""), seconds=-1).videos == 1


def test_videos_that_cannot_be_read_are_left_out(frame_folders: Path) -> None:
    settings = Settings(source=SourceSettings(path=str(frame_folders)), model=ModelSettings(name="synthetic"))
    lost = Shard(make_video("lost"), 0, 10)
    sound = shards_of(settings)[0]
    assert measure_rates([lost, sound], settings, make_identity(settings, "")).videos == 1
    with pytest.raises(SourceError, match="no frame"):
        measure_rates([lost], settings, make_identity(settings, ""))


@given(st.lists(st.integers(1, 600), min_size=1, max_size=300))
def test_a_sample_has_shards_of_every_length_and_begins_with_different_ones(lengths: list[int]) -> None:
    shards = PackedShards()
    for number, frames in enumerate(lengths):
        shards.add(Shard(Video("train", f"v{number}", "synthetic", "", frames, ""), 0, frames))
    sample = spread_sample(shards, SHARDS)
    keys = [shard.key for shard in sample]
    assert len(set(keys)) == len(keys) == min(len(lengths), SHARDS)
    assert set(keys) <= {shard.key for shard in shards}
    # Of the first two, one is as short as half of the others, so that a measurement that is cut short has both kinds.
    ordered = sorted(shard.frames for shard in sample)
    assert min(shard.frames for shard in sample[:2]) <= ordered[len(ordered) // 2]


@pytest.mark.cluster
def test_a_plan_measures_on_a_real_ray_and_writes_nothing(
    frame_folders: Path, tmp_path: Path, run_command: Run
) -> None:
    words = [str(frame_folders), str(tmp_path / "out"), "model.name=synthetic", "--measure", "--json"]
    done = run_command("plan", *words)
    assert done.returncode == 0, done.stderr
    estimate = json.loads(done.stdout)["estimate"]
    assert estimate["basis"].startswith("measured on")
    assert (estimate["rates"]["videos"], estimate["rates"]["frames"]) == (5, FRAMES)
    assert estimate["nodes"] == 1
    assert not (tmp_path / "out").exists()
