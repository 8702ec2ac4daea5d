"""Small datasets on disk, computed by the synthetic model as the cluster would, but without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from phoenix_ray.cluster.claim import make_identity
from phoenix_ray.cluster.worker import ShardWorker
from phoenix_ray.config import OutputSettings, Settings, SourceSettings
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.compaction_plan import plan_compaction
from phoenix_ray.dataset.identity import claim_dataset
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.publication import publish
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.registry import open_source

VIDEOS = {"dev": {"delta": 9}, "train": {"alpha": 21, "beta": 14}}
FRAMES = 44

Compute = Callable[..., str]


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos of random pictures in two splits, 44 frames of 42x52; one cannot be decoded."""
    root = tmp_path_factory.mktemp("verify") / "source"
    random = np.random.default_rng(5)
    for split, videos in VIDEOS.items():
        for video_id, frames in videos.items():
            folder = root / split / video_id
            folder.mkdir(parents=True)
            for index in range(frames):
                cv2.imwrite(str(folder / f"{index:04}.png"), random.integers(0, 256, (52, 42, 3), dtype=np.uint8))
    (root / "train" / "alpha" / "0002.png").write_bytes(b"no picture")
    return root


@pytest.fixture
def compute(source: Path, tmp_path: Path) -> Compute:
    """Compute the source in shards of some frames; return the dataset's folder."""

    def work(
        name: str = "dataset",
        shard_frames: int = 8,
        *,
        compacted: bool = True,
        mode: Literal["static", "tracking"] = "static",
    ) -> str:
        settings = Settings(
            source=SourceSettings(path=str(source)),
            model=ModelSettings(name="synthetic", batch_size=4, mode=mode),
            output=OutputSettings(path=str(tmp_path / name)),
        )
        opened, storage = open_source(settings.source), open_storage(settings.output.path)
        identity = claim_dataset(storage, make_identity(settings, opened.root))
        worker = ShardWorker(settings, identity)
        worker.ready()
        for video in opened.videos():
            assert isinstance(video, Video)
            for first in range(0, video.frame_count, shard_frames):
                receipt = worker.process(Shard(video, first, min(first + shard_frames, video.frame_count)))
                assert receipt.trouble is None
        if compacted:
            survey = take_survey(storage, identity)
            tasks = plan_compaction(survey, lambda file: read_entries(storage, identity, file), 1e9)
            publish(storage, identity, [compact_videos(storage, task, settings.output) for task in tasks])
        return settings.output.path

    return work
