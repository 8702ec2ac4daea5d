"""Opening landmarks of any supported kind, by what lies at a path; `verify`, `stats` and `export` call it.

A folder of files, one per video, is a collection too: `.npz` and `.pose`, as exported here or by other tools. The first
folder below the given one is the split, what follows the video ID: `train/day-1/a.pose` is the video `day-1/a` of
`train`; a file right in the folder has the empty split. An `.npz` of ours names its video itself, which counts where
the name of the file does not say it.

In `.pose` files names decide what a point is, and the letters of a component's format (`XYZC`, `XYC`, …) what an axis
is, because tools drop and reorder both. A point is missing where its confidence is 0: that is pose-format's mask, and
the number under a mask means nothing (`mirror_horizontal` leaves `width - 0` there).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import IMAGE_AXES, LandmarkCollection, VideoLandmarks
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.landmark_pickle import LandmarkPickle, without_scores
from phoenix_ray.exports.lossless import read_numpy_archive
from phoenix_ray.exports.pickles import begins_like_a_pickle
from phoenix_ray.exports.pose_files import COMPONENTS, require_pose_format
from phoenix_ray.layouts import LAYOUTS, Layout, Part, holistic

if TYPE_CHECKING:
    from pose_format import Pose
    from pose_format.pose_header import PoseHeader, PoseHeaderComponent


_CONFIDENCE = "C"


def read_pose_file(path: Path, split: str, video_id: str) -> VideoLandmarks:
    """Return the video of a `.pose` file with components of Holistic.

    The file records neither scores nor names or status of frames.

    Raises:
        MissingExtraError: pose-format is not installed.
        OutputError: The file is damaged, does not hold exactly one person, has points or axes that are not Holistic's,
            or no picture size.
    """
    require_pose_format()
    from pose_format import Pose

    try:
        pose = Pose.read(path.read_bytes())
    # The reader has no errors of its own: damage shows as whatever a wrong byte happens to mean.
    except Exception as error:
        raise OutputError(
            f"{path} cannot be read as a .pose file ({error!r}): it is damaged or of another kind."
        ) from None
    shape = pose.body.data.shape
    if len(shape) != 4 or shape[1] != 1:
        people = f"{shape[1]} people" if len(shape) == 4 else f"an array of the shape {shape}"
        raise OutputError(f"{path} holds {people}; files of one person can be read.")
    layout = pose_layout(pose.header, path)
    points = _read_points(pose, layout, path)
    frames = len(pose.body.data)
    fps = float(pose.body.fps)
    names = [f"frame-{number}" for number in range(frames)]
    sizes = np.full((frames, 2), (pose.header.dimensions.width, pose.header.dimensions.height), np.int32)
    clock = fps if np.isfinite(fps) and fps > 0 else None
    return without_scores(split, video_id, layout, names, sizes, points, clock)


def pose_layout(header: PoseHeader, path: Path) -> Layout:
    """Return Holistic's layout with the points and axes that a header names, in Holistic's order.

    A part whose component is absent is whole, and missing in every frame.

    Raises:
        OutputError: A component of Holistic has a point that Holistic lacks or has one twice, or has no x and y; or
            there is no component of Holistic.
    """
    components = {
        COMPONENTS[component.name]: component for component in header.components if component.name in COMPONENTS
    }
    if not components:
        names = ", ".join(component.name for component in header.components)
        raise OutputError(f"{path} has the components {names}; those of MediaPipe Holistic can be read.")
    irises = "face" in components and any(name in components["face"].points for name in map(str, range(468, 478)))
    whole = holistic(478 if irises else 468)
    parts = tuple(
        _reduce(part, components[part.name], path) if part.name in components else part for part in whole.parts
    )
    return LAYOUTS[whole.name] if parts == whole.parts else Layout("pose-file", parts)


def _reduce(part: Part, component: PoseHeaderComponent, path: Path) -> Part:
    """Return a part with the points and axes that a component has."""
    columns = _columns(part, component)
    unknown = sorted(set(component.points) - set(_names(part)))
    if unknown or len(columns) < len(component.points):
        what = f"the point '{unknown[0]}', which MediaPipe Holistic lacks" if unknown else "a point twice"
        raise OutputError(f"{path}: its component {component.name} has {what}.")
    letters = component.format.upper()
    if not {"X", "Y", _CONFIDENCE} <= set(letters):
        raise OutputError(
            f"{path}: the points of its component {component.name} have the format '{component.format}'; X, Y and "
            f"{_CONFIDENCE} (confidence) are needed."
        )
    kept = {index: place for place, index in enumerate(columns)}
    return Part(
        part.name,
        tuple(part.points[index] for index in columns),
        tuple(axis for axis in part.axes if axis not in IMAGE_AXES or axis.upper() in letters),
        tuple((kept[first], kept[second]) for first, second in part.edges if first in kept and second in kept),
        part.scored,
    )


def _read_points(pose: Pose, layout: Layout, path: Path) -> dict[str, NDArray[np.float32]]:
    frames = len(pose.body.data)
    width, height = pose.header.dimensions.width, pose.header.dimensions.height
    points = {
        part.name: np.full((frames, len(part.points), len(part.axes)), np.nan, np.float32) for part in layout.parts
    }
    start = 0
    for component in pose.header.components:
        stop = start + len(component.points)
        if component.name in COMPONENTS:
            part = layout.part(COMPONENTS[component.name])
            order = [start + component.points.index(name) for name in _names(part)]
            confidence = np.asarray(pose.body.confidence[:, 0, order], np.float32)
            found = confidence != 0
            if found.any() and not (width and height):
                raise OutputError(
                    f"{path} says that its pictures are {width} x {height}: its points are in pixels and mean nothing "
                    "without the size. Set header.dimensions with pose-format."
                )
            letters = component.format.upper().replace(_CONFIDENCE, "")
            for axis, name in enumerate(part.axes):
                if name in IMAGE_AXES:
                    side = {"x": width, "y": height}.get(name, 1)
                    values = np.asarray(pose.body.data.data[:, 0, order, letters.index(name.upper())], np.float64)
                    values = values / max(side, 1)
                else:
                    values = confidence.astype(np.float64)
                points[part.name][:, :, axis] = np.where(found, values, np.nan)
        start = stop
    return points


def _columns(part: Part, component: PoseHeaderComponent) -> list[int]:
    """Return the indices of the points of a part that a component has, ascending."""
    names = set(component.points)
    return [index for index, name in enumerate(_names(part)) if name in names]


def _names(part: Part) -> list[str]:
    """Return what pose-format calls the points of a part: MediaPipe's names in capitals, and numbers in the face."""
    return [name.upper() if part.name != "face" else str(int(name.removeprefix("face_"))) for name in part.points]


def open_collection(path: str) -> LandmarkCollection:
    """Open a dataset of ours, or landmarks in a format of another tool.

    Supported are: a dataset (a folder, or a URI of a bucket), a pickle of keypoint lists, an `.npz` or `.pose` file,
    and a folder of such files.

    Raises:
        MissingExtraError: It is a kind that needs a package which is not installed.
        OutputError: Nothing is there, its kind is not known, or it cannot be read.
    """
    where = Path(path)
    if "://" in path or (where / paths.IDENTITY).is_file():
        return Dataset.open(path)
    if not where.exists():
        raise OutputError(f"There is nothing at {path}.")
    if where.is_dir():
        if any(file.suffix in READERS for file in where.rglob("*")):
            return FileCollection.open(where)
    elif where.suffix in READERS:
        return FileCollection.open(where)
    elif begins_like_a_pickle(where):
        return LandmarkPickle.open(where)
    raise OutputError(
        f"{path} holds no landmarks in a format that can be read: give a dataset of phoenix_ray (a folder with "
        f"{paths.IDENTITY}), a pickle of keypoint lists, or {' or '.join(READERS)} files (docs/exports.md)."
    )


# Returns the video of a file, given the split and video ID that its path says.
Reader = Callable[[Path, str, str], VideoLandmarks]


def _read_numpy_archive(path: Path, split: str, video_id: str) -> VideoLandmarks:
    del split, video_id
    return read_numpy_archive(path)


READERS: Mapping[str, Reader] = {".npz": _read_numpy_archive, ".pose": read_pose_file}


@dataclass(frozen=True, slots=True)
class FileCollection:
    """Files of one kind, a video each.

    Attributes:
        files: The file of each video.
        read: Reads a file.
        layout: Of the first video; others may have another number of face points.
    """

    files: Mapping[VideoKey, Path]
    read: Reader
    layout: Layout = field(init=False)

    @property
    def suffix(self) -> str:
        """The files' kind: `.npz` or `.pose`."""
        return min(self.files.values()).suffix

    def __post_init__(self) -> None:
        """Look into the first file."""
        object.__setattr__(self, "layout", self.load(*min(self.files)).layout)

    @classmethod
    def open(cls, path: Path) -> FileCollection:
        """Open a file, or all below a folder.

        Raises:
            OutputError: There is none, they are of two kinds, two are of the same video, or the first is damaged.
        """
        found = sorted([path] if path.is_file() else (file for file in path.rglob("*") if file.suffix in READERS))
        kinds = {file.suffix for file in found}
        if len(kinds) != 1:
            raise OutputError(
                f"{path} holds {' and '.join(sorted(kinds)) or 'no'} files; one kind of {', '.join(READERS)} is read."
            )
        read = READERS[kinds.pop()]
        files: dict[VideoKey, Path] = {}
        for file in found:
            key = _key(file, path)
            if key in files:
                raise OutputError(f"{files[key]} and {file} are both video '{key[1]}' of the split '{key[0]}'.")
            files[key] = file
        return cls(files, read)

    def keys(self) -> Iterator[VideoKey]:
        """Yield (split, video ID) of each video, sorted."""
        yield from sorted(self.files)

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        """Return a video.

        Raises:
            KeyError: There is no such video.
            OutputError: Its file is damaged.
        """
        return self.read(self.files[split, video_id], split, video_id)


def _key(file: Path, root: Path) -> VideoKey:
    """Return split and video ID by the path; an `.npz` alone, or with a name cut short, records them itself."""
    if file.suffix == ".npz" and (file == root or "~" in file.name):
        video = read_numpy_archive(file)
        return video.split, video.video_id
    parts = Path(file.name).parts if file == root else file.relative_to(root).parts
    names = [unquote(part, errors="surrogateescape") for part in (*parts[:-1], file.stem)]
    return ("", names[0]) if len(names) == 1 else (names[0], "/".join(names[1:]))
