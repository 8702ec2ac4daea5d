"""Datasets of the layouts of networks in ONNX files: made-up landmarks with all the gaps that theirs may have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts import (
    COCO_17,
    COCO_WHOLEBODY_133,
    HALPE_26,
    OPENPOSE_18,
    OPENPOSE_25,
    OPENPOSE_137,
    Layout,
    Part,
)
from phoenix_ray.layouts.coco import IMAGE_AXES
from tests.exports.made_up import write_dataset

# As a manifest describes a layout that nobody knows: a part without edges, names of one letter, spaces and signs.
OWN_LAYOUT = Layout(
    "lab-7.b",
    (
        Part("torso", ("neck", "left_hip", "right_hip", "L5 (back)"), IMAGE_AXES, ((0, 1), (0, 2), (1, 3), (2, 3))),
        Part("markers", tuple("abcdefg"), IMAGE_AXES),
        Part("left_hand", ("wrist", "tip"), IMAGE_AXES, ((0, 1),)),
    ),
)
ZOO = (COCO_17, COCO_WHOLEBODY_133, OPENPOSE_18, OPENPOSE_25, OPENPOSE_137, HALPE_26, OWN_LAYOUT)
SIZE = (210, 260)
FRAMES = 9
NOBODY, UNREADABLE = 0, 8


def zoo_video(
    layout: Layout, split: str = "train", video_id: str = "a", frames: int = FRAMES, seed: int = 0
) -> VideoLandmarks:
    """Return a video whose points lie in the picture.

    Frame 0 shows nobody, and frame 8 cannot be read. Frames 1 to 3 lack a part each, where there are several. In frames
    4 to 7 some points of each part are missing: x and y are NaN and the confidence stays, as networks leave it.
    """
    numbers = np.random.default_rng([seed, len(layout.parts), len(layout.name)])
    points: dict[str, np.ndarray] = {}
    scores: dict[str, np.ndarray] = {}
    for place, part in enumerate(layout.parts):
        start = numbers.uniform(0.1, 0.8, (1, len(part.points), len(part.axes)))
        values = start + numbers.uniform(0, 0.1, (frames, len(part.points), len(part.axes)))
        if part.sureness == "confidence":
            # Scores are no probabilities.
            values[:, :, 2] = numbers.uniform(0.05, 3.0, values.shape[:2])
        for frame in range(4, min(frames, UNREADABLE)):
            few = numbers.choice(len(part.points), max(1, len(part.points) // 5), replace=False)
            values[frame, few, :2] = np.nan
        lost = [NOBODY, UNREADABLE] + [1 + place % 3] * (len(layout.parts) > 1)
        values[[frame for frame in lost if frame < frames]] = np.nan
        points[part.name] = values.astype(np.float32)
        scores[part.name] = numbers.uniform(0.3, 2.0, frames).astype(np.float32)
        scores[part.name][UNREADABLE:] = np.nan
    index = np.arange(frames, dtype=np.int32)
    status = ["ok"] * frames
    sizes = np.full((frames, 2), SIZE, np.int32)
    if frames:
        status[NOBODY] = "no_person"
    if frames > UNREADABLE:
        status[UNREADABLE], sizes[UNREADABLE] = "unreadable", 0
    return VideoLandmarks(
        split,
        video_id,
        layout,
        index,
        tuple(f"images{number + 1:04}.png" for number in index),
        index / 25.0,
        sizes,
        tuple(status),
        points,
        scores,
        25.0,
        {"gloss": "MORGEN REGEN", "translation": "morgen regnet es", "signer": "Signer04"},
    )


def zoo_videos(layout: Layout) -> Sequence[VideoLandmarks]:
    return (zoo_video(layout, "dev", "b/ü.1", 3, 1), zoo_video(layout), zoo_video(layout, "train", "c", 6, 2))


def write_zoo_dataset(folder: Path, layout: Layout) -> str:
    """Write the videos of `zoo_videos` as a dataset."""
    return write_dataset(folder, tuple(zoo_videos(layout)))


def layout_id(value: object) -> str:
    """Name a test by its layout."""
    return value.name if isinstance(value, Layout) else ""
