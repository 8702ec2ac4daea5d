from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from phoenix_ray.cluster.plan import Shard
from phoenix_ray.cluster.worker import ShardWorker
from phoenix_ray.config import ModelSettings, OutputSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.sources.base import Video

FRAMES = 20


@pytest.fixture
def video(tmp_path: Path) -> Video:
    folder = tmp_path / "video"
    folder.mkdir()
    random = np.random.default_rng(0)
    for index in range(FRAMES):
        picture = np.full((26, 21, 3), random.integers(60, 200), np.uint8)
        cv2.imwrite(str(folder / f"images{index + 1:04}.png"), picture)
    return Video("train", "video", "frame_folder", str(folder), FRAMES, "signature", 25.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        model=ModelSettings(name="synthetic", batch_size=4), output=OutputSettings(path=str(tmp_path / "output"))
    )


def worker(settings: Settings) -> ShardWorker:
    one = ShardWorker(settings, DatasetIdentity(layout="holistic-468"))
    one.ready()
    return one


def test_a_worker_commits_a_shard_and_answers_with_a_receipt(video: Video, settings: Settings) -> None:
    receipt = worker(settings).process(Shard(video, 0, FRAMES))
    assert receipt.trouble is None
    assert receipt.partition is not None
    assert receipt.partition.rows == FRAMES
    assert Path(settings.output.path, receipt.partition.name).is_file()
    assert receipt.timings.inference > 0


def test_a_worker_that_cannot_see_the_source_blames_the_infrastructure_and_commits_nothing(
    video: Video, settings: Settings
) -> None:
    one = worker(settings)
    Path(video.location).rename(Path(video.location).with_name("elsewhere"))
    receipt = one.process(Shard(video, 0, FRAMES))
    assert receipt.partition is None
    assert receipt.trouble is not None
    assert receipt.trouble.failure_class == "infrastructure"
    assert video.location in receipt.trouble.message


def test_a_worker_that_cannot_write_blames_the_infrastructure(video: Video, settings: Settings) -> None:
    one = worker(settings)
    Path(settings.output.path).parent.mkdir(parents=True, exist_ok=True)
    Path(settings.output.path).write_text("a file where the folder should be")
    receipt = one.process(Shard(video, 0, FRAMES))
    assert receipt.partition is None
    assert receipt.trouble is not None
    assert receipt.trouble.failure_class == "infrastructure"
    assert settings.output.path in receipt.trouble.message
