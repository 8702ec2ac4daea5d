"""Reading what OpenPose wrote with `--write_json`, as a collection of videos: a JSON file a frame.

`<stem>_<frame, 12 digits>_keypoints.json` is a frame of a video, counted from 0; of a folder of images OpenPose writes
`<image>_keypoints.json`, whose last digits number the frame. A folder is a video, or each stem where any folder has
several. Which points there are follows from how many numbers a person has: BODY_25 or 18 points, perhaps a face of 70
and hands of 21.

* A point of confidence 0 was not found, whatever its place.
* Of several people in a frame the one with the largest sum of confidences is taken, the first of equals.
* A frame whose file is missing is missing: the frames after it keep their numbers.
* Coordinates are pixels of a picture whose size no file says, so it is to be given, or known from elsewhere.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.landmark_pickle import without_scores
from phoenix_ray.exports.openpose import KEYPOINTS_SUFFIX, KEYS
from phoenix_ray.layouts import LAYOUTS, OPENPOSE_18, OPENPOSE_137, Layout, Part
from phoenix_ray.text import counted

FrameSize = tuple[int, int]

_OF_A_VIDEO = re.compile(r"(?P<stem>.+)_(?P<number>[0-9]{12})")
_OF_AN_IMAGE = re.compile(r"(?P<stem>.*?)(?P<number>[0-9]{1,18})")
# A person takes about 10 kB.
_MOST_BYTES = 1 << 26
_PARTS: Mapping[str, Mapping[int, Part]] = {
    "pose": {18: OPENPOSE_18.part("pose"), 25: OPENPOSE_137.part("pose")},
    **{part.name: {len(part.points): part} for part in OPENPOSE_137.parts if part.name != "pose"},
}
_log = logging.getLogger(__name__)


class _FrameFile(NamedTuple):
    """The file of a frame; `of_image` says that its number counts from wherever the images begin."""

    number: int
    name: str
    file: Path
    of_image: bool = False


@dataclass(frozen=True)
class OpenPoseCollection:
    """Folders of OpenPose's files.

    Attributes:
        path: The folder that holds them.
        frames: The files of each video, by frame.
        frame_size: Width and height in pixels of all videos; None where it is not known.
        sized_by: A dataset of the same videos, which knows the size of each frame; None where there is none.
    """

    path: Path
    frames: Mapping[VideoKey, tuple[_FrameFile, ...]]
    frame_size: FrameSize | None = None
    sized_by: Dataset | None = None
    _noted: set[str] = field(default_factory=set, compare=False, repr=False)

    @classmethod
    def open(cls, path: Path, frame_size: FrameSize | None = None) -> OpenPoseCollection:
        """Find the videos below a folder.

        Raises:
            OutputError: A name has no number of a frame, or two files are of the same frame.
        """
        found = [_place(file, path) for file in sorted(path.rglob(f"*{KEYPOINTS_SUFFIX}"))]
        stems: dict[tuple[str, ...], set[str]] = {}
        for folders, stem, frame in found:
            known = stems.setdefault(folders, set())
            if known and ("" in known) != (stem == ""):
                raise OutputError(f"{frame.file.parent} holds files of a video and of images: give each a folder.")
            known.add(stem)
        by_stem = any(len(names) > 1 for names in stems.values())
        frames: dict[VideoKey, list[_FrameFile]] = {}
        for folders, stem, frame in found:
            # A folder of images is one video, whatever they are called.
            own = (stem,) if stem else () if folders else (path.resolve().name,)
            names = (*folders, *own) if by_stem or not folders else folders
            key = ("", names[0]) if len(names) == 1 else (names[0], "/".join(names[1:]))
            frames.setdefault(key, []).append(frame)
        return cls(path, {key: tuple(_in_order(files)) for key, files in frames.items()}, frame_size)

    def sized_like(self, dataset: Dataset) -> OpenPoseCollection:
        """Return the collection with the sizes of a dataset of the same videos, where none was given."""
        return replace(self, sized_by=dataset)

    @cached_property
    def layout(self) -> Layout:
        """The points of the first person of the first video that shows one; BODY_25 with face and hands if none does.

        Raises:
            OutputError: A file up to it is damaged.
        """
        for key in self.keys():
            for frame in self.frames[key]:
                if person := _chosen_person(frame.file)[0]:
                    return _layout_of([person])
        return OPENPOSE_137

    def keys(self) -> Iterator[VideoKey]:
        """Yield (split, video ID) of each video, sorted."""
        yield from sorted(self.frames)

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        """Return a video.

        Raises:
            KeyError: There is no such video.
            OutputError: A file is damaged, or of other points than those before it; or the size of a frame with a
                person is not known.
        """
        files = self.frames[split, video_id]
        people = [_chosen_person(frame.file) for frame in files]
        persons = [person for person, _ in people]
        layout = _layout_of(persons, files) if any(persons) else self.layout
        numbers = np.array([frame.number for frame in files], np.int32)
        self._note(split, video_id, sum(count > 1 for _, count in people), numbers)
        sizes = self._sizes((split, video_id), numbers, np.array(list(map(bool, persons))))
        points = {part.name: _stack(part, persons, sizes) for part in layout.parts}
        video = without_scores(split, video_id, layout, [frame.name for frame in files], sizes, points)
        if _are_fractions(persons) and sizes.max(initial=0) > 2:
            raise OutputError(
                f"{files[0].file} and the files after it hold no pixels but fractions of the picture: write them "
                "without --keypoint_scale, or with --keypoint_scale 0."
            )
        return replace(video, frame_index=numbers)

    def _sizes(self, key: VideoKey, numbers: NDArray[np.int32], needed: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Return width and height of each frame, int32 (frames, 2), 0 where it is neither known nor needed."""
        if self.frame_size is not None:
            return np.full((len(numbers), 2), self.frame_size, np.int32)
        sizes = np.zeros((len(numbers), 2), np.int32)
        if self.sized_by is not None and key in set(self.sized_by.keys()):
            known = self.sized_by.select(parts=()).load(*key)
            _, ours, theirs = np.intersect1d(numbers, known.frame_index, return_indices=True)
            sizes[ours] = known.sizes[theirs]
        if (unknown := needed & ~sizes.all(axis=1)).any():
            frame = int(numbers[unknown][0])
            raise OutputError(
                f"{'/'.join(filter(None, key))} in {self.path}: OpenPose's files are in pixels and do not say the "
                f"size of the picture (of frame {frame}). Give it: --frame-size 210x260."
            )
        return sizes

    def _note(self, split: str, video_id: str, crowded: int, numbers: NDArray[np.int32]) -> None:
        """Say once of a collection what may surprise in it."""
        name = "/".join(filter(None, (split, video_id)))
        if crowded and "people" not in self._noted:
            self._noted.add("people")
            _log.warning(
                "%s: %s of %s hold several people; in all videos the one with the largest sum of confidences is taken.",
                *(self.path, counted(crowded, "frame"), name),
            )
        missing = int(numbers[-1]) + 1 - len(numbers)
        if missing and "gaps" not in self._noted:
            self._noted.add("gaps")
            _log.warning(
                "%s: %s of %s have no file; they are missing, and the others keep their numbers, in all videos.",
                *(self.path, counted(missing, "frame"), name),
            )


def _place(file: Path, root: Path) -> tuple[tuple[str, ...], str, _FrameFile]:
    """Return the names of a file's folders, the stem of its name (empty for an image's), and its frame."""
    folders = tuple(unquote(part, errors="surrogateescape") for part in file.relative_to(root).parts[:-1])
    name = file.name.removesuffix(KEYPOINTS_SUFFIX)
    if match := _OF_A_VIDEO.fullmatch(name):
        number = int(match["number"])
        return folders, unquote(match["stem"], errors="surrogateescape"), _FrameFile(number, f"frame-{number}", file)
    if match := _OF_AN_IMAGE.fullmatch(name):
        return folders, "", _FrameFile(int(match["number"]), name, file, of_image=True)
    raise OutputError(
        f"{file} has no number of a frame in its name: expected is <video>_<12 digits>{KEYPOINTS_SUFFIX}, or "
        f"<image><number>{KEYPOINTS_SUFFIX}."
    )


def _in_order(files: Sequence[_FrameFile]) -> Iterator[_FrameFile]:
    """Yield the files of a video by frame; those of images are numbered from their first."""
    first = min(frame.number for frame in files) if files[0].of_image else 0
    files = [frame._replace(number=frame.number - first) for frame in files]
    last: _FrameFile | None = None
    for frame in sorted(files):
        if last is not None and last.number == frame.number:
            raise OutputError(f"{last.file} and {frame.file} are both frame {frame.number} of the same video.")
        if frame.number > np.iinfo(np.int32).max:
            raise OutputError(f"{frame.file}: there is no frame {frame.number:,}.")
        last = frame
        yield frame


# Part → x, y, confidence of each point, float64 (points, 3); empty for nobody.
_Person = dict[str, NDArray[np.float64]]


def _chosen_person(file: Path) -> tuple[_Person, int]:
    """Return the person that is taken of a frame, and how many there are."""
    people = _read(file).get("people")
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise OutputError(f"{file} has no list of people: it is not a file of OpenPose's --write_json.")
    found = [_read_person(person, file) for person in people]
    found = [person for person in found if any(points[:, 2].any() for points in person.values())]
    if not found:
        return {}, 0
    sums = [math.fsum(value for points in person.values() for value in points[:, 2].tolist()) for person in found]
    return found[sums.index(max(sums))], len(found)


def _read(file: Path) -> dict[str, Any]:
    def refuse(text: str) -> None:
        raise ValueError(f"{text} instead of a number")

    try:
        if file.stat().st_size > _MOST_BYTES:
            raise OutputError(f"{file} has more than {_MOST_BYTES:,} bytes: it is not a frame of OpenPose's.")
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
    except OSError as error:
        raise OutputError(f"{file} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise OutputError(
            f"{file} is cut short or damaged ({error}): let OpenPose write it again, or remove it, and its frame is "
            "missing."
        ) from None
    if not isinstance(content, dict):
        raise OutputError(f"{file} holds a {type(content).__name__}: it is not a file of OpenPose's --write_json.")
    return content


def _read_person(person: Mapping[str, Any], file: Path) -> _Person:
    if "pose_keypoints" in person:
        raise OutputError(f"{file} is of OpenPose before version 1.2, whose keys have other names: write it again.")
    parts: _Person = {}
    for part, key in KEYS.items():
        numbers = person.get(key, [])
        try:
            # OpenPose's numbers are float32, of which the text has as many digits as it takes.
            with np.errstate(over="ignore"):
                values = np.array(numbers, np.float64).astype(np.float32).astype(np.float64)
        except (TypeError, ValueError, OverflowError):
            values = np.full(1, np.nan)
        if values.ndim != 1 or not np.isfinite(values).all():
            raise OutputError(f"{file}: its {key} are not a list of numbers.")
        if not values.size:
            continue
        if values.size % 3 or values.size // 3 not in _PARTS[part]:
            raise OutputError(
                f"{file}: its {key} have {values.size} numbers; x, y and confidence of "
                f"{' or '.join(map(str, _PARTS[part]))} points can be read."
            )
        parts[part] = values.reshape(-1, 3)
    return parts


def _layout_of(persons: Sequence[_Person], files: Sequence[_FrameFile] = ()) -> Layout:
    """Return the layout with the parts that any of some persons has."""
    parts: dict[str, Part] = {}
    for row, person in enumerate(persons):
        for name, points in person.items():
            part = _PARTS[name][len(points)]
            if parts.setdefault(name, part) != part:
                raise OutputError(
                    f"{files[row].file} has {len(points)} points of '{name}', others of its video "
                    f"{len(parts[name].points)}: they are of two runs of OpenPose."
                )
    ordered = tuple(parts[name] for name in _PARTS if name in parts)
    return next((known for known in LAYOUTS.values() if known.parts == ordered), Layout("openpose-files", ordered))


def _stack(part: Part, persons: Sequence[_Person], sizes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return a part in all frames, float32 (frames, points, 3): x and y as fractions of the picture."""
    points = np.full((len(persons), len(part.points), 3), np.nan, np.float32)
    for row, person in enumerate(persons):
        if part.name in person:
            values = person[part.name] / (*sizes[row].tolist(), 1)
            points[row] = np.where(person[part.name][:, 2:] == 0, np.nan, values)
    return points


def _are_fractions(persons: Sequence[_Person]) -> bool:
    """Return whether no point that was found is farther than 1 from the corner: coordinates are not pixels."""
    found = [points[points[:, 2] != 0, :2] for person in persons for points in person.values()]
    return bool(found) and max(float(np.abs(places).max(initial=0)) for places in found) <= 1


def parse_frame_size(text: str) -> FrameSize:
    """Return width and height of `210x260`; raise ValueError for any other text."""
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a size: write width x height in pixels, as 210x260")
    return int(match[1]), int(match[2])
