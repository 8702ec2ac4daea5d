"""Plans a compaction: which videos go into which data file, given a survey of the dataset.

Data files hold whole videos only, sorted by video, and have about `target_bytes` each. Planning is incremental: new
videos make new files; an old file is rewritten only when it is small, has rows of a video that has changed since, or
has the form of earlier versions, so that the files of a dataset end up alike and every tool reads them together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import DataFile
from phoenix_ray.dataset.partitions import PartitionInfo
from phoenix_ray.dataset.paths import is_earlier_data_file_name
from phoenix_ray.dataset.rows import RowRange
from phoenix_ray.dataset.shards import RecordedVideo, Version, VideoKey, pick_once, recorded_fields
from phoenix_ray.dataset.survey import OpenVideo, Survey
from phoenix_ray.dataset.video_table import VideoEntry

EntriesOf = Callable[[str], Sequence[VideoEntry]]

# A data file below this share of the target is merged with the next videos of its split, so that many small runs do
# not leave many small files. Above it, rewriting costs more than it gains.
_SMALL_FILE = 0.5


class Absorbed(NamedTuple):
    """A partition with the version that it had when a compaction was planned; no other version may be deleted.

    Another driver may meanwhile have written a later version of the video under the same name.
    """

    name: str
    key: VideoKey
    version: Version


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoToMerge(RecordedVideo):
    """A whole video to write into a data file.

    Attributes:
        pieces: The rows that make it up, in frame order.
        bytes: Its approximate size in a data file.
        obsolete: Partitions that are superfluous once it is written: of an earlier version, or covered by others.
        kernels: What computed its frames → how many (`Tally.kernels`).
    """

    pieces: tuple[RowRange, ...]
    bytes: float
    obsolete: tuple[Absorbed, ...] = ()
    kernels: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CompactionTask:
    """A data file to write. Tasks share no input and can run anywhere, in any order.

    Attributes:
        identity: The dataset's identity.
        split: Split of all videos.
        videos: The videos, sorted by ID.
        replaces: Data files that this file replaces; `videos` has all of their videos that are still valid.
        converts: A data file of an earlier version whose videos are written anew as they are. Whoever does that reads
            them from its footer: `videos` is empty, for a plan with a million videos would take gigabytes.
    """

    identity: DatasetIdentity
    split: str
    videos: tuple[VideoToMerge, ...]
    replaces: tuple[str, ...] = ()
    converts: DataFile | None = None

    @property
    def video_count(self) -> int:
        """Number of videos to write."""
        return self.converts.videos if self.converts else len(self.videos)

    @property
    def bytes(self) -> float:
        """Approximate size of the file."""
        return self.converts.bytes if self.converts else sum(video.bytes for video in self.videos)


@dataclass(slots=True)
class _OpenFile:
    """A data file that the planner is filling."""

    bytes: float = 0.0
    videos: list[VideoToMerge] = field(default_factory=list)
    replaces: list[str] = field(default_factory=list)


def plan_compaction(
    survey: Survey, entries_of: EntriesOf, target_bytes: float, convert: bool = True
) -> list[CompactionTask]:
    """Return the data files to write.

    Args:
        survey: What lies in the dataset.
        entries_of: Gives the videos of a data file; called only for files that are merged with others.
        target_bytes: Size at which a data file is full.
        convert: Whether files of earlier versions are written anew, also where nothing is merged with them.
    """
    new: dict[str, list[OpenVideo]] = {}
    for video in survey.open_videos():
        if video.whole is not None:
            new.setdefault(video.split, []).append(video)
    tasks: list[CompactionTask] = []
    for split, videos in sorted(new.items()):
        tasks += _plan_split(survey, split, videos, entries_of, target_bytes)
    merged = {name for task in tasks for name in task.replaces}
    for file in survey.manifest.files if convert else ():
        if is_earlier_data_file_name(file.name) and file.name not in merged:
            tasks.append(CompactionTask(survey.identity, file.split, (), (file.name,), converts=file))
    return tasks


def _plan_split(
    survey: Survey, split: str, videos: Sequence[OpenVideo], entries_of: EntriesOf, target_bytes: float
) -> list[CompactionTask]:
    changed = {video.video_id for video in videos}
    outdated = {video.compacted.file for video in videos if video.compacted}
    files = [_OpenFile()]

    def room_for(more: float) -> _OpenFile:
        if files[-1].videos and files[-1].bytes + more > target_bytes:
            files.append(_OpenFile())
        files[-1].bytes += more
        return files[-1]

    for old in survey.manifest.files:
        if old.split == split and (old.name in outdated or old.bytes < _SMALL_FILE * target_bytes):
            entries = [
                entry
                for entry in entries_of(old.name)
                if entry.video_id not in changed
                and not survey.dropped.bans(entry.split, entry.video_id, entry.annotation)
            ]
            kept = [keep_video(old.name, entry, old.bytes / max(1, old.rows)) for entry in entries]
            file = room_for(sum(video.bytes for video in kept))
            file.videos += kept
            file.replaces.append(old.name)
    for video in videos:
        merged = _merge(video)
        room_for(merged.bytes).videos.append(merged)

    return [
        CompactionTask(
            survey.identity,
            split,
            tuple(sorted(file.videos, key=lambda video: video.video_id)),
            tuple(file.replaces),
        )
        for file in files
    ]


def _merge(video: OpenVideo) -> VideoToMerge:
    """Return a video in partitions."""
    infos = video.whole or []
    newest: PartitionInfo = infos[-1]
    pieces: list[RowRange] = []
    kernels: Counter[str] = Counter()
    size = 0.0
    for pick in pick_once([(info.first, info.last) for info in infos]):
        info = infos[pick.source]
        rows = pick.last - pick.first
        pieces.append(
            RowRange(info.name, pick.first - info.first, rows, info.tally.digest if rows == info.rows else None)
        )
        size += info.bytes * rows / info.rows
        kernels.update(dict.fromkeys(info.tally.kernels, rows))
    used = {piece.file for piece in pieces}
    written = max(info.modified for info in infos)
    # Partitions that were written after the video was whole belong to a version that a run is working on.
    obsolete = tuple(
        Absorbed(info.name, info.key, info.version)
        for info in video.partitions
        if info.name not in used and (info.version == newest.version or info.modified <= written)
    )
    return VideoToMerge(**recorded_fields(newest), pieces=tuple(pieces), bytes=size, obsolete=obsolete, kernels=kernels)


def keep_video(data_file: str, entry: VideoEntry, bytes_a_row: float = 0.0) -> VideoToMerge:
    """Return a video in a data file."""
    return VideoToMerge(
        **recorded_fields(entry),
        pieces=(RowRange(data_file, entry.first_row, entry.frame_count, entry.tally.digest),),
        bytes=bytes_a_row * entry.frame_count,
        kernels=entry.tally.kernels,
    )
