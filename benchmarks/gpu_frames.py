"""The frames on which a device is measured: picture files in folders, one folder for each video."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.decode import UnreadableFrameError, decode_picture

Image = NDArray[np.uint8]

PICTURES = (".png", ".jpg", ".jpeg")


# Without slots, because `cached_property` needs a __dict__.
@dataclass(frozen=True)
class GpuFrames:
    """N frames.

    Attributes:
        pictures: Bytes of their files.
        videos: The frames of each video, in order; together they are all frames.
    """

    pictures: tuple[bytes, ...]
    videos: tuple[range, ...]

    @cached_property
    def images(self) -> tuple[Image, ...]:
        """RGB, each uint8 (height, width, 3)."""
        return tuple(_decode_or_name(number, picture) for number, picture in enumerate(self.pictures, 1))

    @cached_property
    def sizes(self) -> NDArray[np.int32]:
        """Width and height of each frame, (N, 2)."""
        return np.array([(image.shape[1], image.shape[0]) for image in self.images], np.int32)

    @property
    def digest(self) -> str:
        """The sha256 of all files and of where videos begin, for landmarks that are stored with it."""
        first = ",".join(str(video.start) for video in self.videos)
        return hashlib.sha256(b"".join(self.pictures) + first.encode()).hexdigest()

    def repeated(self, count: int) -> list[Image]:
        """Return the first frames, from the start again where there are fewer."""
        return [self.images[index % len(self.images)] for index in range(count)]

    def __str__(self) -> str:
        sizes = ", ".join(sorted({f"{width}x{height}" for width, height in self.sizes}))
        return f"{len(self.pictures)} frames ({sizes}) of {len(self.videos)} videos"


def decode(picture: bytes) -> Image:
    """Return the pixels of a picture file, RGB uint8 (height, width, 3), decoded as in a run."""
    return decode_picture(BytesIO(picture), DecodeSettings().max_pixels)


def _decode_or_name(number: int, picture: bytes) -> Image:
    try:
        return decode(picture)
    except UnreadableFrameError as error:
        raise SourceError(f"Picture {number}, in the order of their paths, cannot be decoded: {error}.") from None


def read_frames(folder: Path | None, limit: int) -> GpuFrames:
    """Return the pictures below a folder in order of their paths; without a folder, those of the samples.

    Args:
        folder: Pictures of the same folder, at any depth, are frames of one video.
        limit: Most frames. Of each video as many of its first frames are taken, as far as it has them.

    Raises:
        SourceError: There is no picture.
    """
    return load(fair_share(list_pictures(folder), limit))


def list_pictures(folder: Path | None) -> list[Path]:
    """Return the paths of pictures below a folder, sorted; without a folder, those of the samples.

    Raises:
        SourceError: There is no picture.
    """
    if folder is None:
        from benchmarks.frames import choose_source, list_frames

        return [Path(picture) for picture in list_frames(choose_source(None)).pictures]
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    if not paths:
        raise SourceError(f"There is no picture ({', '.join(PICTURES)}) below {folder}.")
    return paths


def fair_share(paths: Sequence[Path], limit: int) -> list[Path]:
    """Return at most `limit` of the paths: the first of each folder, as many of each as it has and the limit admits."""
    videos = list(_videos(paths))
    most = [0] * len(videos)
    left = limit
    while left and (growing := [index for index, video in enumerate(videos) if most[index] < len(video)]):
        for index in growing[:left]:
            most[index] += 1
        left -= min(left, len(growing))
    return [path for video, count in zip(videos, most, strict=True) for path in video[:count]]


def load(paths: Sequence[Path]) -> GpuFrames:
    """Return the frames of picture files; neighbours in the same folder are frames of one video."""
    videos, first = [], 0
    for video in _videos(paths):
        videos.append(range(first, first + len(video)))
        first += len(video)
    return GpuFrames(tuple(path.read_bytes() for path in paths), tuple(videos))


def _videos(paths: Sequence[Path]) -> Iterator[list[Path]]:
    for _, video in groupby(paths, key=lambda path: path.parent):
        yield list(video)
