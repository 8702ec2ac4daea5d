"""A contact sheet of a dataset: frames of some videos of each split, with their landmarks drawn in.

Called by `phoenix-ray view`. Landmarks come from the dataset, pixels from the source, so a look at the sheet also shows
whether the two belong together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.dataset.identity import as_recorded, open_recorded_source
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.layouts import Layout
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.viewer.overlay import Points, draw
from phoenix_ray.viewer.tiling import Row, SheetSection, Tile, tile_scale, write_sheet

BADGES = {"no_person": "no person", "unreadable": "unreadable", "failed": "failed"}


def write_contact_sheet(
    output: str,
    file: Path,
    source: SourceSettings,
    videos: int,
    frames: int,
    only: Collection[str] = (),
    around: int | None = None,
) -> None:
    """Write a PNG of a dataset.

    Args:
        output: The dataset's folder.
        file: The picture to write.
        source: Where the frames lie; with an empty path, where the dataset says they lay.
        videos: Videos of each split.
        frames: Frames of each video, spread evenly.
        only: Show these videos instead, each as its ID or as `split/ID`.
        around: Show neighbouring frames with this frame index in the middle, instead of spreading them.

    Raises:
        ConfigError: A video to show ends before the frame `around`.
        OutputError: There is no dataset with rows there, or the picture cannot be written.
        SourceError: The frames cannot be found.
    """
    dataset = Dataset.open(output)
    opened = open_recorded_source(as_recorded(source, dataset.identity), dataset.identity.source_root)
    found = [video for video in opened.videos() if isinstance(video, Video)]
    table = dataset.videos()
    known = set(zip(table["split"].to_pylist(), table["video_id"].to_pylist(), strict=True))
    sections = []
    for split in sorted({video.split for video in found}):
        here = (video for video in found if video.split == split and (split, video.video_id) in known)
        chosen = (video for video in here if _is_named(video, only)) if only else islice(here, videos)
        rows = tuple(_row(dataset, video, frames, around) for video in chosen)
        if rows:
            sections.append(SheetSection(split, rows))
    if not sections:
        what = f"none of {', '.join(only)} that is in {opened.root}" if only else f"no video of {opened.root}"
        raise OutputError(f"{output} holds {what}: nothing to show.")
    write_sheet("Landmarks", sections, file, dataset.layout)


def _is_named(video: Video, names: Collection[str]) -> bool:
    return video.video_id in names or f"{video.split}/{video.video_id}" in names


@dataclass(frozen=True, slots=True)
class FrameLandmarks:
    """The landmarks of one frame.

    Attributes:
        name: File name of the frame, or `frame-<index>`.
        status: Its status (`dataset.schema.FrameStatus`).
        layout: Parts, points and axes.
        points: Part name → float32 (points, axes), NaN where the part is missing.
    """

    name: str
    status: str
    layout: Layout
    points: Mapping[str, Points]


def find_frames(blocks: Iterable[VideoLandmarks], numbers: Collection[int]) -> dict[int, FrameLandmarks]:
    """Return frame number → landmarks of some frames of a video that comes in blocks of rows, as far as it has them."""
    found: dict[int, FrameLandmarks] = {}
    for block in blocks:
        for row in np.flatnonzero(np.isin(block.frame_index, list(numbers))).tolist():
            points = {part: values[row].copy() for part, values in block.points.items()}
            frame = FrameLandmarks(block.frame_names[row], block.status[row], block.layout, points)
            found[int(block.frame_index[row])] = frame
        if len(found) == len(set(numbers)):
            break
    return found


@dataclass(frozen=True, slots=True)
class _Overview:
    """The frames of a video without landmarks: their numbers, int32 (frames,), and how many have each status."""

    numbers: NDArray[np.int32]
    statuses: Mapping[str, int]

    @classmethod
    def of(cls, blocks: Iterable[VideoLandmarks]) -> _Overview:
        numbers, statuses = [], Counter[str]()
        for block in blocks:
            numbers.append(block.frame_index)
            statuses.update(block.status)
        return cls(np.concatenate(numbers), statuses)


def _row(dataset: Dataset, video: Video, frames: int, around: int | None) -> Row:
    key = (video.split, video.video_id)
    # Without the columns of landmarks first: a long video is not loaded to show five of its frames.
    overview = dataset.select(parts=()).load_blocks(*key, _Overview.of)
    total = len(overview.numbers)
    if around is None:
        chosen = np.unique(np.linspace(0, total - 1, min(frames, total)).round().astype(int))
    else:
        if around > (last := int(overview.numbers.max(initial=-1))):
            raise ConfigError(
                f"{video.split}/{video.video_id} ends with frame {last}: --around {around} is beyond its end. Give an "
                "earlier frame, or name another video with --video."
            )
        middle = int(np.searchsorted(overview.numbers, around))
        first = max(0, min(middle - frames // 2, total - frames))
        chosen = np.arange(first, min(first + frames, total))
    landmarks = dataset.load_blocks(*key, partial(find_frames, numbers=overview.numbers[chosen].tolist()))
    states = ", ".join(f"{count} {BADGES.get(status, 'with a person')}" for status, count in overview.statuses.items())
    gloss = video.annotation.get("gloss", "")
    return Row(
        title=video.video_id,
        detail=f"{total} frames: {states}{f'  |  {gloss}' if gloss else ''}",
        tiles=tuple(_tile(video, number, frame) for number, frame in landmarks.items()),
    )


def _tile(video: Video, number: int, landmarks: FrameLandmarks) -> Tile:
    caption = f"frame {number}  {landmarks.name}"
    (frame,) = read_frames(video, number, number + 1, DecodeSettings())
    if frame.image is None:
        return Tile(None, caption, BADGES["unreadable"])
    picture = draw(frame.image, landmarks.layout, landmarks.points, tile_scale(frame.image))
    return Tile(picture, caption, BADGES.get(landmarks.status, ""))
