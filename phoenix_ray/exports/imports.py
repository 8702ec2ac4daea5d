"""Opening landmarks of any supported kind, by what lies at a path; `verify`, `stats`, `report` and `export` call it.

A folder of files, one per video, is a collection too: `.npz` and `.pose` (`pose_import`), as exported here or by other
tools, and folders of OpenPose's JSON (`openpose_import`). The first folder below the given one is the split, what
follows the video ID: `train/day-1/a.pose` is the video `day-1/a` of `train`; a file right in the folder has the empty
split. An `.npz` of ours names its video itself, which counts where the name of the file does not say it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import LandmarkCollection, VideoLandmarks
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.landmark_pickle import LandmarkPickle
from phoenix_ray.exports.lossless import read_numpy_archive
from phoenix_ray.exports.openpose import KEYPOINTS_SUFFIX
from phoenix_ray.exports.openpose_import import FrameSize, OpenPoseCollection
from phoenix_ray.exports.pickles import begins_like_a_pickle
from phoenix_ray.exports.pose_import import read_pose_file
from phoenix_ray.layouts import Layout


def open_collection(path: str, frame_size: FrameSize | None = None) -> LandmarkCollection:
    """Open a dataset of ours, or landmarks in a format of another tool.

    Supported are: a dataset (a folder, or a URI of a bucket), a pickle of keypoint lists, an `.npz` or `.pose` file,
    a folder of such files, and folders of OpenPose's `--write_json`.

    Args:
        path: Where it lies.
        frame_size: Width and height in pixels of the pictures, for OpenPose's files, which do not say it; others do.

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
        kinds = {kind for file in where.rglob("*") if (kind := _kind(file))}
        if kinds == {KEYPOINTS_SUFFIX}:
            return OpenPoseCollection.open(where, frame_size)
        if len(kinds) > 1:
            raise OutputError(f"{path} holds {' and '.join(sorted(kinds))} files; files of one kind are read.")
        if kinds:
            return FileCollection.open(where)
    elif where.suffix in READERS:
        return FileCollection.open(where)
    elif _kind(where):
        raise OutputError(f"{path} is one frame of OpenPose's: give the folder of the video, or of several.")
    elif begins_like_a_pickle(where):
        return LandmarkPickle.open(where)
    raise OutputError(
        f"{path} holds no landmarks in a format that can be read: give a dataset of phoenix_ray (a folder with "
        f"{paths.IDENTITY}), a pickle of keypoint lists, {' or '.join(READERS)} files, or a folder of OpenPose's "
        f"…{KEYPOINTS_SUFFIX} (docs/exports.md)."
    )


def _kind(file: Path) -> str:
    """Return the ending of a file that can be read, empty for any other."""
    if file.suffix in READERS:
        return file.suffix
    return KEYPOINTS_SUFFIX if file.name.endswith(KEYPOINTS_SUFFIX) else ""


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
