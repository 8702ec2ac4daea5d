"""A small source of real files and a dataset of it, for tests of the viewer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from phoenix_ray.cluster.worker import ShardWorker
from phoenix_ray.config import OutputSettings, Settings, SourceSettings
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.registry import open_source

# A name that would be markup, a script and a path if anything took it for that.
HOSTILE = "<img src=x onerror=document.title='owned'>&amp;?#%2f 手"
VIDEOS = {("train", "Straße 手"): 40, ("train", HOSTILE): 12, ("dev", "b"): 15}
WIDTH, HEIGHT = 42, 52


def picture(seed: int, index: int) -> np.ndarray:
    """Return a smooth BGR picture, uint8 (HEIGHT, WIDTH, 3), that differs clearly from that of every other index."""
    random = np.random.default_rng([seed, index])
    cells = random.integers(0, 256, (4, 3, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(cells, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR), np.uint8)


def write_source(folder: Path, videos: Mapping[tuple[str, str], int] = VIDEOS) -> Path:
    """Write folders of PNGs, `split/video`; frame 3 of dev/b is not a picture."""
    for seed, ((split, video_id), frames) in enumerate(videos.items()):
        place = folder / split / video_id
        place.mkdir(parents=True)
        for index in range(frames):
            cv2.imwrite(str(place / f"{index:03}.png"), picture(seed, index))
    if ("dev", "b") in videos:
        (folder / "dev" / "b" / "003.png").write_bytes(b"no picture")
    return folder


def compute(
    source: Path, output: Path, unfinished: Collection[str] = (), mode: Literal["static", "tracking"] = "static"
) -> Path:
    """Compute a dataset of a source with the model `synthetic`; of `unfinished` videos, only the first five frames."""
    settings = Settings(
        source=SourceSettings(path=str(source)),
        model=ModelSettings(name="synthetic", mode=mode),
        output=OutputSettings(path=str(output)),
    )
    opened = open_source(settings.source)
    identity = claim_dataset(open_storage(str(output)), DatasetIdentity("holistic-468", source_root=opened.root))
    worker = ShardWorker(settings, identity)
    worker.ready()
    for video in opened.videos():
        assert isinstance(video, Video)
        last = 5 if video.video_id in unfinished else video.frame_count
        assert worker.process(Shard(video, 0, last)).trouble is None
    return output


def finish(source: Path, output: Path, video_id: str) -> None:
    """Compute the frames of an unfinished video that `compute` left out."""
    settings = Settings(
        source=SourceSettings(path=str(source)),
        model=ModelSettings(name="synthetic"),
        output=OutputSettings(path=str(output)),
    )
    opened = open_source(settings.source)
    worker = ShardWorker(settings, DatasetIdentity("holistic-468", source_root=opened.root))
    worker.ready()
    (video,) = (video for video in opened.videos() if isinstance(video, Video) and video.video_id == video_id)
    assert worker.process(Shard(video, 5, video.frame_count)).trouble is None
