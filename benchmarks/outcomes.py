"""Reads what each contestant leaves on disk as landmarks in pixels, for suite `losses` to compare and count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks import mediapipe_practice, ray_data_practice
from benchmarks.contestants import (
    mediapipe_request,
    pose_format_command,
    script_command,
    write_command,
    write_videos,
)
from benchmarks.frames import BenchmarkFrames
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.errors import OutputError
from phoenix_ray.exports.pickles import load_pickle
from phoenix_ray.exports.pose_import import read_pose_file

# A frame (its position in the benchmark's list) → x, y in pixels of all points, NaN where missing.
FramePoints = Mapping[int, NDArray[np.float64]]


class Contestant(Protocol):
    """A command that computes the benchmark's frames into a folder, and a reader of that folder."""

    @property
    def name(self) -> str:
        """The name in tables."""
        ...

    @property
    def frame_count(self) -> int:
        """Number of frames that should be in the folder."""
        ...

    def command(self, folder: Path, workers: int) -> list[str]:
        """Return the command; for the same folder always the same."""
        ...

    def rows(self, folder: Path) -> Iterator[int]:
        """Yield the frame's position for each row that can be read, whatever state the folder is in."""
        ...

    def landmarks(self, folder: Path) -> FramePoints:
        """Return all landmarks of a finished folder."""
        ...


class PhoenixRay:
    """Our contestant: `python -m phoenix_ray.run`."""

    name = "**phoenix_ray**"

    def __init__(self, frames: BenchmarkFrames) -> None:
        self._frames = frames
        self.frame_count = len(frames.pictures)

    def command(self, folder: Path, workers: int) -> list[str]:
        """Return `python -m phoenix_ray.run …`."""
        return write_command(self._frames, workers, 1, folder)[0]

    def rows(self, folder: Path) -> Iterator[int]:
        """Yield the frames in data files and partitions."""
        try:
            dataset = Dataset.open(str(folder / "dataset"))
        except OutputError:
            return
        for split, video_id in list(dataset.keys()):
            first = self._first(split, video_id)
            yield from (first + index for index in dataset.read_video(split, video_id)["frame_index"].to_pylist())

    def landmarks(self, folder: Path) -> FramePoints:
        """Return the landmarks of the dataset."""
        dataset = Dataset.open(str(folder / "dataset"))
        found = {}
        for split, video_id in list(dataset.keys()):
            video, first = dataset.load(split, video_id), self._first(split, video_id)
            pixels = video.array(axes="xy") * video.sizes[:, None, :]
            found.update({first + int(index): pixels[row] for row, index in enumerate(video.frame_index)})
        return found

    def _first(self, split: str, video_id: str) -> int:
        """Return the position of a video's first frame; in the run's table its ID is `<pass>/<video ID>`."""
        position = 0
        for video in self._frames.videos:
            if (video.split, f"0/{video.video_id}") == (split, video_id):
                return position
            position += video.frame_count
        raise KeyError(video_id)


class MediaPipePool:
    """MediaPipe in static image mode in a process pool, which writes one pickle at the end."""

    name = "MediaPipe static, process pool"

    def __init__(self, frames: BenchmarkFrames, python: Path) -> None:
        self._frames = frames
        self._python = python
        self.frame_count = len(frames.pictures)

    def command(self, folder: Path, workers: int) -> list[str]:
        """Return the script with its request."""
        request = mediapipe_request(self._frames.pictures, workers, stateless=False)
        return script_command(self._python, mediapipe_practice.__file__, request, folder)

    def rows(self, folder: Path) -> Iterator[int]:
        """Yield the rows of the pickle, if it exists."""
        pickled = folder / "result.json.pickle"
        if pickled.is_file():
            yield from range(len(_load_rows(pickled)))

    def landmarks(self, folder: Path) -> FramePoints:
        """Return the landmarks of the pickle."""
        sizes = _sizes(self._frames)
        found = {}
        for index, row in enumerate(_load_rows(folder / "result.json.pickle")):
            parts = [
                np.full((points, 2), np.nan) if (values := row[part]) is None else values[:, :2].astype(np.float64)
                for part, points in mediapipe_practice.PARTS.items()
            ]
            found[index] = np.concatenate(parts) * sizes[index]
        return found


class PoseFormat:
    """pose-format's `videos_to_poses` on video files of the same pixels, which writes a `.pose` file beside each."""

    name = "pose-format static"

    def __init__(self, frames: BenchmarkFrames, python: Path) -> None:
        self._frames = frames
        self._python = python
        self.frame_count = len(frames.pictures)

    def command(self, folder: Path, workers: int) -> list[str]:
        """Return the command, having written the video files if they do not exist."""
        videos = folder / "videos"
        if not videos.is_dir():
            write_videos(self._frames, 1, videos)
        return pose_format_command(self._python, videos, workers, static=True)

    def rows(self, folder: Path) -> Iterator[int]:
        """Yield the frames of the files that can be read."""
        for first, poses in self._files(folder):
            with suppress(OutputError, FileNotFoundError):
                yield from range(first, first + len(_read_pose(poses)))

    def landmarks(self, folder: Path) -> FramePoints:
        """Return the landmarks of all files."""
        return {
            first + row: points for first, poses in self._files(folder) for row, points in enumerate(_read_pose(poses))
        }

    def _files(self, folder: Path) -> Iterator[tuple[int, Path]]:
        position = 0
        for video in self._frames.videos:
            yield position, folder / "videos" / f"0-{video.video_id.replace('/', '-')}.pose"
            position += video.frame_count


class RayData:
    """Ray Data around MediaPipe in static image mode, which writes Parquet files."""

    name = "Ray Data, static MediaPipe"

    def __init__(self, frames: BenchmarkFrames, python: Path) -> None:
        self._frames = frames
        self._python = python
        self.frame_count = len(frames.pictures)

    def command(self, folder: Path, workers: int) -> list[str]:
        """Return the script with its request."""
        output = str(folder / "parquet")
        request = {"pictures": list(self._frames.pictures), "workers": workers, "output": output}
        return script_command(self._python, ray_data_practice.__file__, request, folder)

    def rows(self, folder: Path) -> Iterator[int]:
        """Yield the rows of the Parquet files that can be read."""
        for file in sorted((folder / "parquet").glob("*.parquet")):
            yield from pq.read_table(file, columns=["index"]).column("index").to_pylist()

    def landmarks(self, folder: Path) -> FramePoints:
        """Return the landmarks of all files."""
        sizes = _sizes(self._frames)
        found = {}
        for file in sorted((folder / "parquet").glob("*.parquet")):
            for row in pq.read_table(file).to_pylist():
                values = [value for part in ray_data_practice.PARTS for value in row[part]]
                found[row["index"]] = np.reshape(values, (-1, 3))[:, :2] * sizes[row["index"]]
        return found


def _load_rows(file: Path) -> list[dict[str, NDArray[np.float32] | None]]:
    rows: list[dict[str, NDArray[np.float32] | None]] = load_pickle(file)
    return rows


def _read_pose(file: Path) -> NDArray[np.float64]:
    """Return x, y in pixels (frames, points, 2) of a `.pose` file.

    Raises:
        OutputError: It cannot be read.
        FileNotFoundError: It does not exist.
    """
    if not file.is_file():
        raise FileNotFoundError(file)
    video = read_pose_file(file, "all", file.stem)
    return video.array(axes="xy").astype(np.float64) * video.sizes[:, None, :]


def _sizes(frames: BenchmarkFrames) -> NDArray[np.float64]:
    """Return width and height of each frame (frames, 2)."""
    from PIL import Image

    sizes = []
    for picture in frames.pictures:
        with Image.open(picture) as image:
            sizes.append(image.size)
    return np.array(sizes, np.float64)
