"""What a worker holds of a video does not grow with the video's length."""

from __future__ import annotations

import gc
import os
import tracemalloc
from pathlib import Path

import cv2
import numpy as np

from phoenix_ray.cluster.shards import cut
from phoenix_ray.cluster.worker import ShardWorker
from phoenix_ray.config import DecodeSettings, ModelSettings, OutputSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.sources.base import Video

WIDTH, HEIGHT, SHARD_FRAMES = 320, 240, 32


def make_video(folder: Path, frames: int) -> Video:
    """A video of one picture again and again: links to a single file."""
    folder.mkdir()
    picture = folder.with_suffix(".png")
    cv2.imwrite(str(picture), np.full((HEIGHT, WIDTH, 3), 150, np.uint8))
    for index in range(frames):
        os.link(picture, folder / f"{index:05}.png")
    return Video("train", folder.name, "frame_folder", str(folder), frames, "signature", 25.0)


def peak_bytes(worker: ShardWorker, video: Video) -> int:
    """The most that Python and numpy hold beyond what they did before, while a video's shards are computed."""
    gc.collect()
    tracemalloc.start()
    try:
        for first, last in cut((0, video.frame_count), SHARD_FRAMES, 8):
            assert worker.process(Shard(video, first, last)).trouble is None
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_peak_of_a_worker_does_not_grow_with_the_video(tmp_path: Path) -> None:
    settings = Settings(
        model=ModelSettings(name="synthetic", batch_size=8),
        decode=DecodeSettings(threads=1, ahead=8),
        output=OutputSettings(path=str(tmp_path / "output")),
    )
    worker = ShardWorker(settings, DatasetIdentity(layout="holistic-468"))
    worker.ready()
    peak_bytes(worker, make_video(tmp_path / "first", 2 * SHARD_FRAMES))  # Imports, and fills caches.
    short = peak_bytes(worker, make_video(tmp_path / "short", 2 * SHARD_FRAMES))
    long = peak_bytes(worker, make_video(tmp_path / "long", 16 * SHARD_FRAMES))
    # Decoded, one shard of the video is 7 MB.
    a_shard_of_frames = SHARD_FRAMES * WIDTH * HEIGHT * 3
    assert long < short + a_shard_of_frames / 2
