"""Made-up pictures, videos and trees for the tests of the sources."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import SourceSettings
from phoenix_ray.sources.base import SourceProblem, Video
from phoenix_ray.sources.containers import examine_container
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.registry import open_source


def picture(seed: int, width: int = 48, height: int = 64) -> NDArray[np.uint8]:
    """Return noise, so that no two pictures are alike and every byte of a file counts."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_frames(folder: Path, count: int, pattern: str = "images{:04}.png") -> Path:
    """Write `count` pictures, numbered from 1, into a new folder."""
    folder.mkdir(parents=True)
    for index in range(count):
        assert cv2.imwrite(str(folder / pattern.format(index + 1)), picture(index)[:, :, ::-1])
    return folder


def write_video(
    path: Path,
    frames: int = 12,
    codec: str = "mpeg4",
    pixels: str = "yuv420p",
    times_ms: Sequence[int] = (),
    **options: str,
) -> Path:
    """Write a video of `frames` pictures at 25 a second, or at the given times; `options` go to the container."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 64, pixels
        if times_ms:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(len(times_ms) or frames):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            if times_ms:
                frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_audio(path: Path) -> Path:
    """Write a video file that holds sound alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def folder_video(folder: Path, fps: float | None = None) -> Video:
    """Return a frame folder as the video that a source would list."""
    count = sum(1 for _ in folder.iterdir())
    return Video("train", folder.name, "frame_folder", str(folder), count, "signature", fps)


def container_video(path: Path) -> Video:
    """Return a video file as the video that a source would list."""
    found = examine_container(DiskPath(path))
    return Video("train", path.stem, "video_file", str(path), found.frame_count, found.signature, found.rate.fps)


def listed(path: Path, **settings: Any) -> list[Video | SourceProblem]:
    """Return all that the source at `path` lists."""
    return list(open_source(SourceSettings(path=str(path), **settings)).videos())


def listed_videos(path: Path, **settings: Any) -> list[Video]:
    """Return the videos that the source at `path` lists; there must be no problem."""
    videos = listed(path, **settings)
    assert [video for video in videos if isinstance(video, SourceProblem)] == []
    return [video for video in videos if isinstance(video, Video)]


def problem(path: Path, **settings: Any) -> SourceProblem:
    """Return the one problem that the source at `path` lists."""
    (found,) = [video for video in listed(path, **settings) if isinstance(video, SourceProblem)]
    return found


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Check that what runs inside ends every thread that it starts."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
