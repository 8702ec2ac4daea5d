"""Reads labels: COCO's keypoint annotations, with or without COCO-WholeBody's points, and finds the frames they mean.

`--labels` takes a file of COCO's form: 17 points of the body in `keypoints`, the others in `foot_kpts`, `face_kpts`,
`lefthand_kpts` and `righthand_kpts`, each x, y, v in pixels. `phoenix-ray export --format coco` writes such files, and
annotation tools read and write them.

A label belongs to a frame if the image's `video_id` and `frame_index` say so, else by `file_name`: its last component
is the name of the frame, and what stands before it ends with the video's ID, with or without its split. Labels that fit
no frame, or frames of several videos, are counted and not used.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.errors import ConfigError
from phoenix_ray.layouts.correspondence import PARTS_OF_133
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import undecoded_frames

# Where an annotation holds the points of each part.
_FIELDS = {
    "pose": "keypoints",
    "feet": "foot_kpts",
    "face": "face_kpts",
    "left_hand": "lefthand_kpts",
    "right_hand": "righthand_kpts",
}
_POINTS = 133


@dataclass(frozen=True, slots=True)
class PersonLabel:
    """The labelled person of a frame.

    Attributes:
        points: float64 (133, 2): pixels from the picture's left and top edge, NaN where a point has no label (v = 0).
        area: The person's area in px², as OKS takes it: `area`, else that of `bbox`; NaN without either.
        size: Width and height of the picture that was labelled, None where the file does not say.
    """

    points: NDArray[np.float64]
    area: float
    size: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class LabelFile:
    """What a file holds, image by image.

    Attributes:
        images: The images, each with its label; None for one without a person.
        several: Images with several people, of whom the one with the largest area counts.
    """

    images: tuple[tuple[Mapping[str, Any], PersonLabel | None], ...]
    several: int


@dataclass(frozen=True, slots=True)
class MatchedLabels:
    """Labels by frame.

    Attributes:
        frames: Video → index of a frame → its label, None where no person is labelled there.
        without_frame: Images that fit no frame of the source.
        ambiguous: Images that fit frames of several videos, or whose frame has a label already.
        several: As in `LabelFile`.
    """

    frames: Mapping[VideoKey, Mapping[int, PersonLabel | None]]
    without_frame: int
    ambiguous: int
    several: int

    @property
    def count(self) -> int:
        """Number of frames with a label."""
        return sum(map(len, self.frames.values()))


def read_label_files(paths: Sequence[Path]) -> LabelFile:
    """Return what several files hold together, such as one of each split; raise what `read_labels` raises."""
    files = [read_labels(path) for path in paths]
    return LabelFile(tuple(image for file in files for image in file.images), sum(file.several for file in files))


def read_labels(path: Path) -> LabelFile:
    """Return what a file of COCO keypoint annotations holds.

    Raises:
        ConfigError: It cannot be read, or is not of that form; the message names the place.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The labels {path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"The labels {path} are not JSON: {error}") from None
    if not isinstance(tree, dict) or not all(isinstance(tree.get(name), list) for name in ("images", "annotations")):
        raise ConfigError(
            f"The labels {path} are not COCO annotations: there must be lists 'images' and 'annotations'. "
            "`phoenix-ray export --format coco` writes such a file."
        )
    people: dict[object, list[PersonLabel]] = defaultdict(list)
    place = ""
    images: list[tuple[Mapping[str, Any], PersonLabel | None]] = []
    several = 0
    try:
        for number, annotation in enumerate(tree["annotations"]):
            place = f"annotations[{number}]"
            if not annotation.get("iscrowd"):
                people[annotation["image_id"]].append(_person(annotation))
        for number, image in enumerate(tree["images"]):
            place = f"images[{number}]"
            if not isinstance(image["file_name"], str):
                raise TypeError("'file_name' is not text")
            found = people.get(image["id"], [])
            images.append((image, _largest(found, _size(image))))
            several += len(found) > 1
    except (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise ConfigError(f"The labels {path}: {place} is not right: {_reason(error)}.") from None
    return LabelFile(tuple(images), several)


def match_labels(labels: LabelFile, videos: Sequence[Video]) -> MatchedLabels:
    """Return the labels by the frames that they mean."""
    places = _Places(videos)
    frames: dict[VideoKey, dict[int, PersonLabel | None]] = defaultdict(dict)
    without_frame = ambiguous = 0
    for image, label in labels.images:
        found = places.find(image)
        if not found:
            without_frame += 1
        elif len(found) > 1 or found[0][1] in frames[found[0][0]]:
            ambiguous += 1
        else:
            key, frame = found[0]
            frames[key][frame] = label
    return MatchedLabels({key: of for key, of in frames.items() if of}, without_frame, ambiguous, labels.several)


class _Places:
    """Finds the frames of a source that an image of a label file may mean."""

    def __init__(self, videos: Sequence[Video]) -> None:
        self._videos = videos
        self._by_name: dict[str, list[Video]] = defaultdict(list)
        for video in videos:
            for name in (video.video_id, f"{video.split}/{video.video_id}"):
                self._by_name[name].append(video)
        self._frames: dict[VideoKey, dict[str, int]] = {}

    def find(self, image: Mapping[str, Any]) -> list[tuple[VideoKey, int]]:
        """Return the frames that an image may mean: none, the only one, or several."""
        file_name = str(image["file_name"]).replace("\\", "/")
        video_id, index = image.get("video_id"), image.get("frame_index")
        if isinstance(video_id, str) and isinstance(index, int):
            named = [video for video in self._by_name.get(video_id, ()) if video.video_id == video_id]
            of_split = [video for video in named if file_name.startswith(f"{video.split}/")]
            return [
                ((video.split, video.video_id), index)
                for video in (named if len(named) == 1 else of_split or named)
                if 0 <= index < video.frame_count
            ]
        folder, _, name = file_name.rpartition("/")
        found = ((video, self._names(video).get(name)) for video in self._in_folder(folder))
        return [((video.split, video.video_id), frame) for video, frame in found if frame is not None]

    def _in_folder(self, folder: str) -> Sequence[Video]:
        """Return the videos of the longest name that a folder ends with; of a source of one video, that."""
        while folder:
            if found := self._by_name.get(folder):
                return found
            folder = folder.partition("/")[2]
        return self._videos if len(self._videos) == 1 else ()

    def _names(self, video: Video) -> Mapping[str, int]:
        key = (video.split, video.video_id)
        if key not in self._frames:
            frames = undecoded_frames(video, 0, video.frame_count)
            self._frames[key] = {frame.name: frame.index for frame in frames}
        return self._frames[key]


def _largest(people: Sequence[PersonLabel], size: tuple[int, int] | None) -> PersonLabel | None:
    """Return the person of the largest area, the first of equals."""
    largest = max(people, key=lambda person: 0.0 if math.isnan(person.area) else person.area, default=None)
    return None if largest is None else PersonLabel(largest.points, largest.area, size)


def _person(annotation: Mapping[str, Any]) -> PersonLabel:
    points = np.full((_POINTS, 2), np.nan)
    given = dict(_numbers(annotation))
    for part, values in given.items():
        own = slice(0, _POINTS) if len(values) == _POINTS else PARTS_OF_133[part]
        points[own] = np.where(values[:, 2:] > 0, values[:, :2], np.nan)
    if not np.isfinite(points[~np.isnan(points)]).all():
        raise ValueError("a coordinate is not a number")
    box = annotation.get("bbox")
    area = annotation.get("area")
    if area is None and box is not None:
        area = float(box[2]) * float(box[3])
    return PersonLabel(points, math.nan if area is None else float(area), None)


def _numbers(annotation: Mapping[str, Any]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the part and x, y, v of its points, float64 (points, 3), for each field of an annotation that is there."""
    for part, name in _FIELDS.items():
        values = annotation.get(name)
        if values is None:
            continue
        array = np.asarray(values, np.float64)
        own = PARTS_OF_133[part]
        # Some files hold all 133 points in `keypoints`.
        expected = {3 * (own.stop - own.start), 3 * _POINTS if part == "pose" else 0}
        if array.ndim != 1 or array.size not in expected:
            raise ValueError(f"'{name}' has {array.size} numbers, not {3 * (own.stop - own.start)}")
        yield part, array.reshape(-1, 3)


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    width, height = image.get("width"), image.get("height")
    return None if width is None or height is None else (int(width), int(height))


def _reason(error: Exception) -> str:
    return f"there is no {error}" if isinstance(error, KeyError) else str(error)
