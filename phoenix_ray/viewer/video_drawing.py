"""Draws a frame of a video that is in memory: the skeleton on a plain ground, or over the frame itself.

`VideoLandmarks.draw` calls `draw_frame`; `player` finds frames with `find_frames_of`. Nothing here opens a source that
it is not given.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.registry import open_source
from phoenix_ray.text import counted, short_line
from phoenix_ray.viewer.film import PictureLimits, draw_pane, pane_size
from phoenix_ray.viewer.overlay import Image
from phoenix_ray.viewer.shown_rows import SIZE_UNKNOWN

# What fits into a notebook beside code. Frames are enlarged by a whole factor, so that their pixels stay even.
_LIMITS = PictureLimits(enlarged_height=520, most_width=1920, most_height=1080)
# Memory for a picture: 100 MB.
_MOST_PIXELS = 32_000_000

SourcePlace = str | os.PathLike[str]


def draw_frame(
    video: VideoLandmarks,
    row: int,
    source: SourcePlace | None = None,
    image: NDArray[np.uint8] | Picture.Image | None = None,
    height: int | None = None,
) -> Picture.Image:
    """Return a row of a video as a picture; see `VideoLandmarks.draw`."""
    if source is not None and image is not None:
        raise ValueError("give source= or image=, not both")
    try:
        row = range(len(video))[row]
    except IndexError:
        raise IndexError(f"there is no row {row}: the video has {counted(len(video), 'row')}") from None
    except TypeError:
        raise TypeError(f"a frame is drawn by the number of its row, not by {row!r}") from None
    frame = _to_image(image)
    if source is not None:
        frame = _read_frame(find_frames_of(video, source), int(video.frame_index[row]))
    size = _size_of(video, row)
    if frame is not None:
        size = (frame.shape[1], frame.shape[0])
    box = pane_size(size, 1, _LIMITS) if height is None else _box_of_height(size, height)
    points = {part: values[row] for part, values in video.points.items()}
    crossed = frame is None and (source is not None or video.status[row] == "unreadable")
    return Picture.fromarray(draw_pane(box, frame, size, video.layout, points, crossed))


def find_frames_of(video: VideoLandmarks, source: SourcePlace) -> Video:
    """Return where the frames of a video lie in a source, or in a video file or frame folder of its own.

    Raises:
        SourceError: The source cannot be read, lacks the video, or has fewer frames of it.
    """
    place = os.fspath(source)
    opened = open_source(SourceSettings(path=place))
    found: Video | None = None
    others: list[Video] = []
    for entry in opened.videos():
        if isinstance(entry, Video):
            if (entry.split, entry.video_id) == (video.split, video.video_id):
                found = entry
                break
            others = [*others[:1], entry]
    # The video's own file or folder, which has no split, and often another name.
    if found is None and len(others) == 1:
        (found,) = others
    name = short_line("/".join(filter(None, (video.split, video.video_id))))
    if found is None:
        raise SourceError(
            f"{opened.root} has no video {name}. Give the source that the landmarks were computed from, or the "
            "video's own file or folder."
        )
    last = int(video.frame_index.max(initial=-1))
    if last >= found.frame_count:
        raise SourceError(
            f"{found.location} has {counted(found.frame_count, 'frame')}, and {name} has landmarks of frame {last}: it "
            "is another video. Give the source that the landmarks were computed from."
        )
    return found


def _read_frame(source: Video, index: int) -> Image | None:
    with closing(read_frames(source, index, index + 1, DecodeSettings(threads=1))) as frames:
        return next(frames).image


def _size_of(video: VideoLandmarks, row: int) -> tuple[int, int]:
    """Return width and height of a frame; of one that is not known, the most frequent of the video."""
    width, height = video.sizes[row].tolist()
    if min(width, height) > 0:
        return width, height
    sizes = Counter(tuple(size) for size in video.sizes.tolist() if min(size) > 0)
    if not sizes:
        return SIZE_UNKNOWN
    ((width, height), _) = sizes.most_common(1)[0]
    return width, height


def _box_of_height(size: tuple[int, int], height: int) -> tuple[int, int]:
    width = max(1, round(size[0] * height / size[1]))
    if height < 1 or width * height > _MOST_PIXELS:
        raise ValueError(f"height={height} makes a picture of {width:,} x {height:,} pixels: give another height")
    return width, height


def _to_image(image: NDArray[np.uint8] | Picture.Image | None) -> Image | None:
    if image is None:
        return None
    array = np.asarray(image.convert("RGB") if isinstance(image, Picture.Image) else image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ValueError(
            f"image= has the shape {array.shape} and dtype {array.dtype}: give RGB as uint8 (height, width, 3)"
        )
    return np.ascontiguousarray(array)
