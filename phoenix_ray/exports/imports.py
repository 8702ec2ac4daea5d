"""Opening landmarks of any kind that is understood, by what lies at a path; `verify`, `stats` and `export` call it."""

from __future__ import annotations

from pathlib import Path

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.video_landmarks import LandmarkCollection
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.file_collections import READERS, FileCollection
from phoenix_ray.exports.landmark_pickle import LandmarkPickle

# Pickles of protocol 2 and later begin with this byte.
_PICKLE = b"\x80"


def open_collection(path: str) -> LandmarkCollection:
    """Open a dataset of ours, or landmarks in a format of another tool.

    Understood are: a dataset (a folder, or a URI of a bucket), a pickle of keypoint lists, an `.npz` or `.pose` file,
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
    elif _begins_like_a_pickle(where):
        return LandmarkPickle.open(where)
    raise OutputError(
        f"{path} holds no landmarks that are understood: give a dataset of phoenix_ray (a folder with "
        f"{paths.IDENTITY}), a pickle of keypoint lists, or {' or '.join(READERS)} files (docs/exports.md)."
    )


def _begins_like_a_pickle(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(1) == _PICKLE
