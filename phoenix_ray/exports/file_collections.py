"""A folder of files, one per video, as a collection: `.npz` and `.pose`, as exported here or by other tools.

The first folder below the given one is the split, what follows the video ID: `train/day-1/a.pose` is the video
`day-1/a` of `train`; a file right in the folder has the empty split. An `.npz` of ours says itself which video it is,
which is asked where the name does not tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.numpy_archives import read_numpy_archive
from phoenix_ray.exports.pose_imports import read_pose_file
from phoenix_ray.landmarks import Layout

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
        read: Reads one.
        layout: Of the first video; others may have another number of face points.
    """

    files: Mapping[VideoKey, Path]
    read: Reader
    layout: Layout = field(init=False)

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
    """Return split and video ID by the path; of an `.npz` alone, or with a name cut short, by what it says itself."""
    if file.suffix == ".npz" and (file == root or "~" in file.name):
        video = read_numpy_archive(file)
        return video.split, video.video_id
    parts = Path(file.name).parts if file == root else file.relative_to(root).parts
    names = [unquote(part, errors="surrogateescape") for part in (*parts[:-1], file.stem)]
    return ("", names[0]) if len(names) == 1 else (names[0], "/".join(names[1:]))
