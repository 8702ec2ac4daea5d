"""Frames of a video, decoded ahead of the model: what a worker iterates over.

`read_frames` is the one entry. A frame that cannot be read is yielded with its reason, so a frame range always gives
exactly as many frames as it names.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Set
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.containers import decode_video, frame_name
from phoenix_ray.sources.decode import UnreadableFrameError, decode_picture
from phoenix_ray.sources.files import blame_storage, is_storage_trouble, lookahead, open_regular_file, patiently
from phoenix_ray.sources.folders import frame_names
from phoenix_ray.sources.synthetic import read_synthetic


def read_frames(video: Video, first: int, last: int, settings: DecodeSettings) -> Generator[Frame, None, None]:
    """Yield frames `first` to `last - 1` in order; `settings.ahead` of them are decoded before they are asked for.

    Memory is bounded by `settings.ahead` frames whatever the length of the video. Close the iterator to stop early.

    Raises:
        ValueError: The range does not lie within the video.
        SourceError: This machine cannot see the video, or cannot read now, which says nothing about its frames; also
            while frames are taken.
    """
    if not 0 <= first <= last <= video.frame_count:
        raise ValueError(f"frames {first} to {last} do not lie within the {video.frame_count} of {video.location}")
    if video.kind == "synthetic":
        return read_synthetic(video, first, last)
    _require_sight(video)
    if video.kind == "frame_folder":
        return _read_folder(video, first, last, settings)
    return _read_container(video, first, last, settings)


def _require_sight(video: Video) -> None:
    try:
        Path(video.location).stat()
    except OSError as error:
        raise SourceError(
            f"{video.location} cannot be read on this machine ({error.strerror}): every node must see the source under "
            "the same path."
        ) from None


def _read_folder(video: Video, first: int, last: int, settings: DecodeSettings) -> Generator[Frame, None, None]:
    names = frame_names(video.location)
    missing = f"the folder held {video.frame_count} frames when the run was planned, now {len(names)}"
    read = partial(_read_picture, video, names, missing, settings.max_pixels)
    yield from lookahead(read, range(first, last), settings.threads, settings.ahead)


def _read_picture(video: Video, names: list[str], missing: str, max_pixels: int, index: int) -> Frame:
    timestamp = index / video.fps if video.fps else None
    if index >= len(names):
        return Frame(index, f"frame-{index}", timestamp, image=None, error=missing)
    # A name that is no UTF-8 could not be written to a dataset.
    shown_name = names[index].encode("utf-8", "backslashreplace").decode()
    path = Path(video.location, names[index])
    try:
        image = patiently(lambda: _decode_file(path, max_pixels))
    except (UnreadableFrameError, OSError) as error:
        if isinstance(error, OSError) and is_storage_trouble(error):
            raise blame_storage(error, str(path)) from None
        if isinstance(error, FileNotFoundError):
            # Not this file alone may be gone: a mount takes the whole folder with it.
            _require_sight(video)
        return Frame(index, shown_name, timestamp, image=None, error=str(error))
    return Frame(index, shown_name, timestamp, image)


def _decode_file(path: Path, max_pixels: int) -> NDArray[np.uint8]:
    with open_regular_file(path) as file:
        return decode_picture(file, max_pixels)


def _read_container(video: Video, first: int, last: int, settings: DecodeSettings) -> Generator[Frame, None, None]:
    decoded = decode_video(video, first, last, settings.max_pixels)
    try:
        # A codec decodes in order, so one thread runs ahead whatever `settings.threads` says.
        yield from lookahead(lambda _: next(decoded), range(first, last), threads=1, ahead=settings.ahead)
    finally:
        decoded.close()


def name_frames(video: Video, first: int, last: int) -> Iterator[Frame]:
    """Yield frames `first` to `last - 1` without images. Frames of a video file have no time: it is not opened.

    Raises:
        SourceError: This machine cannot list the video's folder.
    """
    if video.kind != "frame_folder":
        yield from (Frame(index, frame_name(index), timestamp=None, image=None) for index in range(first, last))
        return
    try:
        names = frame_names(video.location)
    except OSError as error:
        raise SourceError(f"{video.location} cannot be listed on this machine: {error.strerror}.") from None
    for index in range(first, last):
        name = names[index] if index < len(names) else frame_name(index)
        shown_name = name.encode("utf-8", "backslashreplace").decode()
        yield Frame(index, shown_name, index / video.fps if video.fps else None, image=None)


def read_frames_but(video: Video, undecoded: Set[int], settings: DecodeSettings) -> Iterator[Frame]:
    """Yield all frames of a video in order, those numbered in `undecoded` without images.

    A picture among them is not opened. A codec cannot leave a frame out, so of a video file all is decoded up to the
    last frame that is wanted; nothing behind it.

    Raises:
        SourceError: This machine cannot read the video.
    """
    if video.kind == "video_file":
        wanted = [index for index in range(video.frame_count) if index not in undecoded]
        end = wanted[-1] + 1 if wanted else 0
        for frame in read_frames(video, 0, end, settings) if wanted else ():
            yield replace(frame, image=None, error=None) if frame.index in undecoded else frame
        yield from name_frames(video, end, video.frame_count)
        return
    for left_out, group in groupby(range(video.frame_count), key=undecoded.__contains__):
        indices = list(group)
        first, end = indices[0], indices[-1] + 1
        yield from name_frames(video, first, end) if left_out else read_frames(video, first, end, settings)
