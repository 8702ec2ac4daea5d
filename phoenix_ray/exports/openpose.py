"""OpenPose's `--write_json`: a folder per video, a JSON file per frame.

The body is BODY_25, whose neck and middle of the hips are halfway between shoulders and hips; the face is OpenPose's 70
points, whose pupils are there only with irises (478 face points). What is missing or outside the picture is 0, 0, 0, as
OpenPose writes what it does not find. A frame without a person has an empty list of people.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.exports.coco import confidence, pixel_sizes, shortest_decimals, whole_body, within_picture
from phoenix_ray.exports.selection import ExportSelection, require_holistic, video_file
from phoenix_ray.layouts import coco
from phoenix_ray.layouts.openpose import BODY_25

_MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "middle_hip": ("left_hip", "right_hip")}
# Centres of the irises: right, left.
_PUPILS = (468, 473)
# A file name has 255 bytes at most; each video has a folder of its own.
_LONGEST_STEM = 220


def write_openpose(selection: ExportSelection, output: Path) -> None:
    """Write `<split>/<video ID>/<video ID>_<frame, 12 digits>_keypoints.json` for each frame.

    Raises:
        ConfigError: The layout is not Holistic's.
    """
    require_holistic(selection.layout, "openpose", "xy")
    for video in selection.holistic_videos("openpose", "xy"):
        folder = video_file(output, video.split, video.video_id, "")
        folder.mkdir()
        stem = safe_name(video.video_id)[:_LONGEST_STEM]
        video.read_blocks(partial(_write_frames, folder, stem))


def _write_frames(folder: Path, stem: str, blocks: Iterator[VideoLandmarks]) -> None:
    for block in blocks:
        for frame, people in zip(block.frame_index, _people(block), strict=True):
            (folder / f"{stem}_{frame:012}_keypoints.json").write_text(json.dumps(people))


def _people(video: VideoLandmarks) -> list[dict[str, object]]:
    """Return the content of the file of each frame."""
    sizes = pixel_sizes(video)
    points = whole_body(video, sizes)
    body: NDArray[np.float32] = np.stack([_body_point(points, name) for name in BODY_25], axis=1)
    face = np.concatenate([points[:, coco.FACE], _pupils(video, sizes)], axis=1)
    hands = points[:, coco.LEFT_HAND], points[:, coco.RIGHT_HAND]
    shown = [within_picture(part, sizes) for part in (body, face, *hands)]
    return [
        {"version": 1.3, "people": [_person(*parts)] if any(part.any() for part in parts) else []}
        for parts in zip(*shown, strict=True)
    ]


def _body_point(points: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return a point of BODY_25, (frames, 3); a middle is as sure as the less sure of its ends, and needs both."""
    if name not in _MIDDLES:
        point: NDArray[np.float32] = points[:, coco.NAMES.index(name)]
        return point
    first, second = (_body_point(points, end) for end in _MIDDLES[name])
    middle: NDArray[np.float32] = np.mean([first, second], axis=0, dtype=np.float32)
    middle[:, 2] = np.minimum(first[:, 2], second[:, 2])
    middle[~(first.any(axis=1) & second.any(axis=1))] = 0
    return middle


def _pupils(video: VideoLandmarks, sizes: NDArray[np.int32]) -> NDArray[np.float32]:
    if video.points["face"].shape[1] <= max(_PUPILS):
        return np.zeros((len(video), len(_PUPILS), 3), np.float32)
    pixels = video.points["face"][:, _PUPILS, :2].astype(np.float64) * sizes[:, np.newaxis]
    values = np.concatenate([pixels, confidence(video, "face")[:, _PUPILS, np.newaxis]], axis=2)
    pupils: NDArray[np.float32] = np.nan_to_num(values, nan=0.0).astype(np.float32)
    return pupils


def _person(
    body: NDArray[np.float32],
    face: NDArray[np.float32],
    left_hand: NDArray[np.float32],
    right_hand: NDArray[np.float32],
) -> dict[str, list[float]]:
    return {
        "person_id": [-1],
        "pose_keypoints_2d": shortest_decimals(body),
        "face_keypoints_2d": shortest_decimals(face),
        "hand_left_keypoints_2d": shortest_decimals(left_hand),
        "hand_right_keypoints_2d": shortest_decimals(right_hand),
        "pose_keypoints_3d": [],
        "face_keypoints_3d": [],
        "hand_left_keypoints_3d": [],
        "hand_right_keypoints_3d": [],
    }
