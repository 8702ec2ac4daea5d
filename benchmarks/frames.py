"""The frames of a benchmark: the same files for every contestant, listed once."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import ConfigError, SourceError
from phoenix_ray.sources.base import SourceProblem, Video
from phoenix_ray.sources.folders import frame_names
from phoenix_ray.sources.locations import source_path
from phoenix_ray.sources.registry import open_source
from phoenix_ray.text import counted

SAMPLES_VARIABLE = "PHOENIX_RAY_SAMPLES"
SAMPLES_BESIDE_CHECKOUT = Path("..", "shared", "samples")
PHOENIX_SAMPLE = Path("phoenix_layout_demo", "PHOENIX-2014-T")


@dataclass(frozen=True, slots=True)
class BenchmarkFrames:
    """The frames that every contestant computes.

    Attributes:
        root: Absolute path of the dataset.
        videos: Its videos, all of them frame folders.
        pictures: Absolute paths of all frames, video by video, in order.
        sizes: The different sizes of the videos' first frames, as "<width>x<height>".
    """

    root: str
    videos: tuple[Video, ...]
    pictures: tuple[str, ...]
    sizes: tuple[str, ...]

    def __str__(self) -> str:
        sizes = ", ".join(self.sizes)
        frames, videos = counted(len(self.pictures), "frame"), counted(len(self.videos), "video")
        return f"{frames} ({sizes}) of {videos} in {Path(self.root).name}"

    def names(self, video: Video) -> list[str]:
        """Return the file names of a video's frames, in order."""
        return frame_names(source_path(video.location))[: video.frame_count]

    def paths(self, video: Video) -> list[str]:
        """Return the absolute paths of a video's frames, in order."""
        return [str(Path(video.location, name)) for name in self.names(video)]

    def shortened(self, frame_count: int) -> BenchmarkFrames:
        """Return the first frames of each video. Only for peers: our command reads whole folders."""
        videos = tuple(replace(video, frame_count=min(frame_count, video.frame_count)) for video in self.videos)
        pictures = [str(Path(video.location, name)) for video in videos for name in self.names(video)[:frame_count]]
        return BenchmarkFrames(self.root, videos, tuple(pictures), self.sizes)


def choose_source(path: Path | None) -> SourceSettings:
    """Return the dataset at `path`; without a path, sign-language videos if this machine has them, else the sample."""
    if path is not None:
        return SourceSettings(path=str(path))
    phoenix = Path(os.environ.get(SAMPLES_VARIABLE, SAMPLES_BESIDE_CHECKOUT)) / PHOENIX_SAMPLE
    return SourceSettings(path=str(phoenix)) if phoenix.is_dir() else SourceSettings(kind="sample")


def list_frames(settings: SourceSettings) -> BenchmarkFrames:
    """Return the frames of a dataset.

    Raises:
        SourceError: The dataset or one of its videos cannot be read.
        ConfigError: It holds video files; the MediaPipe contestants can only read pictures.
    """
    source = open_source(settings)
    videos = []
    for video in source.videos():
        if isinstance(video, SourceProblem):
            raise SourceError(f"{video.split}/{video.video_id} cannot be measured: {video.message}")
        if video.kind != "frame_folder":
            raise ConfigError(f"{video.location} is a video file; the benchmark needs folders of pictures.")
        videos.append(video)
    pictures = [
        [str(Path(video.location, name)) for name in frame_names(source_path(video.location))] for video in videos
    ]
    sizes = sorted({_size(frames[0]) for frames in pictures})
    return BenchmarkFrames(source.root, tuple(videos), tuple(chain.from_iterable(pictures)), tuple(sizes))


def _size(picture: str) -> str:
    from PIL import Image

    try:
        with Image.open(picture) as image:
            return f"{image.width}x{image.height}"
    except OSError as error:
        raise SourceError(f"{picture} cannot be read: {error}. A benchmark needs readable frames.") from None
