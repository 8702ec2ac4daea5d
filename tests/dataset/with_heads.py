"""Made-up landmarks with heads, for the tests of datasets, exports and what reads them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset, define_layout
from phoenix_ray.dataset.schema import to_table
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, from_rows
from phoenix_ray.layouts import Head, Layout
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.sources.base import Video
from tests.dataset.made_up import LAYOUT, commit_rows, make_batch, make_records, make_video

EMOTION = Head("emotion", "body", ("glad", "sad", "calm"), ("valence", "arousal"))
AGE = Head("age", "hand", (), ("years",))
WITH_HEADS = Layout("made-up+emotion+age", LAYOUT.parts, (EMOTION, AGE))


def identity_with_heads(layout: Layout = WITH_HEADS) -> DatasetIdentity:
    return DatasetIdentity(
        layout=layout.name,
        model={"name": "made-up", "engine": "none"},
        source_root="/data",
        layout_definition=define_layout(layout),
    )


IDENTITY = identity_with_heads()


def batch_with_heads(video: Video, first: int, last: int, layout: Layout = WITH_HEADS) -> LandmarkBatch:
    """Return landmarks and heads that depend on video and frame alone; every fifth frame has no emotion."""
    batch = make_batch(video, first, last, layout)
    rows: dict[str, list[NDArray[np.float32]]] = {head.name: [] for head in layout.heads}
    for frame in range(first, last):
        random = np.random.default_rng([*video.video_id.encode(), frame])
        for head in layout.heads:
            numbers = random.normal(0, 2, head.width).astype(np.float32)
            missing = frame % 5 == 2 if head.name == EMOTION.name else frame % 3 == 0
            rows[head.name].append(np.full_like(numbers, np.nan) if missing else numbers)
    return replace(batch, heads={name: np.stack(numbers) for name, numbers in rows.items()})


def video_with_heads(video_id: str = "video", frames: int = 10) -> VideoLandmarks:
    """Return a video as a dataset gives it."""
    video = make_video(video_id, frames=frames)
    rows = to_table(WITH_HEADS, "train", video_id, make_records(0, frames), batch_with_heads(video, 0, frames))
    return from_rows(WITH_HEADS, "train", video_id, rows, 25.0)


def dataset_with_heads(folder: str, cuts: tuple[int, ...] = (0, 4, 10), layout: Layout = WITH_HEADS) -> LocalStorage:
    """Write a dataset of one video, in partitions that begin at these frames; return its storage."""
    storage = LocalStorage(folder)
    identity = identity_with_heads(layout)
    claim_dataset(storage, identity)
    video = make_video()
    for first, last in pairwise(cuts):
        commit_rows(
            storage,
            Shard(video, first, last),
            make_records(first, last),
            batch_with_heads(video, first, last, layout),
            identity,
            OutputSettings(row_group_rows=8),
        )
    return storage
