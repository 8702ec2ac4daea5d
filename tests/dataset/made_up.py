"""Made-up videos and landmarks for the tests of the dataset, small enough to write hundreds of files a second."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.partitions import PartitionInfo, write_partition
from phoenix_ray.dataset.schema import FrameRecord, empty_batch
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.storage import LocalStorage, Storage
from phoenix_ray.estimation import Estimate
from phoenix_ray.layouts import LAYOUTS, Layout, Part
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.sources.base import Video

# Two parts with three points: all that the rules of a dataset depend on, at a hundredth of Holistic's size.
LAYOUT = Layout(
    "made-up",
    (
        Part("body", ("head", "hip", "foot"), ("x", "y", "z")),
        Part("hand", ("wrist", "tip"), ("x", "y"), scored=False),
    ),
)
# Readers find a layout by its name.
LAYOUTS[LAYOUT.name] = LAYOUT
IDENTITY = DatasetIdentity(layout=LAYOUT.name, model={"name": "made-up", "engine": "none"}, source_root="/data")
SETTINGS = OutputSettings(row_group_rows=8)


def make_video(
    video_id: str = "video", split: str = "train", frames: int = 10, signature: str = "1", **annotation: str
) -> Video:
    return Video(split, video_id, "frame_folder", f"/data/{video_id}", frames, signature, 25.0, annotation)


def make_batch(video: Video, first: int, last: int, layout: Layout = LAYOUT) -> LandmarkBatch:
    """Return landmarks that depend on video, signature and frame alone, with every third hand missing."""
    points = {
        part.name: np.empty((last - first, len(part.points), len(part.axes)), np.float32) for part in layout.parts
    }
    scores = {part.name: np.empty(last - first, np.float32) for part in layout.parts if part.scored}
    for row, frame in enumerate(range(first, last)):
        seed = hashlib.sha256(repr((video.split, video.video_id, video.signature, frame)).encode()).digest()
        numbers = np.random.default_rng(list(seed))
        for part in layout.parts:
            missing = part.name.endswith("hand") and frame % 3 == 0
            points[part.name][row] = np.nan if missing else numbers.random(points[part.name].shape[1:])
            if part.scored:
                scores[part.name][row] = numbers.random()
    return LandmarkBatch(points, scores)


def make_records(first: int, last: int) -> list[FrameRecord]:
    return [FrameRecord(index, f"images{index:04}.png", index / 25, 210, 260, "ok") for index in range(first, last)]


def commit(storage: Storage, video: Video, first: int, last: int) -> PartitionInfo:
    return commit_rows(storage, Shard(video, first, last), make_records(first, last), make_batch(video, first, last))


def commit_rows(
    storage: Storage,
    shard: Shard,
    records: list[FrameRecord],
    batch: LandmarkBatch,
    identity: DatasetIdentity = IDENTITY,
    settings: OutputSettings = SETTINGS,
    kernels: str = "",
) -> PartitionInfo:
    return write_partition(storage, identity, settings, shard, Estimate(records, batch, 0.0, 0.0, ()), kernels)


def commit_truncated(storage: Storage, video: Video, first: int, last: int, unreadable: Collection[int]) -> None:
    records = [
        replace(record, status="unreadable", error="the file ends") if record.index in unreadable else record
        for record in make_records(first, last)
    ]
    batch = empty_batch(LAYOUT, last - first)
    commit_rows(storage, Shard(video, first, last), records, batch)


def new_dataset(folder: Path) -> LocalStorage:
    storage = LocalStorage(str(folder))
    claim_dataset(storage, IDENTITY)
    return storage
