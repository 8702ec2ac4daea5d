"""Opening landmarks of any kind that is understood, by what lies at a path; `verify` and `stats` call it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.collection import LandmarkCollection, VideoKey
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.landmark_pickle import LandmarkPickle
from phoenix_ray.landmarks import Layout

# Pickles of protocol 2 and later begin with this byte.
_PICKLE = b"\x80"


def open_collection(path: str) -> LandmarkCollection:
    """Open a dataset of ours, or landmarks in a format of another tool.

    Raises:
        OutputError: Nothing is there, its kind is not known, or it cannot be read.
    """
    where = Path(path)
    if (where / paths.IDENTITY).is_file():
        return DatasetCollection(Dataset.open(path))
    if where.is_file():
        with where.open("rb") as stream:
            if stream.read(1) == _PICKLE:
                return LandmarkPickle.open(where)
    if not where.exists():
        raise OutputError(f"There is nothing at {path}.")
    raise OutputError(
        f"{path} holds no landmarks that are understood: give a dataset of phoenix_ray (a folder with "
        f"{paths.IDENTITY}) or a pickle of keypoint lists (docs/exports.md)."
    )


@dataclass(frozen=True, slots=True)
class DatasetCollection:
    """A dataset of ours as a collection of videos."""

    dataset: Dataset

    @property
    def layout(self) -> Layout:
        """Parts, points and axes."""
        return self.dataset.layout

    def keys(self) -> Iterator[VideoKey]:
        """Yield (split, video ID) of each video, sorted."""
        videos = self.dataset.videos()
        yield from sorted(zip(videos["split"].to_pylist(), videos["video_id"].to_pylist(), strict=True))

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        """Return a video; as `Dataset.load`."""
        return self.dataset.load(split, video_id)
