"""Made-up Holistic landmarks: every bit pattern a float32 coordinate may have, missing parts, text of any alphabet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset, define_layout
from phoenix_ray.dataset.schema import FrameRecord, FrameStatus
from phoenix_ray.dataset.shards import Shard, VideoKey
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.exports.registry import Writer
from phoenix_ray.exports.selection import select_for_export
from phoenix_ray.layouts import Layout, holistic
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.sources.base import Video
from tests.dataset.made_up import commit_rows

LAYOUT = holistic(468)
WIDTH, HEIGHT = 210, 260
ANNOTATION = {"gloss": "MORGEN __ON__ REGEN", "signer": "Signer04", "translation": "morgen regnet es: 10°", "take": "2"}


def make_landmarks(
    split: str = "train", video_id: str = "video-1", frames: int = 5, layout: Layout = LAYOUT
) -> VideoLandmarks:
    """Frame 0 has no person, frame 1 no left hand, frame 2 no face; all others are whole."""
    numbers = np.random.default_rng([*split.encode(), *video_id.encode()])
    points = {
        part.name: numbers.uniform(-0.1, 1.1, (frames, len(part.points), len(part.axes))).astype(np.float32)
        for part in layout.parts
    }
    points["pose"][:, :, 3] = np.clip(points["pose"][:, :, 3], 0.01, 1)
    for values in points.values():
        values[:1] = np.nan
    for part, frame in (("left_hand", 1), ("face", 2)):
        if part in points:
            points[part][frame : frame + 1] = np.nan
    scores = {part.name: numbers.uniform(0.5, 1, frames).astype(np.float32) for part in layout.parts if part.scored}
    for values in scores.values():
        values[:1] = np.nan
    index = np.arange(frames, dtype=np.int32)
    return VideoLandmarks(
        split,
        video_id,
        layout,
        index,
        tuple(f"images{number + 1:04}.png" for number in index),
        index / 25.0,
        np.full((frames, 2), (WIDTH, HEIGHT), np.int32),
        tuple("no_person" if number == 0 else "ok" for number in index),
        points,
        scores,
        25.0,
        ANNOTATION,
    )


VIDEOS = (
    make_landmarks("dev", "a", 3),
    make_landmarks("train", "01April_2010_Thursday_heute-6694", 6),
    make_landmarks("train", "b/ü.1", 1),
)


@dataclass(frozen=True)
class InMemory:
    """Videos in memory as a collection."""

    videos: tuple[VideoLandmarks, ...]

    @property
    def layout(self) -> Layout:
        return self.videos[0].layout

    def keys(self) -> Iterator[VideoKey]:
        yield from sorted((video.split, video.video_id) for video in self.videos)

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        return next(video for video in self.videos if (video.split, video.video_id) == (split, video_id))


SELECTION = select_for_export(InMemory(VIDEOS))


def write_one_file(write: Writer, folder: Path, video: VideoLandmarks) -> Path:
    """Export a video in a format that makes a file of each; return the file."""
    write(select_for_export(InMemory((video,))), folder)
    (file,) = (file for file in folder.rglob("*") if file.is_file())
    return file


def write_dataset(folder: Path, videos: tuple[VideoLandmarks, ...] = VIDEOS) -> str:
    """Write videos as a dataset of partitions, not compacted."""
    storage = LocalStorage(str(folder))
    identity = DatasetIdentity(
        videos[0].layout.name,
        {"name": "made-up", "engine": "none"},
        source_root="/data",
        layout_definition=define_layout(videos[0].layout),
    )
    claim_dataset(storage, identity)
    for one in videos:
        records = [
            FrameRecord(
                int(index), name, float(time), int(width) or None, int(height) or None, cast("FrameStatus", status)
            )
            for index, name, time, (width, height), status in zip(
                one.frame_index, one.frame_names, one.timestamps, one.sizes, one.status, strict=True
            )
        ]
        video = Video(
            *(one.split, one.video_id, "frame_folder", "/data", len(one), "1", one.fps, one.annotation),
            fps_varies=bool(one.fps_varies),
        )
        batch = LandmarkBatch(one.points, one.scores)
        commit_rows(storage, Shard(video, 0, len(one)), records, batch, identity, OutputSettings())
    return str(folder)


def assert_same_points(one: VideoLandmarks, other: VideoLandmarks, parts: tuple[str, ...]) -> None:
    """Bit for bit, on the axes that both have."""
    for part in parts:
        axes = min(one.points[part].shape[2], other.points[part].shape[2])
        assert np.array_equal(one.points[part][:, :, :axes], other.points[part][:, :, :axes], equal_nan=True), part
