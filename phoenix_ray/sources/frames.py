"""Frames of a video: what a worker iterates over.

`read_frames` decodes ahead of the model. `undecoded_frames` yields the same frames without their pixels, for pictures
that kill the process that decodes them. A frame that cannot be read is yielded with the reason, so a range always
gives as many frames as it names.
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
from phoenix_ray.sources.built_in import read_synthetic
from phoenix_ray.sources.containers import decode_video, frame_name
from phoenix_ray.sources.decode import UnreadableFrameError, decode_picture
from phoenix_ray.sources.files import is_storage_error, lookahead, open_regular_file, storage_failure, with_retries
from phoenix_ray.sources.folders import frame_names
from phoenix_ray.text import counted, storable_text


def read_frames(video: Video, first: int, last: int, settings: DecodeSettings) -> Generator[Frame, None, None]:
    """Yield frames `first` to `last - 1` in order, decoding `settings.ahead` of them before they are needed.

    Memory is bounded by `settings.ahead` frames whatever the length of the video. Close the iterator to stop early.

    Raises:
        ValueError: The range does not lie within the video.
        SourceError: This machine cannot see the video, or cannot read it now, which says nothing about its frames.
            Raised here or while the frames are consumed.
    """
    if not 0 <= first <= last <= video.frame_count:
        raise ValueError(f"frames {first} to {last} do not lie within the {video.frame_count} of {video.location}")
    if video.kind == "synthetic":
        return read_synthetic(video, first, last)
    _require_visible(video)
    if video.kind == "frame_folder":
        return _read_folder(video, first, last, settings)
    return _read_container(video, first, last, settings)


def undecoded_frames(video: Video, first: int, last: int) -> Iterator[Frame]:
    """Yield frames `first` to `last - 1` by name and time, without images.

    Frames of a video file have no time, because the file is not opened.

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
        name = storable_text(names[index]) if index < len(names) else frame_name(index)
        yield Frame(index, name, _timestamp(video, index), image=None)


def read_frames_except(video: Video, undecoded: Set[int], settings: DecodeSettings) -> Iterator[Frame]:
    """Yield all frames of a video in order, those whose index is in `undecoded` without images.

    A picture file among them is not opened. A codec cannot skip a frame, so a video file is decoded up to the last
    frame that is wanted, and no further.

    Raises:
        SourceError: This machine cannot read the video.
    """
    if video.kind == "video_file":
        wanted = [index for index in range(video.frame_count) if index not in undecoded]
        end = wanted[-1] + 1 if wanted else 0
        for frame in read_frames(video, 0, end, settings) if wanted else ():
            yield replace(frame, image=None, error=None) if frame.index in undecoded else frame
        yield from undecoded_frames(video, end, video.frame_count)
        return
    for skipped, group in groupby(range(video.frame_count), key=undecoded.__contains__):
        indices = list(group)
        first, end = indices[0], indices[-1] + 1
        yield from undecoded_frames(video, first, end) if skipped else read_frames(video, first, end, settings)


def _require_visible(video: Video) -> None:
    try:
        Path(video.location).stat()
    except OSError as error:
        raise SourceError(
            f"{video.location} cannot be read on this machine ({error.strerror}): every node must see the source under "
            "the same path."
        ) from None


def _read_folder(video: Video, first: int, last: int, settings: DecodeSettings) -> Generator[Frame, None, None]:
    names = frame_names(video.location)
    missing = f"the folder held {counted(video.frame_count, 'frame')} when the run was planned, now {len(names):,}"
    read = partial(_read_picture, video, names, missing, settings.max_pixels)
    yield from lookahead(read, range(first, last), settings.threads, settings.ahead)


def _read_picture(video: Video, names: list[str], missing: str, max_pixels: int, index: int) -> Frame:
    timestamp = _timestamp(video, index)
    if index >= len(names):
        return Frame(index, frame_name(index), timestamp, image=None, error=missing)
    path = Path(video.location, names[index])
    try:
        image = with_retries(lambda: _decode_file(path, max_pixels))
    except (UnreadableFrameError, OSError) as error:
        if isinstance(error, OSError) and is_storage_error(error):
            raise storage_failure(error, str(path)) from None
        if isinstance(error, FileNotFoundError):
            # More than this file may be gone: when a mount fails, the whole folder goes with it.
            _require_visible(video)
        return Frame(index, storable_text(names[index]), timestamp, image=None, error=str(error))
    return Frame(index, storable_text(names[index]), timestamp, image)


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


def _timestamp(video: Video, index: int) -> float | None:
    return index / video.fps if video.fps else None
