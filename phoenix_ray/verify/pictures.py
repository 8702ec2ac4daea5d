"""The worst videos as pictures: the frame with the landmarks of the reference beside that with the candidate's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import OutputError, SourceError
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.frames import read_frames, undecoded_frames
from phoenix_ray.sources.registry import open_source
from phoenix_ray.verify.recompute import failed_frames
from phoenix_ray.verify.report import Report
from phoenix_ray.verify.verification import Verification
from phoenix_ray.verify.video import VideoComparison
from phoenix_ray.viewer.overlay import Image, draw
from phoenix_ray.viewer.sheet import Row, Section, Tile, tile_scale, write_sheet

VIDEOS_SHOWN = 6
FRAMES_SHOWN = 3


def write_worst_videos(report: Report, verification: Verification, file: Path) -> int:
    """Write a contact sheet of the videos that differ most, and return how many it shows; none, no picture.

    Raises:
        SourceError: The frames cannot be found.
        OutputError: The picture cannot be written.
    """
    worst = [video for video in report.worst() if video.parts and _frames(video)][:VIDEOS_SHOWN]
    if not worst:
        return 0
    if not verification.source:
        raise OutputError("Pictures need the frames, and neither side says where they lie: name them with --source.")
    try:
        listing = open_source(SourceSettings(path=verification.source)).videos()
    except SourceError as error:
        raise SourceError(f"No picture: {error} Say where the frames are now: --source NEWPATH") from None
    found = {(one.split, one.video_id): one for one in listing if isinstance(one, Video)}
    shown = [(video, found[video.split, video.video_id]) for video in worst if (video.split, video.video_id) in found]
    rows = tuple(_row(verification, *pair) for pair in shown)
    if not rows:
        raise OutputError(f"{verification.source} holds none of the videos that differ: nothing to show.")
    write_sheet("Reference and candidate", [Section("What differs most", rows)], file)
    return len(rows)


def _row(verification: Verification, comparison: VideoComparison, video: Video) -> Row:
    key = (comparison.split, comparison.video_id)
    sides = [verification.reference.load(*key), verification.candidate.load(*key)]
    return Row(
        f"{comparison.split}/{comparison.video_id}",
        comparison.differences[0].message,
        tuple(tile for frame in _frames(comparison) for tile in _tiles(sides, video, frame)),
    )


def _tiles(sides: list[VideoLandmarks], video: Video, number: int) -> Iterator[Tile]:
    failed = any(number in failed_frames(side) for side in sides)
    read = (
        undecoded_frames(video, number, number + 1)
        if failed
        else read_frames(video, number, number + 1, DecodeSettings())
    )
    (frame,) = read
    for name, landmarks in zip(("reference", "candidate"), sides, strict=True):
        rows = np.flatnonzero(landmarks.frame_index == number)
        caption = f"frame {number}: {name}"
        if frame.image is None or not rows.size:
            yield Tile(frame.image, caption, _reason(frame, failed))
            continue
        yield Tile(_overlay(frame.image, landmarks, int(rows[0])), caption)


def _reason(frame: Frame, failed: bool) -> str:
    return "failed" if failed else "unreadable" if frame.image is None else "missing"


def _overlay(image: Image, landmarks: VideoLandmarks, row: int) -> Image:
    points = {part: values[row] for part, values in landmarks.points.items()}
    return draw(image, landmarks.layout, points, tile_scale(image))


def _frames(video: VideoComparison) -> list[int]:
    """Return the frames that show best what differs: the worst of each difference, by distance."""
    ranked = sorted(video.differences, key=lambda difference: -difference.pixels)
    shown = [one.frames[0] if one.worst_frame is None else one.worst_frame for one in ranked if one.frames]
    return list(dict.fromkeys(shown))[:FRAMES_SHOWN]
