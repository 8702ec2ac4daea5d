"""Compaction: merges many small partitions into few large data files.

A compaction has three steps, and a crash may come after any of them:

1. `compact_videos` writes a data file, in a Ray task. Nothing reads the file yet.
2. `publication.publish` publishes the next generation of the manifest. From here on the data file is in the dataset.
3. `publication.publish` deletes what the data file absorbed. The next `publication.sweep` deletes what a crash leaves.

A data file has a name that was never used before: its bytes never change, and a deleted file never comes back.

Rows are checked when they are copied: page checksums, frame order, and the digest of each piece. A video with damaged
rows is left out and computed again; the other videos of the file are kept. A data file of an earlier version that is
only given its present form stays what it is where any of its rows is damaged.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.compaction_plan import Absorbed, CompactionTask, VideoToMerge, keep_video
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.manifest import DataFile
from phoenix_ray.dataset.parquet import DamagedFile, DamagedFileError, open_writer, write_footer
from phoenix_ray.dataset.rows import RowReader
from phoenix_ray.dataset.schema import landmark_schema
from phoenix_ray.dataset.shards import recorded_fields
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.tally import Tally, tally_rows
from phoenix_ray.dataset.video_table import VideoEntry, describe_data_file, read_entries
from phoenix_ray.layouts import Layout


@dataclass(frozen=True, slots=True)
class Compacted:
    """The result of a task.

    Attributes:
        data_file: The file that was written, None when no video of the task could be read.
        absorbed: Partitions whose rows it holds or supersedes.
        replaces: Data files that it replaces.
        damaged: Files whose rows could not be read. Their videos are left out, and so are those of files that are gone:
            another driver may have merged them, and the next survey shows what is missing.
        unconverted: Data files of an earlier version that stay what they are, because some of their rows could not be
            read: nothing is gained that is worth what is left of those videos.
    """

    data_file: DataFile | None
    absorbed: tuple[Absorbed, ...]
    replaces: tuple[str, ...]
    damaged: tuple[DamagedFile, ...]
    unconverted: tuple[DamagedFile, ...] = ()


class _SpoiledVideoError(Exception):
    def __init__(self, video: VideoToMerge, damage: DamagedFile) -> None:
        super().__init__(video.video_id)
        self.video = video
        self.damage = damage


def compact_videos(storage: Storage, task: CompactionTask, settings: OutputSettings) -> Compacted:
    """Write the data file of a task, with a few row groups in memory at a time.

    Raises:
        OutputError: The storage cannot be read or written.
    """
    damaged: list[DamagedFile] = []
    try:
        videos = _videos_of(storage, task)
    except FileNotFoundError:
        return Compacted(None, (), (), ())
    except DamagedFileError as error:
        return Compacted(None, (), (), (), (error.damage,))
    while videos:
        try:
            data_file = _write_data_file(storage, task, videos, settings)
        except _SpoiledVideoError as spoiled:
            if task.converts:
                return Compacted(None, (), (), (), () if spoiled.damage.gone else (spoiled.damage,))
            if not spoiled.damage.gone:
                damaged.append(spoiled.damage)
            videos = tuple(video for video in videos if video is not spoiled.video)
            continue
        absorbed = {partition for video in videos for partition in (*video.obsolete, *_partitions_of(video, task))}
        return Compacted(data_file, tuple(sorted(absorbed)), task.replaces, tuple(damaged))
    return Compacted(None, (), task.replaces, tuple(damaged))


def _videos_of(storage: Storage, task: CompactionTask) -> tuple[VideoToMerge, ...]:
    if task.converts is None:
        return task.videos
    name = task.converts.name
    return tuple(keep_video(name, entry) for entry in read_entries(storage, task.identity, name))


def rewrite(storage: Storage, identity: DatasetIdentity, name: str, entries: Iterable[VideoEntry]) -> DataFile | None:
    """Write some videos of a data file to a new one; return None when none of them can be read."""
    listed = list(entries)
    videos = tuple(keep_video(name, entry) for entry in listed)
    return compact_videos(
        storage, CompactionTask(identity, listed[0].split, videos, (name,)), OutputSettings()
    ).data_file


def new_data_name(split: str) -> str:
    """Return a name for a data file that was never used before."""
    return paths.data_path(split, secrets.token_hex(16))


def _partitions_of(video: VideoToMerge, task: CompactionTask) -> list[Absorbed]:
    names = [piece.file for piece in video.pieces if piece.file not in task.replaces]
    return [Absorbed(name, video.key, video.version) for name in names]


def _write_data_file(
    storage: Storage, task: CompactionTask, videos: Sequence[VideoToMerge], settings: OutputSettings
) -> DataFile:
    layout = find_layout(task.identity)
    reader = RowReader(storage)
    entries: list[VideoEntry] = []
    row = 0
    name = new_data_name(task.split)
    with storage.writing(name) as stream:
        hashed = _HashedStream(stream)
        with open_writer(hashed, landmark_schema(layout), layout, settings) as writer:
            row_groups = _RowGroups(writer, settings.row_group_rows)
            for video in videos:
                tally = _copy_video(reader, layout, video, row_groups)
                entries.append(VideoEntry(**recorded_fields(video), first_row=row, tally=tally))
                row += tally.rows
            row_groups.flush()
            write_footer(
                writer,
                {
                    "fingerprint": task.identity.fingerprint,
                    "schema_version": task.identity.schema_version,
                    "layout": layout.name,
                    "split": task.split,
                    "videos": [entry.to_json() for entry in entries],
                },
            )
    return describe_data_file(name, entries, hashed.bytes, hashed.sha256)


def _copy_video(reader: RowReader, layout: Layout, video: VideoToMerge, row_groups: _RowGroups) -> Tally:
    """Copy the rows of a video; check that they are its frames in order, with the digests of when they were written."""
    tally = Tally()
    for piece in video.pieces:
        copied = Tally()
        try:
            for rows in reader.read(piece):
                frames = rows.column("frame_index").to_numpy()
                start = tally.rows + copied.rows
                if not np.array_equal(frames, np.arange(start, start + len(frames))):
                    raise DamagedFileError(piece.file, f"frame {start} of {video.video_id!r} is not where it should be")
                copied += tally_rows(layout, rows)
                row_groups.add(rows)
        except FileNotFoundError:
            raise _SpoiledVideoError(video, DamagedFile(piece.file, "it is gone", gone=True)) from None
        except DamagedFileError as error:
            raise _SpoiledVideoError(video, error.damage) from None
        if copied.rows != piece.rows or piece.digest not in (None, copied.digest):
            raise _SpoiledVideoError(video, DamagedFile(piece.file, "its rows are not those that were committed"))
        tally += copied
    if tally.rows != video.frame_count:
        raise _SpoiledVideoError(video, DamagedFile(video.pieces[-1].file, f"{video.video_id!r} lacks frames"))
    return replace(tally, kernels=video.kernels)


class _RowGroups:
    """Writes rows in row groups of equal size."""

    def __init__(self, writer: pq.ParquetWriter, rows: int) -> None:
        self._writer = writer
        self._rows = rows
        self._waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Add rows, and write those that fill row groups."""
        self._waiting.append(table)
        if sum(waiting.num_rows for waiting in self._waiting) >= self._rows:
            rows = pa.concat_tables(self._waiting)
            full = rows.num_rows - rows.num_rows % self._rows
            self._writer.write_table(rows.slice(0, full), row_group_size=self._rows)
            self._waiting = [rows.slice(full)]

    def flush(self) -> None:
        """Write the remaining rows."""
        rest = pa.concat_tables(self._waiting)
        if rest.num_rows:
            self._writer.write_table(rest)


class _HashedStream:
    """A stream that counts and hashes the bytes that are written to it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """The sha256 of all bytes so far."""
        return self._hash.hexdigest()

    @property
    def closed(self) -> bool:
        """Arrow needs this of a Python stream."""
        return self._stream.closed

    def flush(self) -> None:
        """Arrow needs this of a Python stream."""
        self._stream.flush()

    def write(self, content: bytes) -> int:
        """Write bytes."""
        self._hash.update(content)
        written = self._stream.write(content)
        self.bytes += written
        return written
