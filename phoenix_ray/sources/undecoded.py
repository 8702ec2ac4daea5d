"""Frames by name and time alone, for those that must not be decoded: a picture may kill the process that decodes it.

Called by a worker for frames that are known to do so, and by `phoenix-ray verify` for those whose rows say it.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import replace
from itertools import groupby

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.containers import frame_name
from phoenix_ray.sources.frame_files import frame_names
from phoenix_ray.sources.frames import read_frames


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
