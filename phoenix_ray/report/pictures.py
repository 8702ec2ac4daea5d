"""Small pictures of frames: with their landmarks where the source can be read, else the skeleton on a dark ground.

The page names a few frames (`Wanted`); `draw_pictures` finds them. The source is listed once, up to the last video that
is wanted, and a frame that cannot be shown gets a picture without it or none, never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import DecodeSettings
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import LandmarkCollection, VideoLandmarks, image_parts
from phoenix_ray.errors import PhoenixRayError, SourceError
from phoenix_ray.sources.base import Source, Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.viewer.chosen_videos import describe_changes
from phoenix_ray.viewer.overlay import Image, Points, draw

PICTURE_HEIGHT = 190
_WIDEST = 2.4
_JPEG_QUALITY = 80
# Where neither the source nor the dataset says how large a frame is: the shape of PHOENIX-2014-T.
_USUAL_SIZE = (210, 260)
# The dark ground of a skeleton, as on the sheets of `viewer.tiling`.
_GROUND = (31, 36, 47)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A frame to show.

    Attributes:
        key: Split and ID of its video.
        frame: Its index.
        bare: Show the picture alone; without a source there is none.
    """

    key: VideoKey
    frame: int
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A JPEG of a frame; `has_frame` says whether it shows the frame itself or the skeleton alone."""

    content: bytes
    width: int
    height: int
    has_frame: bool


@dataclass(frozen=True, slots=True)
class _Landmarks:
    points: Mapping[str, Points]
    size: tuple[int, int]

    @property
    def found(self) -> bool:
        """Whether there is any point to draw."""
        return any(bool(np.isfinite(values).any()) for values in self.points.values())


def draw_pictures(
    collection: LandmarkCollection, wanted: Collection[Wanted], open_frames: Callable[[], Source] | None
) -> tuple[dict[Wanted, Picture], str, str]:
    """Return the pictures that can be made of some frames, why frames are missing, and which may be the wrong ones.

    The reasons are empty where nothing is missing or wrong.

    Args:
        collection: Their landmarks.
        wanted: The frames.
        open_frames: Opens the source; None where no frame is to be shown.
    """
    videos: dict[VideoKey, Video] = {}
    reason = ""
    if open_frames is not None and wanted:
        try:
            videos = _find_videos(open_frames(), {picture.key for picture in wanted})
            reason = "" if videos else "The source holds none of these videos."
        except PhoenixRayError as error:
            reason = str(error)
    pictures: dict[Wanted, Picture] = {}
    for key in sorted({picture.key for picture in wanted}):
        here = sorted((picture for picture in wanted if picture.key == key), key=lambda picture: picture.frame)
        found = _find_landmarks(collection, key, {picture.frame for picture in here if not picture.bare})
        for picture in here:
            frame = _read_frame(videos.get(key), picture.frame)
            if made := _draw(collection, frame, found.get(picture.frame), picture.bare):
                pictures[picture] = made
    changes = describe_changes(collection, list(videos.values())) if isinstance(collection, Dataset) else ""
    return pictures, reason, changes


def affected_frames(collection: LandmarkCollection, key: VideoKey, status: str) -> tuple[list[int], str]:
    """Return the indices of a video's frames with a status, and the first of their errors, empty without one."""
    if isinstance(collection, Dataset):
        rows = collection.select(parts=()).read_video(*key)
        statuses, frames = rows.column("status").to_pylist(), rows.column("frame_index").to_pylist()
        errors = rows.column("error").to_pylist()
    else:
        video = collection.load(*key)
        statuses, frames, errors = list(video.status), video.frame_index.tolist(), [None] * len(video)
    chosen = [row for row, of_frame in enumerate(statuses) if of_frame == status]
    return [frames[row] for row in chosen], next((errors[row] for row in chosen if errors[row]), "")


def typical_frame(collection: LandmarkCollection, key: VideoKey, part: str, *, found: bool) -> int | None:
    """Return the frame in the middle of those with a part, or without it; None where there is none."""

    def middle(blocks: Iterable[VideoLandmarks]) -> int | None:
        frames = np.concatenate([block.frame_index[block.present(part) == found] for block in blocks])
        return int(frames[len(frames) // 2]) if len(frames) else None

    return _with_blocks(collection, key, [part], middle)


def _with_blocks(
    collection: LandmarkCollection,
    key: VideoKey,
    parts: Sequence[str],
    use: Callable[[Iterator[VideoLandmarks]], Result],
) -> Result:
    """Pass a video to a function in blocks of rows; a file of another tool is one block with all its parts."""
    if isinstance(collection, Dataset):
        return collection.select(parts=parts).load_blocks(*key, use)
    return use(iter([collection.load(*key)]))


def _find_landmarks(collection: LandmarkCollection, key: VideoKey, frames: Collection[int]) -> dict[int, _Landmarks]:
    if not frames:
        return {}
    return _with_blocks(collection, key, image_parts(collection.layout), partial(_rows_of, frames=frames))


def _rows_of(blocks: Iterable[VideoLandmarks], frames: Collection[int]) -> dict[int, _Landmarks]:
    found: dict[int, _Landmarks] = {}
    for block in blocks:
        for row in np.flatnonzero(np.isin(block.frame_index, list(frames))).tolist():
            points = {part: values[row].copy() for part, values in block.points.items()}
            width, height = block.sizes[row].tolist()
            found[int(block.frame_index[row])] = _Landmarks(points, (width, height))
    return found


def _find_videos(source: Source, keys: Collection[VideoKey]) -> dict[VideoKey, Video]:
    """Return the videos of these keys; the listing ends with the last of them."""
    found: dict[VideoKey, Video] = {}
    for video in source.videos():
        if isinstance(video, Video) and (video.split, video.video_id) in keys:
            found[video.split, video.video_id] = video
            if len(found) == len(keys):
                break
    return found


def _read_frame(video: Video | None, frame: int) -> Image | None:
    """Return a frame of a video, None where it cannot be read: the source may have changed since the run."""
    if video is None or frame >= video.frame_count:
        return None
    with suppress(SourceError), closing(read_frames(video, frame, frame + 1, DecodeSettings(threads=1))) as frames:
        return next(frames).image
    return None


def _draw(
    collection: LandmarkCollection, frame: Image | None, landmarks: _Landmarks | None, bare: bool
) -> Picture | None:
    if frame is None and (bare or landmarks is None or not landmarks.found):
        return None
    has_frame = frame is not None
    if frame is None:
        assert landmarks is not None
        frame = _ground(landmarks.size)
    # Drawn at twice the size and then reduced, so that lines are fine and smooth; sides of any frame are bounded.
    width, height = _shown_size(frame.shape[1], frame.shape[0])
    large = np.asarray(cv2.resize(frame, (2 * width, 2 * height), interpolation=cv2.INTER_AREA), np.uint8)
    if landmarks is not None and not bare:
        large = draw(large, collection.layout, landmarks.points, scale=1)
    small = cv2.cvtColor(cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return Picture(content.tobytes(), width, height, has_frame)


def _ground(size: tuple[int, int]) -> Image:
    """Return an even ground in the shape of a frame, no larger than it is shown."""
    width, height = _shown_size(*(size if min(size) > 0 else _USUAL_SIZE))
    ground: NDArray[np.uint8] = np.empty((height, width, 3), np.uint8)
    ground[:] = _GROUND
    return ground


def _shown_size(width: int, height: int) -> tuple[int, int]:
    """Return the width and height at which a frame fits into the box of a picture."""
    factor = min(PICTURE_HEIGHT / height, PICTURE_HEIGHT * _WIDEST / width)
    return max(1, round(width * factor)), max(1, round(height * factor))
