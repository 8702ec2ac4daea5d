"""The worst videos as pictures: the frame with the landmarks of the reference beside that with the candidate's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.dataset.identity import as_recorded
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.errors import OutputError, SourceError
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.frames import read_frames, undecoded_frames
from phoenix_ray.sources.registry import open_source
from phoenix_ray.verify.comparison import VideoComparison
from phoenix_ray.verify.report import VerificationReport
from phoenix_ray.verify.verification import Verification
from phoenix_ray.verify.video_blocks import Side
from phoenix_ray.viewer.contact_sheet import FrameLandmarks, find_frames
from phoenix_ray.viewer.overlay import draw
from phoenix_ray.viewer.tiling import Row, SheetSection, Tile, tile_scale, write_sheet

VIDEOS_SHOWN = 6
FRAMES_SHOWN = 3


def write_worst_videos(report: VerificationReport, verification: Verification, file: Path) -> int:
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
        listing = open_source(_source_settings(verification)).videos()
    except SourceError as error:
        raise SourceError(f"No picture: {error} Say where the frames are now: --source NEWPATH") from None
    found = {(video.split, video.video_id): video for video in listing if isinstance(video, Video)}
    shown = [(video, found[video.split, video.video_id]) for video in worst if (video.split, video.video_id) in found]
    rows = tuple(_row(verification, *pair) for pair in shown)
    if not rows:
        raise OutputError(f"{verification.source} holds none of the videos that differ: nothing to show.")
    layout = verification.reference.layout
    write_sheet("Reference and candidate", [SheetSection("What differs most", rows)], file, layout)
    return len(rows)


def _source_settings(verification: Verification) -> SourceSettings:
    """Return the settings of the source, as the compared dataset recorded them, if one of the sides is a dataset."""
    settings = SourceSettings(path=verification.source)
    for side in (verification.reference, verification.candidate):
        if isinstance(side, Dataset):
            return as_recorded(settings, side.identity)
    return settings


def _row(verification: Verification, comparison: VideoComparison, video: Video) -> Row:
    key = (comparison.split, comparison.video_id)
    numbers = _frames(comparison)
    sides: dict[str, dict[int, FrameLandmarks]] = {
        side.name: side.load_blocks(key, partial(find_frames, numbers=numbers))
        for side in (Side("reference", verification.reference), Side("candidate", verification.candidate))
    }
    return Row(
        f"{comparison.split}/{comparison.video_id}",
        comparison.differences[0].message,
        tuple(tile for number in numbers for tile in _tiles(sides, video, number)),
    )


def _tiles(sides: Mapping[str, Mapping[int, FrameLandmarks]], video: Video, number: int) -> Iterator[Tile]:
    failed = any(number in side and side[number].status == "failed" for side in sides.values())
    read = (
        undecoded_frames(video, number, number + 1)
        if failed
        else read_frames(video, number, number + 1, DecodeSettings())
    )
    (frame,) = read
    for name, side in sides.items():
        caption = f"frame {number}: {name}"
        if frame.image is None or number not in side:
            yield Tile(frame.image, caption, _reason(frame, failed))
            continue
        landmarks = side[number]
        yield Tile(draw(frame.image, landmarks.layout, landmarks.points, tile_scale(frame.image)), caption)


def _reason(frame: Frame, failed: bool) -> str:
    return "failed" if failed else "unreadable" if frame.image is None else "missing"


def _frames(video: VideoComparison) -> list[int]:
    """Return the frames that show best what differs: the worst of each difference, by distance."""
    ranked = sorted(video.differences, key=lambda difference: -difference.pixels)
    shown = [
        int(difference.frames[0]) if difference.worst_frame is None else difference.worst_frame
        for difference in ranked
        if difference.frames.size
    ]
    return list(dict.fromkeys(shown))[:FRAMES_SHOWN]
