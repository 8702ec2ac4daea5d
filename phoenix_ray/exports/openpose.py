"""OpenPose's `--write_json`: a folder per video, a JSON file per frame.

The body is BODY_25, with OpenPose's 18 points where the layout is that; face and hands are OpenPose's 70 and 21 points,
and empty lists where the layout has none, as OpenPose writes them without --face and --hand. Landmarks of OpenPose's
own layouts are written as they are. Of other layouts neck and middle of the hips, where they are missing, are halfway
between shoulders and hips; pupils are there only with irises (478 face points); and what is outside the picture is left
out. 0, 0, 0 is written for what is missing, as OpenPose writes what it does not find. A frame without a person has an
empty list of people.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.exports.requirements import require_format
from phoenix_ray.exports.selection import ExportSelection, video_file
from phoenix_ray.exports.whole_body import pixel_points, pixel_sizes, shortest_decimals, within_picture
from phoenix_ray.layouts import Layout, coco
from phoenix_ray.layouts.correspondence import Point, coco_133_points, named_point
from phoenix_ray.layouts.openpose import BODY_18, BODY_25

# The files of a frame: `<stem>_<frame, 12 digits>` and this.
KEYPOINTS_SUFFIX = "_keypoints.json"
# Part of ours → key of a person in a file, in OpenPose's order.
KEYS = {
    "pose": "pose_keypoints_2d",
    "face": "face_keypoints_2d",
    "left_hand": "hand_left_keypoints_2d",
    "right_hand": "hand_right_keypoints_2d",
}
_MIDDLES = {"neck": ("left_shoulder", "right_shoulder"), "middle_hip": ("left_hip", "right_hip")}
# Names in OpenPose's face, and in the face mesh: centres of the irises.
_PUPILS = (("right_pupil", "face_468"), ("left_pupil", "face_473"))
# A file name has 255 bytes at most; each video has a folder of its own.
_LONGEST_STEM = 220


def write_openpose(selection: ExportSelection, output: Path) -> None:
    """Write `<split>/<video ID>/<video ID>_<frame, 12 digits>_keypoints.json` for each frame.

    Raises:
        ConfigError: The layout lacks COCO's body.
    """
    require_format(selection.layout, "openpose")
    for video in selection.videos_for("openpose"):
        folder = video_file(output, video.split, video.video_id, "")
        folder.mkdir()
        stem = safe_name(video.video_id)[:_LONGEST_STEM]
        video.read_blocks(partial(_write_frames, folder, stem))


def _write_frames(folder: Path, stem: str, blocks: Iterator[VideoLandmarks]) -> None:
    for block in blocks:
        for frame, people in zip(block.frame_index, _people(block), strict=True):
            (folder / f"{stem}_{frame:012}{KEYPOINTS_SUFFIX}").write_text(json.dumps(people))


def _people(video: VideoLandmarks) -> list[dict[str, object]]:
    """Return the content of the file of each frame."""
    sizes = pixel_sizes(video)
    parts = {
        KEYS["pose"]: _body(video, sizes),
        **{KEYS[part]: pixel_points(video, sizes, points) for part, points in _finer_parts(video.layout).items()},
    }
    if not is_of_openpose(video.layout):
        parts = {key: within_picture(points, sizes) for key, points in parts.items()}
    return [
        {
            "version": 1.3,
            "people": [_person({key: points[row] for key, points in parts.items()})]
            if any(points[row].any() for points in parts.values())
            else [],
        }
        for row in range(len(video))
    ]


def is_of_openpose(layout: Layout) -> bool:
    """Return whether a layout's body is one of OpenPose's, so that its points are OpenPose's as they are."""
    return any(part.name == "pose" and part.points in (BODY_18, BODY_25) for part in layout.parts)


def _body(video: VideoLandmarks, sizes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return the points of the body, float32 (frames, 18 or 25, 3).

    A middle that the layout lacks is as sure as the less sure of its ends, and needs both.
    """
    layout = video.layout
    names = BODY_18 if is_of_openpose(layout) and layout.part("pose").points == BODY_18 else BODY_25
    body = pixel_points(video, sizes, [_body_point(layout, name) for name in names])
    for name, ends in _MIDDLES.items():
        if name in names and named_point(layout, name) is None:
            first, second = (body[:, names.index(end)] for end in ends)
            middle: NDArray[np.float32] = np.mean([first, second], axis=0, dtype=np.float32)
            middle[:, 2] = np.minimum(first[:, 2], second[:, 2])
            middle[~(first.any(axis=1) & second.any(axis=1))] = 0
            body[:, names.index(name)] = middle
    return body


def _body_point(layout: Layout, name: str) -> Point | None:
    own = named_point(layout, name)
    return coco_133_points(layout)[coco.NAMES.index(name)] if own is None and name in coco.NAMES else own


def _finer_parts(layout: Layout) -> dict[str, Sequence[Point | None]]:
    """Return the points of face and hands in OpenPose's order, of each that the layout has."""
    found = coco_133_points(layout)
    parts = {part.name: part.points for part in layout.parts}
    pupils = [
        next((("face", parts["face"].index(name)) for name in names if name in parts.get("face", ())), None)
        for names in _PUPILS
    ]
    points: dict[str, Sequence[Point | None]] = {
        "face": (*found[coco.FACE], *pupils),
        "left_hand": found[coco.LEFT_HAND],
        "right_hand": found[coco.RIGHT_HAND],
    }
    return {name: group for name, group in points.items() if name in parts}


def _person(parts: dict[str, NDArray[np.float32]]) -> dict[str, list[float]]:
    flat = {key: shortest_decimals(points) for key, points in parts.items()}
    return {
        "person_id": [-1],
        **{key: flat.get(key, []) for key in KEYS.values()},
        **{key.replace("2d", "3d"): [] for key in KEYS.values()},
    }
