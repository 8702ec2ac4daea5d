"""What a dataset holds in all: from the manifest, the table of videos and the footers of partitions.

The driver ends a run with it, so it looks at no landmark of a compacted video.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from phoenix_ray.dataset.coverage import missing_frames
from phoenix_ray.dataset.encoding import DamagedFileError
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.rows import RowReader
from phoenix_ray.dataset.snapshot import describe_open
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.dataset.survey import OpenVideo, take_survey
from phoenix_ray.dataset.tally import Tally, total
from phoenix_ray.dataset.unreadable import UNREADABLE_COLUMN, UnreadableVideo, unreadable_in
from phoenix_ray.dataset.videos import VERSION_COLUMNS, VideoEntry, read_entries
from phoenix_ray.errors import OutputError


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a dataset holds.

    Attributes:
        videos: With at least one frame.
        frames: Of them all, each once.
        open_frames: Those of `frames` that lie in partitions, not in a data file.
    """

    videos: int
    frames: int
    open_frames: int


def measure_extent(storage: ReadableStorage, identity: DatasetIdentity) -> Extent:
    """Return how much a dataset holds, by the manifest and the footers of partitions; no row is read.

    Raises:
        OutputError: The dataset cannot be read.
    """
    survey = take_survey(storage, identity)
    videos = sum(file.videos for file in survey.manifest.files)
    compacted, opened = survey.manifest.tally.rows, 0
    for video in survey.open_videos():
        if (live := video.live) is None:
            continue
        count = live[0].frame_count
        gaps = missing_frames([(info.first, info.last) for info in live], count)
        opened += count - sum(last - first for first, last in gaps)
        if video.compacted:
            compacted -= video.compacted.version.frame_count
        else:
            videos += 1
    return Extent(videos, compacted + opened, opened)


def tally_splits(storage: ReadableStorage, identity: DatasetIdentity) -> dict[str, Tally]:
    """Return the counts over all rows that count, of each split, sorted by split.

    Raises:
        OutputError: The dataset cannot be read, or a file is damaged of which more than the footer is needed.
    """
    with _explained(storage):
        survey = take_survey(storage, identity)
        open_videos = {(video.split, video.video_id): video for video in survey.open_videos() if video.live is not None}
        # Data files that hold rows of a video which partitions hold in a newer version.
        outdated = {video.compacted.file for video in open_videos.values() if video.compacted}
        splits: dict[str, Tally] = {}
        for file in survey.manifest.files:
            tally = file.tally
            if file.name in outdated:
                entries = read_entries(storage, identity, file.name)
                tally = total(entry.tally for entry in entries if (entry.split, entry.video_id) not in open_videos)
            splits[file.split] = splits.get(file.split, Tally()) + tally
        for entry in _open_entries(storage, identity, open_videos.values()):
            splits[entry.split] = splits.get(entry.split, Tally()) + entry.tally
        return {split: tally for split, tally in sorted(splits.items()) if tally.rows}


def unreadable_videos(storage: ReadableStorage, identity: DatasetIdentity) -> list[UnreadableVideo]:
    """Return the videos with frames that could not be read, sorted by split and ID; those not finished included.

    Raises:
        OutputError: The dataset cannot be read, or a file is damaged of which more than the footer is needed.
    """
    with _explained(storage):
        survey = take_survey(storage, identity, columns=(*VERSION_COLUMNS, UNREADABLE_COLUMN))
        open_videos = {(video.split, video.video_id): video for video in survey.open_videos() if video.live is not None}
        compacted = [video for video in unreadable_in(survey.videos) if video[:2] not in open_videos]
        opened = [
            UnreadableVideo(entry.split, entry.video_id, entry.frames, unreadable)
            for entry in _open_entries(storage, identity, open_videos.values())
            if (unreadable := entry.tally.statuses.get("unreadable", 0))
        ]
        return sorted([*compacted, *opened])


def _open_entries(
    storage: ReadableStorage, identity: DatasetIdentity, videos: Iterable[OpenVideo]
) -> Iterator[VideoEntry]:
    reader, layout = RowReader(storage), find_layout(identity)
    for video in videos:
        yield describe_open(reader, layout, (video.split, video.video_id), video.live or [])


@contextmanager
def _explained(storage: ReadableStorage) -> Iterator[None]:
    try:
        yield
    except DamagedFileError as error:
        raise OutputError(f"{storage.root}/{error}. Start the run again: its frames are computed anew.") from None
