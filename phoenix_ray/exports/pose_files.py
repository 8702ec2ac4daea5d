"""`.pose`, the exchange format of sign-language processing: one file per video, as pose-format's own tools write it.

The header is the one that `pose_format.utils.holistic` makes (that module itself cannot be imported without MediaPipe):
five components in the order below, points named and joined as in MediaPipe. The body holds x and y in pixels, z as it
is, and a confidence per point: the visibility for the pose, 1 for face and hands, and 0 with zeros for what is missing.

A pixel is a float32 product, so reading a file back gives x and y within one unit in the last place, all else exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import MissingExtraError, OutputError
from phoenix_ray.exports.face_mesh import TRIANGLES
from phoenix_ray.exports.output import video_file
from phoenix_ray.exports.selection import Selection, require_holistic
from phoenix_ray.exports.whole_body import pixel_sizes
from phoenix_ray.landmarks import HAND_EDGES, HAND_POINTS, IRIS_EDGES, POSE_EDGES, POSE_POINTS, Edge, Layout, holistic

if TYPE_CHECKING:
    from pose_format import Pose
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent

SUFFIX = ".pose"
COMPONENTS = {
    "POSE_LANDMARKS": "pose",
    "FACE_LANDMARKS": "face",
    "LEFT_HAND_LANDMARKS": "left_hand",
    "RIGHT_HAND_LANDMARKS": "right_hand",
    "POSE_WORLD_LANDMARKS": "pose_world",
}
_VERSION = 0.2
# Colours of pose-format's holistic components.
_POSE_COLOR, _FACE_COLOR = (255, 0, 0), (128, 0, 0)


def write_pose_files(selection: Selection, output: Path) -> None:
    """Write `<split>/<video ID>.pose` for each video.

    Raises:
        ConfigError: The layout is not Holistic's.
        MissingExtraError: pose-format is not installed.
    """
    require_holistic(selection.layout, "pose")
    for video in selection.videos():
        stream = BytesIO()
        to_pose(video).write(stream)
        video_file(output, video.split, video.video_id, SUFFIX).write_bytes(stream.getvalue())


def to_pose(video: VideoLandmarks) -> Pose:
    """Return a video as an object of pose-format.

    Its width and height are those of the largest frame; fps is 0 where the source has no clock.
    """
    _require_pose_format()
    from pose_format import Pose
    from pose_format.numpy import NumPyPoseBody
    from pose_format.pose_header import PoseHeader, PoseHeaderDimensions

    width, height = (int(side) for side in pixel_sizes(video).max(axis=0, initial=0))
    components = list(_components(len(video.layout.part("face").points)))
    header = PoseHeader(_VERSION, PoseHeaderDimensions(width, height, 0), components)
    parts = [_part(video, COMPONENTS[one.name], len(one.points), width, height) for one in components]
    points, confidence = (np.concatenate(arrays, axis=1)[:, np.newaxis] for arrays in zip(*parts, strict=True))
    return Pose(header, NumPyPoseBody(video.fps or 0.0, points, confidence))


def read_pose_file(path: Path, split: str, video_id: str) -> VideoLandmarks:
    """Return the video of a `.pose` file with Holistic components; a part whose component is absent is missing.

    The file records neither scores nor names or status of frames.

    Raises:
        MissingExtraError: pose-format is not installed.
        OutputError: The file is damaged, has another number of people than one, or no component of Holistic.
    """
    _require_pose_format()
    from pose_format import Pose

    try:
        pose = Pose.read(path.read_bytes())
    # The reader has no errors of its own: damage shows as whatever a wrong byte happens to mean.
    except Exception as error:
        raise OutputError(
            f"{path} cannot be read as a .pose file ({error!r}): it is damaged or of another kind."
        ) from None
    if pose.body.data.ndim != 4 or pose.body.data.shape[1] != 1:
        raise OutputError(f"{path} holds {pose.body.data.shape[1]} people; files of one person can be read.")
    layout = pose_layout(pose.header, path)
    frames = len(pose.body.data)
    points = {
        part.name: np.full((frames, len(part.points), len(part.axes)), np.nan, np.float32) for part in layout.parts
    }
    start = 0
    for component in pose.header.components:
        stop = start + len(component.points)
        name = COMPONENTS.get(component.name)
        if name is not None:
            values = np.asarray(pose.body.data.data[:, 0, start:stop], np.float64)
            confidence = np.asarray(pose.body.confidence[:, 0, start:stop], np.float32)
            present = confidence.any(axis=1) | values.any(axis=(1, 2))
            if name != "pose_world":
                values[:, :, 0] /= max(pose.header.dimensions.width, 1)
                values[:, :, 1] /= max(pose.header.dimensions.height, 1)
            points[name][present, :, :3] = values[present]
            if name == "pose":
                points[name][present, :, 3] = confidence[present]
        start = stop
    found = np.any([~np.isnan(values[:, 0, 0]) for values in points.values()], axis=0)
    fps = float(pose.body.fps) or None
    index = np.arange(frames, dtype=np.int32)
    dimensions = (pose.header.dimensions.width, pose.header.dimensions.height)
    return VideoLandmarks(
        split,
        video_id,
        layout,
        index,
        tuple(f"frame-{number}" for number in index),
        np.full(frames, np.nan) if fps is None else index / fps,
        np.full((frames, 2), dimensions, np.int32),
        tuple("ok" if any_part else "no_person" for any_part in found),
        points,
        {part.name: np.full(frames, np.nan, np.float32) for part in layout.parts if part.scored},
        fps,
    )


def pose_layout(header: PoseHeader, path: Path) -> Layout:
    """Return Holistic's layout with as many face points as a header has.

    Raises:
        OutputError: A component that Holistic has too has another number of points, or there is none of them.
    """
    counts = {one.name: len(one.points) for one in header.components if one.name in COMPONENTS}
    layout = holistic(478 if counts.get("FACE_LANDMARKS") == 478 else 468)
    for name, points in counts.items():
        if points != len(layout.part(COMPONENTS[name]).points):
            raise OutputError(f"{path}: its component {name} has {points} points, which is not MediaPipe Holistic's.")
    if not counts:
        names = ", ".join(one.name for one in header.components)
        raise OutputError(f"{path} has the components {names}; those of MediaPipe Holistic can be read.")
    return layout


def _part(
    video: VideoLandmarks, part: str, points: int, width: int, height: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates (frames, points, 3) and confidence (frames, points) of a part, zeros where it is missing."""
    if part not in video.points:
        return np.zeros((len(video), points, 3)), np.zeros((len(video), points))
    values = video.points[part].astype(np.float64)
    present = video.present(part)
    if part != "pose_world":
        values[:, :, :2] *= (width, height)
    # A part of the body has the pose's visibility; pose-format does the same, also for the part in metres.
    visible = video.points["pose"][:, :, 3:] if part.startswith("pose") else values[:, :, 3:]
    confidence = visible[:, :, 0] if visible.shape[2] else np.ones(values.shape[:2])
    return (
        np.where(present[:, np.newaxis, np.newaxis], values[:, :, :3], 0),
        np.where(present[:, np.newaxis], confidence, 0),
    )


def _components(face_points: int) -> Iterator[PoseHeaderComponent]:
    """Yield the components of pose-format's holistic header; the order of limbs, which it leaves open, is sorted."""
    from pose_format.pose_header import PoseHeaderComponent
    from pose_format.utils.openpose import hand_colors

    def component(name: str, points: Iterable[str], limbs: Iterable[Edge], colors: list[Any]) -> PoseHeaderComponent:
        return PoseHeaderComponent(name, [point.upper() for point in points], sorted(limbs), colors, "XYZC")

    face_limbs = [edge for a, b, c in TRIANGLES for edge in ((a, b), (b, c), (c, a))]
    if face_points > 468:
        face_limbs += IRIS_EDGES
    # MediaPipe names the lower point of each connection first.
    pose_limbs = [(min(edge), max(edge)) for edge in POSE_EDGES]
    yield component("POSE_LANDMARKS", POSE_POINTS, pose_limbs, [_POSE_COLOR])
    yield component("FACE_LANDMARKS", map(str, range(face_points)), face_limbs, [_FACE_COLOR])
    yield component("LEFT_HAND_LANDMARKS", HAND_POINTS, HAND_EDGES, hand_colors)
    yield component("RIGHT_HAND_LANDMARKS", HAND_POINTS, HAND_EDGES, hand_colors)
    yield component("POSE_WORLD_LANDMARKS", POSE_POINTS, pose_limbs, [_POSE_COLOR])


def _require_pose_format() -> None:
    try:
        import pose_format  # noqa: F401
    except ImportError:
        raise MissingExtraError("The format 'pose'", "export") from None
