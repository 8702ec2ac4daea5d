"""Frames by name and time alone, for those that must not be decoded: a picture may kill the process that decodes it.

Called by a worker for frames that are known to do so; their rows say it.
"""

from __future__ import annotations

from collections.abc import Iterator

from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.containers import frame_name
from phoenix_ray.sources.frame_files import frame_names


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
