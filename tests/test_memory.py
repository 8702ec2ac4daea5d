"""What a worker and an export hold of a video does not grow with the video's length."""

from __future__ import annotations

import gc
import importlib.util
import os
import tracemalloc
from collections.abc import Callable
from functools import partial, partialmethod
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from phoenix_ray.cluster.shards import cut
from phoenix_ray.cluster.worker import ShardWorker
from phoenix_ray.config import DecodeSettings, OutputSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.video_landmarks import frame_bytes
from phoenix_ray.exports import kaggle
from phoenix_ray.exports.export import export_videos
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.sources.base import Video
from tests.fuzz.bombs import LAYOUT, nobody, write_bomb

WIDTH, HEIGHT, SHARD_FRAMES = 320, 240, 32
# Of an export.
BLOCK_ROWS = 64


def make_video(folder: Path, frames: int) -> Video:
    """A video of one picture again and again: links to a single file."""
    folder.mkdir()
    picture = folder.with_suffix(".png")
    cv2.imwrite(str(picture), np.full((HEIGHT, WIDTH, 3), 150, np.uint8))
    for index in range(frames):
        os.link(picture, folder / f"{index:05}.png")
    return Video("train", folder.name, "frame_folder", str(folder), frames, "signature", 25.0)


def peak_bytes(work: Callable[[], object]) -> int:
    """The most that Python, numpy and Arrow hold beyond what they did before, while a function runs."""
    gc.collect()
    usual = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counted)
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] + (counted.max_memory() or 0)
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(usual)


def compute(worker: ShardWorker, video: Video) -> None:
    for first, last in cut((0, video.frame_count), SHARD_FRAMES, 8):
        assert worker.process(Shard(video, first, last)).trouble is None


def test_the_peak_of_a_worker_does_not_grow_with_the_video(tmp_path: Path) -> None:
    settings = Settings(
        model=ModelSettings(name="synthetic", batch_size=8),
        decode=DecodeSettings(threads=1, ahead=8),
        output=OutputSettings(path=str(tmp_path / "output")),
    )
    worker = ShardWorker(settings, DatasetIdentity(layout="holistic-468"))
    worker.ready()
    compute(worker, make_video(tmp_path / "first", 2 * SHARD_FRAMES))  # Imports, and fills caches.
    short_video = make_video(tmp_path / "short", 2 * SHARD_FRAMES)
    long_video = make_video(tmp_path / "long", 16 * SHARD_FRAMES)
    short = peak_bytes(lambda: compute(worker, short_video))
    long = peak_bytes(lambda: compute(worker, long_video))
    # Decoded, one shard of the video is 7 MB.
    a_shard_of_frames = SHARD_FRAMES * WIDTH * HEIGHT * 3
    assert long < short + a_shard_of_frames / 2


@pytest.mark.parametrize("name", ["pose", "npz", "coco", "openpose", "kaggle", "fingerspelling", "webdataset", "csv"])
def test_the_peak_of_an_export_does_not_grow_with_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "pose" and importlib.util.find_spec("pose_format") is None:
        pytest.skip("pose_format is not installed")
    # Real blocks are 16 times as long, and row groups of these two formats hold more frames than the long video has.
    monkeypatch.setattr(Dataset, "load_blocks", partialmethod(Dataset.load_blocks, block_rows=BLOCK_ROWS))
    monkeypatch.setattr(kaggle, "_ASL_ROWS_PER_GROUP", 543 * BLOCK_ROWS)
    monkeypatch.setattr(kaggle, "_MOST_FRAMES_PER_GROUP", BLOCK_ROWS)
    for label, frames in (("first", 2), ("short", 2 * BLOCK_ROWS), ("long", 16 * BLOCK_ROWS)):
        write_bomb(tmp_path / label, nobody(frames), frames)
    export_videos(str(tmp_path / "first"), tmp_path / "out-first", name)  # Imports, and fills caches.
    short, long = (
        peak_bytes(partial(export_videos, str(tmp_path / label), tmp_path / f"out-{label}", name))
        for label in ("short", "long")
    )
    arrays_of_the_long_video = 16 * BLOCK_ROWS * frame_bytes(LAYOUT)
    assert long < short + arrays_of_the_long_video / 2
