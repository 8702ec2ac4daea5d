"""Made-up videos of landmarks, and a collection of them in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts import Layout, Part

LAYOUT = Layout(
    "made-up",
    (
        Part("pose", ("head", "hip", "foot"), ("x", "y", "z", "visibility")),
        Part("pose_world", ("head", "hip", "foot"), ("x", "y", "z"), scored=False),
        Part("left_hand", ("wrist", "tip"), ("x", "y", "z")),
    ),
)
WIDTH, HEIGHT = 200, 100


def make_video(
    frames: int = 12, video_id: str = "video", split: str = "train", layout: Layout = LAYOUT
) -> VideoLandmarks:
    """Return a video whose numbers follow from its ID; every fourth frame lacks the hand."""
    random = np.random.default_rng(list(hashlib.sha256(f"{split}/{video_id}".encode()).digest()))
    points = {
        part.name: random.uniform(0.2, 0.8, (frames, len(part.points), len(part.axes))).astype(np.float32)
        for part in layout.parts
    }
    scores = {part.name: random.uniform(0.5, 1, frames).astype(np.float32) for part in layout.parts if part.scored}
    points["left_hand"][3::4] = np.nan
    return VideoLandmarks(
        split,
        video_id,
        layout,
        np.arange(frames, dtype=np.int32),
        tuple(f"images{index + 1:04}.png" for index in range(frames)),
        np.arange(frames) / 25,
        np.full((frames, 2), (WIDTH, HEIGHT), np.int32),
        ("ok",) * frames,
        points,
        scores,
        25.0,
    )


def changed(video: VideoLandmarks, part: str, row: int, point: int, axis: int, by: float) -> VideoLandmarks:
    """Return the video with one value changed."""
    points = {name: values.copy() for name, values in video.points.items()}
    points[part][row, point, axis] += np.float32(by)
    return replace(video, points=points)


def without_part(video: VideoLandmarks, part: str, row: int) -> VideoLandmarks:
    """Return the video with a part missing in one frame."""
    points = {name: values.copy() for name, values in video.points.items()}
    points[part][row] = np.nan
    return replace(video, points=points)


def rows_of(video: VideoLandmarks, rows: Iterable[int]) -> VideoLandmarks:
    """Return the video with these rows in this order, each with its number and name."""
    chosen = list(rows)
    return replace(
        rearranged(video, chosen),
        frame_index=video.frame_index[chosen],
        frame_names=tuple(video.frame_names[row] for row in chosen),
    )


def rearranged(video: VideoLandmarks, rows: Iterable[int]) -> VideoLandmarks:
    """Return as many frames, numbered and named from the start, that hold what `rows` held."""
    chosen = list(rows)

    def pick(values: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        return {part: array[chosen] for part, array in values.items()}

    return replace(
        video,
        frame_index=video.frame_index[: len(chosen)],
        frame_names=video.frame_names[: len(chosen)],
        timestamps=video.timestamps[: len(chosen)],
        sizes=video.sizes[chosen],
        status=tuple(video.status[row] for row in chosen),
        points=pick(video.points),
        scores=pick(video.scores),
    )


class InMemory:
    """Videos that are already there; counts how often they are loaded."""

    def __init__(self, *videos: VideoLandmarks) -> None:
        self._videos = {(video.split, video.video_id): video for video in videos}
        self.layout = videos[0].layout if videos else LAYOUT
        self.loaded: list[VideoKey] = []

    def keys(self) -> Iterator[VideoKey]:
        yield from sorted(self._videos)

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        self.loaded.append((split, video_id))
        return self._videos[split, video_id]
