"""`.pose`, the exchange format of sign-language processing: writing one file per video, as pose-format's tools do.

The header is the one that `pose_format.utils.holistic` makes (that module itself cannot be imported without MediaPipe):
five components in the order below, points named and joined as in MediaPipe, or the two of the pose where there are
neither hands nor face. The body holds x and y in pixels, z as it
is, and a confidence per point: the visibility for the pose, 1 for face and hands, and 0 with zeros for what is missing.

`POSE_WORLD_LANDMARKS` are in metres in a dataset. In a `.pose` file their x and y are metres times the picture's width
and height, and their z is metres: `process_holistic` of `pose_format.utils.holistic` multiplies every component alike.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterable, Iterator
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import MissingExtraError
from phoenix_ray.exports.coco import pixel_sizes
from phoenix_ray.exports.selection import ExportSelection, require_holistic, video_file
from phoenix_ray.layouts import Edge
from phoenix_ray.layouts.mediapipe import HAND_EDGES, HAND_POINTS, IRIS_EDGES, POSE_EDGES, POSE_POINTS

if TYPE_CHECKING:
    from pose_format.pose_header import PoseHeaderComponent

SUFFIX = ".pose"
COMPONENTS = {
    "POSE_LANDMARKS": "pose",
    "FACE_LANDMARKS": "face",
    "LEFT_HAND_LANDMARKS": "left_hand",
    "RIGHT_HAND_LANDMARKS": "right_hand",
    "POSE_WORLD_LANDMARKS": "pose_world",
}
_VERSION = 0.2
# Of the body in version 0.2: frames per second, number of frames, number of people.
_BODY_HEAD = struct.Struct("<fIH")
_PEOPLE = 1
# Colours of pose-format's holistic components.
_POSE_COLOR, _FACE_COLOR = (255, 0, 0), (128, 0, 0)


def write_pose_files(selection: ExportSelection, output: Path) -> None:
    """Write `<split>/<video ID>.pose` for each video.

    Raises:
        ConfigError: The layout is neither Holistic's nor that of its pose alone.
        MissingExtraError: pose-format is not installed.
    """
    require_holistic(selection.layout, "pose", pose_alone=True)
    require_pose_format()
    for video in selection.holistic_videos("pose", pose_alone=True):
        size = video.read_blocks(_measure)
        file = video_file(output, video.split, video.video_id, SUFFIX)
        video.read_blocks(partial(_write_file, file, size))


class _Size(NamedTuple):
    frames: int
    width: int
    height: int


def _measure(blocks: Iterator[VideoLandmarks]) -> _Size:
    """Return the number of frames, and the width and height of the largest."""
    frames, sides = 0, np.zeros(2, np.int32)
    for block in blocks:
        frames += len(block)
        sides = np.maximum(sides, pixel_sizes(block).max(axis=0, initial=0))
    return _Size(frames, int(sides[0]), int(sides[1]))


def _write_file(file: Path, size: _Size, blocks: Iterator[VideoLandmarks]) -> None:
    """Write what `Pose.write` of pose-format would write; fps is 0 where the source has no clock."""
    from pose_format.pose_header import PoseHeader, PoseHeaderDimensions

    # All coordinates come before all confidences.
    with file.open("wb") as stream, TemporaryFile(dir=file.parent) as confidences:
        components: list[PoseHeaderComponent] = []
        for block in blocks:
            if not components:
                faces = [part for part in block.layout.parts if part.name == "face"]
                components = list(_components(len(faces[0].points) if faces else 0))
                PoseHeader(_VERSION, PoseHeaderDimensions(size.width, size.height, 0), components).write(stream)
                stream.write(_BODY_HEAD.pack(block.fps or 0.0, size.frames, _PEOPLE))
            parts = [_part(block, COMPONENTS[known.name], len(known.points), size) for known in components]
            for array, target in zip(zip(*parts, strict=True), (stream, confidences), strict=True):
                target.write(np.concatenate(array, axis=1, dtype=np.float32).tobytes())
        confidences.seek(0)
        shutil.copyfileobj(confidences, stream)


def _part(
    video: VideoLandmarks, part: str, points: int, size: _Size
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates (frames, points, 3) and confidence (frames, points) of a part, zeros where it is missing."""
    if part not in video.points:
        return np.zeros((len(video), points, 3)), np.zeros((len(video), points))
    values = video.points[part][:, :, :3] * np.array([size.width, size.height, 1], np.float64)
    # A part of the body has the pose's visibility; pose-format does the same, also for the part in metres.
    visible = "visibility" in video.layout.part("pose").axes and part.startswith("pose")
    confidence = video.points["pose"][:, :, 3].astype(np.float64) if visible else np.ones(values.shape[:2])
    confidence[np.isnan(values[:, :, 0])] = 0
    return np.nan_to_num(values, nan=0.0), np.nan_to_num(confidence, nan=0.0)


def _components(face_points: int) -> Iterator[PoseHeaderComponent]:
    """Yield the components of pose-format's holistic header; the order of limbs, which it leaves open, is sorted.

    Without a face there are no hands either.
    """
    from pose_format.pose_header import PoseHeaderComponent
    from pose_format.utils.openpose import hand_colors

    def component(name: str, points: Iterable[str], limbs: Iterable[Edge], colors: list[Any]) -> PoseHeaderComponent:
        return PoseHeaderComponent(name, [point.upper() for point in points], sorted(limbs), colors, "XYZC")

    face_limbs: list[Edge] = [edge for a, b, c in face_triangles() for edge in ((a, b), (b, c), (c, a))]
    if face_points > 468:
        face_limbs += IRIS_EDGES
    # MediaPipe names the lower point of each connection first.
    pose_limbs = [(min(edge), max(edge)) for edge in POSE_EDGES]
    yield component("POSE_LANDMARKS", POSE_POINTS, pose_limbs, [_POSE_COLOR])
    if face_points:
        yield component("FACE_LANDMARKS", map(str, range(face_points)), face_limbs, [_FACE_COLOR])
        yield component("LEFT_HAND_LANDMARKS", HAND_POINTS, HAND_EDGES, hand_colors)
        yield component("RIGHT_HAND_LANDMARKS", HAND_POINTS, HAND_EDGES, hand_colors)
    yield component("POSE_WORLD_LANDMARKS", POSE_POINTS, pose_limbs, [_POSE_COLOR])


@cache
def face_triangles() -> list[list[int]]:
    """Return the triangles of MediaPipe's face mesh, three face points each.

    Source: `FACEMESH_TESSELATION` of MediaPipe 0.10.21, whose 2,556 connections are the sides of these 852 triangles,
    in its order.
    """
    lines = files(__package__).joinpath("face_triangles.txt").read_text(encoding="ascii").splitlines()
    return [[int(point) for point in line.split()] for line in lines]


def require_pose_format() -> None:
    """Check that pose-format is installed.

    Raises:
        MissingExtraError: It is not.
    """
    try:
        import pose_format  # noqa: F401
    except ImportError:
        raise MissingExtraError("The format 'pose'", "export") from None
