"""Compares landmarks with the true joints of rendered figures (`README.md` in this folder).

A model and an animator do not mean the same spot by "wrist": MediaPipe's lies a centimetre nearer to the fingers than
the joint that bends. Such a difference moves with the body part. It is therefore measured as a constant offset along
axes that the true joints span, in some videos, and taken off in others (`Offsets`). What remains is error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.layouts import Layout
from phoenix_ray.layouts.mediapipe import HAND_POINTS
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.media_tree import open_videos
from phoenix_ray.sources.sample import demo_videos

HERE = Path(__file__).parent
SIZE = (210, 260)


@dataclass(frozen=True, slots=True)
class TrueJoints:
    """Where the joints of a rendered video are.

    Attributes:
        video_id: The video.
        split: Its split in the demo; empty for a video that is made to be hard.
        condition: What makes it hard, empty for nothing.
        size: Width and height of a frame in pixels.
        names: `part/point` of each joint, named as in our layouts: `left_hand/wrist`.
        positions: float32 (frames, joints, 2): x and y in pixels from the outer edge of the frame's first pixel. They
            may lie outside of the frame.
    """

    video_id: str
    split: str
    condition: str
    size: tuple[int, int]
    names: tuple[str, ...]
    positions: NDArray[np.float32]

    def joint(self, name: str) -> NDArray[np.float32]:
        """Return the positions of a joint, float32 (frames, 2)."""
        return self.positions[:, self.names.index(name)]

    def of_part(self, part: str) -> tuple[str, ...]:
        """Return the names of the joints of a part."""
        return tuple(name for name in self.names if name.startswith(f"{part}/"))

    def inside(self, names: Sequence[str]) -> NDArray[np.bool_]:
        """Return bool (frames,): whether all of some joints lie within the frame."""
        chosen = np.stack([self.joint(name) for name in names], axis=1)
        return np.asarray(((chosen >= 0) & (chosen < self.size)).all(axis=(1, 2)), np.bool_)


def read_truth(file: Path = HERE / "truth.npz") -> list[TrueJoints]:
    """Return the true joints of all videos."""
    with np.load(file) as truth:
        names = tuple(map(_name_in_layouts, truth["names"].tolist()))
        ends = np.cumsum(truth["frames"])[:-1]
        places = np.split(truth["points"][:, :, :2], ends)
        heads = zip(truth["videos"].tolist(), truth["splits"].tolist(), truth["conditions"].tolist(), strict=True)
    return [TrueJoints(*head, SIZE, names, place) for head, place in zip(heads, places, strict=True)]


def read_images(truth: TrueJoints) -> list[NDArray[np.uint8]]:
    """Return the frames of a video as workers decode them, each RGB uint8 (260, 210, 3).

    Raises:
        SourceError: The video is not there, or has other frames than the truth.
    """
    hard = (video for video in open_videos(DiskPath(HERE), SourceSettings()).videos() if isinstance(video, Video))
    found = [video for video in (demo_videos() if truth.split else hard) if video.video_id == truth.video_id]
    if len(found) != 1 or found[0].frame_count != len(truth.positions):
        raise SourceError(f"{truth.video_id} has no video, or one of other frames: run tools/signer again.")
    images = [frame.image for frame in read_frames(found[0], 0, found[0].frame_count, DecodeSettings())]
    return [image for image in images if image is not None]


def _name_in_layouts(name: str) -> str:
    """Return our layouts' name of a joint whose point has MediaPipe's number."""
    part, point = name.split("/")
    if part.endswith("hand"):
        return f"{part}/{HAND_POINTS[int(point)]}"
    return f"{part}/face_{int(point):03}" if part == "face" else name


# The two axes of each part's offsets, as pairs of joints. One pair spans them with its perpendicular.
AXES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "pose": (("pose/right_shoulder", "pose/left_shoulder"),),
    "face": (("pose/right_eye", "pose/left_eye"),),
    **{
        hand: ((f"{hand}/wrist", f"{hand}/middle_finger_mcp"), (f"{hand}/pinky_mcp", f"{hand}/index_finger_mcp"))
        for hand in ("left_hand", "right_hand")
    },
}
_FIT_STEPS = 20
# Pixels below which a distance no longer gains weight.
_SMALL_DISTANCE = 0.1
# The figure's hips, and the top and bridge of its nose, have no counterpart among the landmarks.
NOT_COMPARABLE = frozenset({"pose/left_hip", "pose/right_hip", "face/face_010", "face/face_168"})


def errors(truth: TrueJoints, layout: Layout, found: LandmarkBatch) -> dict[str, NDArray[np.float64]]:
    """Return joint → found minus true position in pixels, float64 (frames, 2), NaN where the part is missing.

    Joints that the layout lacks are left out.
    """
    differences = {}
    for part in layout.parts:
        for name in truth.of_part(part.name):
            point = name.partition("/")[2]
            if point in part.points and name not in NOT_COMPARABLE:
                landmark = found.points[part.name][:, part.points.index(point), :2].astype(np.float64)
                differences[name] = landmark * truth.size - truth.joint(name)
    return differences


def axes(truth: TrueJoints, part: str) -> NDArray[np.float64]:
    """Return the axes of a part's offsets in each frame, float64 (frames, axes, x and y), in pixels."""
    spans = [truth.joint(end) - truth.joint(start) for start, end in AXES[part]]
    if len(spans) == 1:
        (span,) = spans
        spans.append(np.stack([span[:, 1], -span[:, 0]], axis=1))
    return np.stack(spans, axis=1).astype(np.float64)


@dataclass(frozen=True, slots=True)
class Offsets:
    """What a model means by each point.

    Attributes:
        shares: Joint → float64 (axes,): its offset along the axes of its part, as shares of their lengths. Both hands
            share theirs, so the joint's name there is `hand/…`.
    """

    shares: Mapping[str, NDArray[np.float64]]

    @classmethod
    def measure(cls, videos: Iterable[tuple[TrueJoints, Mapping[str, NDArray[np.float64]]]]) -> Offsets:
        """Return the offsets that leave the smallest mean distance in some videos with their `errors`."""
        seen: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
        for truth, differences in videos:
            for name, difference in differences.items():
                known = np.isfinite(difference).all(axis=1)
                basis = axes(truth, name.partition("/")[0])
                seen.setdefault(_either_hand(name), []).append((basis[known], difference[known]))
        return cls({name: _fit(*map(np.concatenate, zip(*pairs, strict=True))) for name, pairs in seen.items()})

    def take_off(
        self, truth: TrueJoints, differences: Mapping[str, NDArray[np.float64]]
    ) -> dict[str, NDArray[np.float64]]:
        """Return `errors` without the offsets."""
        left = {}
        for name, difference in differences.items():
            basis, shares = axes(truth, name.partition("/")[0]), self.shares[_either_hand(name)]
            left[name] = difference - np.einsum("fax,a->fx", basis, shares)
        return left


def _either_hand(name: str) -> str:
    return name.replace("left_hand/", "hand/").replace("right_hand/", "hand/")


def _fit(bases: NDArray[np.float64], differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shares, float64 (axes,), that leave the smallest mean distance, by reweighted least squares.

    Args:
        bases: float64 (frames, axes, 2).
        differences: float64 (frames, 2).
    """
    weights = np.ones(len(differences))
    shares = np.zeros(bases.shape[1])
    for _ in range(_FIT_STEPS):
        left = (bases * weights[:, np.newaxis, np.newaxis]).transpose(0, 2, 1).reshape(-1, bases.shape[1])
        shares = np.linalg.lstsq(left, (differences * weights[:, np.newaxis]).ravel(), rcond=None)[0]
        distances = np.linalg.norm(differences - np.einsum("fax,a->fx", bases, shares), axis=1)
        weights = 1 / np.sqrt(np.maximum(distances, _SMALL_DISTANCE))
    return shares


def part_sizes(truth: TrueJoints, part: str) -> NDArray[np.float64]:
    """Return what a part's distances are compared with, in pixels, float64 (frames,).

    For a hand, the longer side of the box around its joints; for the pose, the distance of the shoulders; for the face,
    that of the eyes.
    """
    if part in ("pose", "face"):
        return np.asarray(np.linalg.norm(axes(truth, part)[:, 0], axis=1), np.float64)
    joints = np.stack([truth.joint(name) for name in truth.of_part(part)], axis=1)
    return np.asarray(np.ptp(joints, axis=1).max(axis=1), np.float64)
