"""`.pose`, the exchange format of sign-language processing: writing one file per video, as pose-format's tools do.

The header is the one that pose-format makes for landmarks of the same kind (`pose_components`): for Holistic five
components, or the two of the pose where there are neither hands nor face. The body holds x and y in pixels, z as it is,
and a confidence per point: the visibility for MediaPipe's pose, 1 for its face and hands, the confidence of the point
for other networks, and 0 with zeros for what is missing.

`POSE_WORLD_LANDMARKS` are in metres in a dataset. In a `.pose` file their x and y are metres times the picture's width
and height, and their z is metres: `process_holistic` of `pose_format.utils.holistic` multiplies every component alike.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import MissingExtraError
from phoenix_ray.exports.pose_components import PoseComponent, components_of
from phoenix_ray.exports.selection import ExportSelection, video_file
from phoenix_ray.exports.whole_body import pixel_sizes

SUFFIX = ".pose"
_VERSION = 0.2
# Of the body in version 0.2: frames per second, number of frames, number of people.
_BODY_HEAD = struct.Struct("<fIH")
_PEOPLE = 1


def write_pose_files(selection: ExportSelection, output: Path) -> None:
    """Write `<split>/<video ID>.pose` for each video, of any layout.

    Raises:
        MissingExtraError: pose-format is not installed.
    """
    require_pose_format()
    for video in selection.videos():
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
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

    # All coordinates come before all confidences.
    with file.open("wb") as stream, TemporaryFile(dir=file.parent) as confidences:
        components: tuple[PoseComponent, ...] = ()
        for block in blocks:
            if not components:
                components = components_of(block.layout)
                described = [
                    PoseHeaderComponent(
                        known.name, list(known.points), list(known.limbs), list(known.colours), known.letters
                    )
                    for known in components
                ]
                PoseHeader(_VERSION, PoseHeaderDimensions(size.width, size.height, 0), described).write(stream)
                stream.write(_BODY_HEAD.pack(block.fps or 0.0, size.frames, _PEOPLE))
            # All points have as many axes as the component with the most.
            axes = max(len(known.letters) for known in components) - 1
            names = dict.fromkeys(part for known in components for part, _ in known.places)
            parts = [_part(block, part, axes, size) for part in names]
            for array, target in zip(zip(*parts, strict=True), (stream, confidences), strict=True):
                target.write(np.concatenate(array, axis=1, dtype=np.float32).tobytes())
        confidences.seek(0)
        shutil.copyfileobj(confidences, stream)


def _part(video: VideoLandmarks, part: str, axes: int, size: _Size) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates (frames, points, axes) and confidence (frames, points) of a part, zeros where it is missing.

    Args:
        video: The video.
        part: Name of the part.
        axes: 2 or 3; z is 0 where the part has none.
        size: Width and height of the picture.
    """
    described, points = video.layout.part(part), video.points[part]
    values = np.zeros((*points.shape[:2], axes))
    for column, (axis, side) in enumerate(zip("xyz"[:axes], (size.width, size.height, 1), strict=False)):
        if axis in described.axes:
            values[:, :, column] = points[:, :, described.axes.index(axis)] * np.float64(side)
    sure = _sureness(video, part)
    confidence = np.ones(values.shape[:2]) if sure is None else sure.astype(np.float64)
    confidence[np.isnan(values[:, :, 0])] = 0
    values[np.isnan(values[:, :, 0])] = 0
    return np.nan_to_num(values, nan=0.0), np.nan_to_num(confidence, nan=0.0)


def _sureness(video: VideoLandmarks, part: str) -> NDArray[np.float32] | None:
    """Return how sure each point is, (frames, points); None where the layout does not say."""
    # The part in metres has the visibility of the pose; pose-format does the same.
    of = video.layout.part("pose" if part == "pose_world" and "pose" in video.points else part)
    if not of.sureness or len(of.points) != len(video.layout.part(part).points):
        return None
    return video.points[of.name][:, :, of.axes.index(of.sureness)]


def require_pose_format() -> None:
    """Check that pose-format is installed.

    Raises:
        MissingExtraError: It is not.
    """
    try:
        import pose_format  # noqa: F401
    except ImportError:
        raise MissingExtraError("The format 'pose'", "export") from None
