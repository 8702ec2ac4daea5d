"""Frames of a video: what a worker iterates over.

`read_frames` decodes ahead of the model. `undecoded_frames` yields the same frames without their pixels, for pictures
that kill the process that decodes them. A frame that cannot be read is yielded with the reason, so a range always
gives as many frames as it names.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Set
from dataclasses import replace
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import ConfigError, SourceError
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.decode import UnreadableFrameError, read_picture
from phoenix_ray.sources.decoding import DecodingSessions, frame_name
from phoenix_ray.sources.files import is_storage_error, lookahead, not_seen, storage_failure, with_retries
from phoenix_ray.sources.folders import frame_names
from phoenix_ray.sources.locations import source_path
from phoenix_ray.sources.paths import SourcePath
from phoenix_ray.sources.pixel_aspect import with_square_pixels
from phoenix_ray.sources.synthetic import read_synthetic
from phoenix_ray.text import counted, storable_text


def read_frames(
    video: Video, first: int, last: int, settings: DecodeSettings, sessions: DecodingSessions | None = None
) -> Generator[Frame, None, None]:
    """Yield frames `first` to `last - 1` in order, decoding `settings.ahead` of them before they are needed.

    Memory is bounded by `settings.ahead` frames whatever the length of the video. Close the iterator to stop early.
    With `sessions`, a range of a video file goes on where one before it ended; without, it is decoded from the first
    frame of the file. The frames are the same.

    Raises:
        ValueError: The range does not lie within the video.
        SourceError: This machine cannot see the video, or cannot read it now, which says nothing about its frames.
            Raised here or while the frames are consumed.
    """
    if not 0 <= first <= last <= video.frame_count:
        raise ValueError(f"frames {first} to {last} do not lie within the {video.frame_count} of {video.location}")
    if video.kind == "synthetic":
        return read_synthetic(video, first, last)
    if video.kind == "frame_folder":
        return _read_folder(video, first, last, settings)
    return _read_container(video, first, last, settings, sessions)


def undecoded_frames(video: Video, first: int, last: int) -> Iterator[Frame]:
    """Yield frames `first` to `last - 1` by name and time, without images.

    Frames of a video file have no time, because the file is not opened.

    Raises:
        SourceError: This machine cannot list the video's folder.
    """
    start = video.start_frame
    if video.kind != "frame_folder":
        yield from (Frame(index, frame_name(start + index), timestamp=None, image=None) for index in range(first, last))
        return
    names = _list_frames(video, _path_of(video))
    for index in range(first, last):
        place = start + index
        name = storable_text(names[place]) if place < len(names) else frame_name(place)
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


def _path_of(video: Video) -> SourcePath:
    try:
        return source_path(video.location)
    except ConfigError as error:
        # The driver could open it: this machine lacks credentials, or something else that its environment holds.
        raise SourceError(f"{video.location} cannot be opened on this machine: {error}") from None


def _list_frames(video: Video, folder: SourcePath) -> list[str]:
    try:
        return with_retries(lambda: frame_names(folder))
    except OSError as error:
        if is_storage_error(error):
            raise storage_failure(error, video.location) from None
        raise not_seen(error, video.location) from None


def _read_folder(video: Video, first: int, last: int, settings: DecodeSettings) -> Generator[Frame, None, None]:
    folder = _path_of(video)
    reader = _FolderReader(video, folder, _list_frames(video, folder), settings)
    yield from lookahead(reader.read, range(first, last), max(settings.threads, folder.read_together), settings.ahead)


class _FolderReader:
    """Reads pictures of a folder in many threads, of which `settings.threads` decode at a time."""

    def __init__(self, video: Video, folder: SourcePath, names: list[str], settings: DecodeSettings) -> None:
        self._video = video
        self._folder = folder
        self._names = names
        self._max_pixels = settings.max_pixels
        self._decoding = threading.Semaphore(settings.threads)

    def read(self, index: int) -> Frame:
        """Return the frame of an index, decoded or with the reason why not."""
        video, names = self._video, self._names
        timestamp, place = _timestamp(video, index), video.start_frame + index
        if place >= len(names):
            least = "at least " if video.is_segment else ""
            planned = counted(video.start_frame + video.frame_count, "frame")
            missing = f"the folder held {least}{planned} when the run was planned, now {len(names):,}"
            return Frame(index, frame_name(place), timestamp, image=None, error=missing)
        path, name = self._folder / names[place], storable_text(names[place])
        try:
            image = with_retries(lambda: self._decode(path))
        except (UnreadableFrameError, OSError) as error:
            if isinstance(error, OSError) and is_storage_error(error):
                raise storage_failure(error, str(path)) from None
            if isinstance(error, FileNotFoundError) and not self._is_folder_there():
                # More than this file is gone: when a mount fails, the whole folder goes with it.
                raise not_seen(error, video.location) from None
            return Frame(index, name, timestamp, image=None, error=str(error))
        return Frame(index, name, timestamp, image)

    def _decode(self, path: SourcePath) -> NDArray[np.uint8]:
        with path.open() as file:
            picture = read_picture(file.stream(), self._max_pixels)
        with self._decoding:
            image = picture.decode()
            ratio = self._video.pixel_aspect_ratio if self._video.square_pixels else None
            return with_square_pixels(image, ratio, self._max_pixels)

    def _is_folder_there(self) -> bool:
        try:
            return self._folder.is_folder()
        except OSError as error:
            raise storage_failure(error, self._video.location) from None


def _read_container(
    video: Video, first: int, last: int, settings: DecodeSettings, sessions: DecodingSessions | None
) -> Generator[Frame, None, None]:
    sessions = sessions or DecodingSessions()
    decoded = sessions.frames(video, _path_of(video), first, last, settings.max_pixels)
    try:
        # A codec decodes in order, so one thread runs ahead whatever `settings.threads` says.
        yield from lookahead(lambda _: next(decoded), range(first, last), threads=1, ahead=settings.ahead)
    finally:
        decoded.close()


def _timestamp(video: Video, index: int) -> float | None:
    return index / video.fps if video.fps else None
