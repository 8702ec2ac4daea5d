"""The pickle of keypoint lists: an entry per frame, a dictionary each, as extraction scripts of the field write it.

    {"train": {"image_paths": [...], "keypoints": [{"face", "left_hand", "right_hand", "pose"}, ...],
               "video_ids": [...]}, "dev": ..., "stats": {"train": {"total", "success", "failed"}, ...}}

Each part is a float32 array (points, 3) of x, y, z, normalised to the image as in the dataset, or None where it was not
found. A frame in which nothing was found keeps its place with four None.

Scripts write the frames of a video in whatever order they listed or finished them, so reading sorts them by the natural
order of their file names (2.png before 10.png), as our sources do. Some write zeros for a part that was not found: an
array of nothing but zeros is read as missing.

The pickle is one object, so reading holds all of it in memory; writing holds one video.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from natsort import natsort_keygen
from numpy.typing import NDArray

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import IMAGE_AXES, VideoLandmarks
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.pickles import StreamedDict, StreamedList, dump_pickle, load_pickle
from phoenix_ray.exports.requirements import require_format
from phoenix_ray.exports.selection import ExportSelection
from phoenix_ray.layouts import Layout, Part, holistic
from phoenix_ray.models.base import is_found

PARTS = ("face", "left_hand", "right_hand", "pose")
_AXES = (*IMAGE_AXES, "visibility")
_log = logging.getLogger(__name__)


def write_landmark_pickle(selection: ExportSelection, output: Path) -> None:
    """Write the videos as one pickle, with one video in memory at a time; loading it takes about 7 kB a frame.

    `image_paths` are `<split>/<video ID>/<frame name>`: a dataset does not know where its frames lay.
    """
    require_format(selection.layout, "pickle")
    with output.open("wb") as stream:
        dump_pickle(StreamedDict(_splits(selection)), stream)


def _splits(selection: ExportSelection) -> Iterator[tuple[str, Any]]:
    """Yield the item of each split, then the statistics of all of them."""
    stats: dict[str, dict[str, int]] = {}
    for split, part in selection.by_split():
        image_paths: list[str] = []
        video_ids: list[str] = []
        counts = stats[split] = {"total": 0, "success": 0, "failed": 0}
        yield (
            split,
            StreamedDict(
                [
                    ("keypoints", StreamedList(_frames(part, image_paths, video_ids, counts))),
                    ("image_paths", image_paths),
                    ("video_ids", video_ids),
                ]
            ),
        )
    yield "stats", stats


def _frames(
    selection: ExportSelection, image_paths: list[str], video_ids: list[str], counts: dict[str, int]
) -> Iterator[dict[str, NDArray[np.float32] | None]]:
    """Yield the parts of each frame; note its path and video, and count it."""
    for selected in selection.videos_for("pickle"):
        video = selected.load()
        for frame, name in enumerate(video.frame_names):
            keypoints = _keypoints(video, frame)
            image_paths.append(f"{video.split}/{video.video_id}/{name}")
            video_ids.append(video.video_id)
            counts["total"] += 1
            counts["success" if any(points is not None for points in keypoints.values()) else "failed"] += 1
            yield keypoints


def _keypoints(video: VideoLandmarks, frame: int) -> dict[str, NDArray[np.float32] | None]:
    coordinates = {part: video.points[part][frame, :, : len(IMAGE_AXES)] for part in PARTS}
    return {part: None if np.isnan(points[:, 0]).all() else points for part, points in coordinates.items()}


def without_scores(
    split: str,
    video_id: str,
    layout: Layout,
    frame_names: Sequence[str],
    sizes: NDArray[np.int32],
    points: Mapping[str, NDArray[np.float32]],
    fps: float | None = None,
) -> VideoLandmarks:
    """Return a video of a file that records neither scores nor statuses; its frames count from 0."""
    index = np.arange(len(frame_names), dtype=np.int32)
    found = np.any([is_found(values) for values in points.values()], axis=0)
    return VideoLandmarks(
        split,
        video_id,
        layout,
        index,
        tuple(frame_names),
        np.full(len(index), np.nan) if fps is None else index / fps,
        sizes,
        tuple("ok" if any_part else "no_person" for any_part in found),
        points,
        {part.name: np.full(len(index), np.nan, np.float32) for part in layout.parts if part.scored},
        fps,
    )


@dataclass(frozen=True)
class LandmarkPickle:
    """A pickle of keypoint lists as a collection of videos.

    Attributes:
        path: The file.
        splits: Its content, by split.
    """

    path: Path
    splits: Mapping[str, Mapping[str, Sequence[Any]]]

    @classmethod
    def open(cls, path: Path) -> LandmarkPickle:
        """Read a pickle whole.

        Raises:
            OutputError: It is refused (`load_pickle`), damaged, or of another layout.
        """
        content = load_pickle(path)
        if not isinstance(content, dict):
            raise OutputError(f"{path} holds a {type(content).__name__}; {_EXPECTED}")
        splits = {
            split: lists for split, lists in content.items() if isinstance(lists, dict) and lists.keys() >= _LISTS
        }
        if not splits:
            raise OutputError(f"{path} holds {sorted(map(str, content))[:8]}; {_EXPECTED}")
        for split, lists in splits.items():
            lengths = {name: len(lists[name]) for name in sorted(_LISTS)}
            if len(set(lengths.values())) != 1:
                raise OutputError(f"{path} is damaged: the lists of the split '{split}' differ in length: {lengths}.")
            if not all(isinstance(entry, dict) for entry in lists["keypoints"]):
                raise OutputError(f"{path}: not every entry of the split '{split}' is a dictionary; {_EXPECTED}")
        return cls(path, splits)

    @cached_property
    def layout(self) -> Layout:
        """Pose, hands and face with as many points and axes as the first array of each has.

        Raises:
            OutputError: An array is not of the shape (points, 2 to 4).
        """
        usual = holistic(468)
        return Layout("landmark-pickle", tuple(self._part(part) for part in usual.parts if part.name in PARTS))

    def keys(self) -> Iterator[VideoKey]:
        """Yield (split, video ID) of each video, sorted."""
        yield from sorted(self._rows)

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        """Return a video; its frames are the entries that name it, in the natural order of their names, from 0.

        The layout records neither scores nor, in most files, the size of the frames (0 where it does not).

        Raises:
            KeyError: There is no such video.
            OutputError: An array has another shape than the others of its part, or an image size makes no sense.
        """
        rows = self._rows[split, video_id]
        points = {part.name: self._stack(part, split, rows) for part in self.layout.parts}
        names = [self._frame_name(split, row) for row in rows]
        sizes = np.array([self._size(split, row) for row in rows], np.int32)
        return without_scores(split, video_id, self.layout, names, sizes, points)

    @cached_property
    def _rows(self) -> dict[VideoKey, list[int]]:
        rows: dict[VideoKey, list[int]] = {}
        for split, lists in self.splits.items():
            for row, video_id in enumerate(lists["video_ids"]):
                rows.setdefault((split, str(video_id)), []).append(row)
        moved = [key for key, entries in rows.items() if self._sort_by_name(key[0], entries)]
        if moved:
            _log.warning(
                "%s: the entries of %d videos, the first '%s', are not in the order of their file names; each video is "
                "read in the order of the names.",
                *(self.path, len(moved), "/".join(moved[0])),
            )
        return rows

    def _sort_by_name(self, split: str, rows: list[int]) -> bool:
        """Sort the entries of a video by the names of their frames, and return whether that moved any."""
        natural = natsort_keygen()
        before = tuple(rows)
        # Names that are equal to natsort (1.png, 01.png) sort by their letters, equal names stay as they come.
        names = {row: self._frame_name(split, row) for row in rows}
        rows.sort(key=lambda row: (natural(names[row]), names[row]))
        return tuple(rows) != before

    def _frame_name(self, split: str, row: int) -> str:
        return PurePosixPath(str(self.splits[split]["image_paths"][row])).name

    def _size(self, split: str, row: int) -> tuple[int, int]:
        """Return width and height by `image_shape`, which is an array's shape: height, width, perhaps channels."""
        shape = self.splits[split]["keypoints"][row].get("image_shape")
        if shape is None:
            return 0, 0
        sides = np.asarray(shape)
        if sides.shape not in ((2,), (3,)) or sides.dtype.kind not in "iu" or (sides < 0).any():
            raise OutputError(
                f"{self.path}: 'image_shape' of entry {row} of the split '{split}' is {shape!r}, not (height, width) "
                "or (height, width, channels)."
            )
        return int(sides[1]), int(sides[0])

    def _part(self, usual: Part) -> Part:
        """Return a part as the first array that is not None shows it, or as usual when none is there."""
        arrays = (entry.get(usual.name) for lists in self.splits.values() for entry in lists["keypoints"])
        first = next((array for array in arrays if array is not None), None)
        if first is None:
            return Part(usual.name, usual.points, IMAGE_AXES, usual.edges)
        shape = np.shape(first)
        if len(shape) != 2 or not 2 <= shape[1] <= len(_AXES) or not shape[0]:
            raise OutputError(f"{self.path}: an array of '{usual.name}' has the shape {shape}, not (points, 2 to 4).")
        if usual.name == "face" and shape[0] == 478:
            usual = holistic(478).part("face")
        if shape[0] == len(usual.points):
            return Part(usual.name, usual.points, _AXES[: shape[1]], usual.edges)
        return Part(usual.name, tuple(f"{usual.name}_{index}" for index in range(shape[0])), _AXES[: shape[1]])

    def _stack(self, part: Part, split: str, rows: Sequence[int]) -> NDArray[np.float32]:
        points = np.full((len(rows), len(part.points), len(part.axes)), np.nan, np.float32)
        keypoints = self.splits[split]["keypoints"]
        for frame, row in enumerate(rows):
            array = keypoints[row].get(part.name)
            if array is None:
                continue
            if np.shape(array) != points.shape[1:]:
                raise OutputError(
                    f"{self.path}: '{part.name}' of entry {row} of the split '{split}' has the shape "
                    f"{np.shape(array)}, others have {points.shape[1:]}."
                )
            if np.any(array):
                points[frame] = array
        return points


_LISTS = {"image_paths", "keypoints", "video_ids"}
_EXPECTED = (
    "expected is {split: {'image_paths': [...], 'keypoints': [{'face', 'left_hand', 'right_hand', 'pose'}, ...], "
    "'video_ids': [...]}, ...}, as `phoenix-ray export --format pickle` writes it."
)
