"""Reading a dataset: during a run, after a crash, or when it is done.

What it gives follows one rule whatever lies on disk: every frame once, of the version of its video that counts
(`coverage.live_holdings`), from data files and partitions together. A finished dataset needs none of this: `data/` is
plain Parquet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.dataset.coverage import pick_once
from phoenix_ray.dataset.digest import add_digests
from phoenix_ray.dataset.encoding import DamagedFileError
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout, read_identity
from phoenix_ray.dataset.partitions import PartitionInfo
from phoenix_ray.dataset.rows import RowReader
from phoenix_ray.dataset.schema import landmark_schema, to_batch
from phoenix_ray.dataset.storage import Storage, open_storage
from phoenix_ray.dataset.survey import Survey, take_survey
from phoenix_ray.dataset.tally import tally_rows, total
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, from_rows
from phoenix_ray.dataset.videos import NAMED_ANNOTATIONS, VideoEntry, gather_videos, select_videos, to_video_table
from phoenix_ray.errors import OutputError
from phoenix_ray.models.base import LandmarkBatch

# A compaction may delete what was just looked up; each time that happens the dataset is looked at anew.
_ATTEMPTS = 5

VideoKey = tuple[str, str]


class _ChangedError(Exception):
    """A file is gone or was replaced since the dataset was looked at."""


class Dataset:
    """A dataset as it is now. Not safe to share between threads; opening it twice is cheap.

    Args:
        storage: Where it lies.
        identity: Its recorded identity.
    """

    def __init__(self, storage: Storage, identity: DatasetIdentity) -> None:
        self.identity = identity
        self.layout = find_layout(identity)
        self._storage = storage
        self.refresh()

    @classmethod
    def open(cls, path: str) -> Dataset:
        """Open the dataset in a folder.

        Raises:
            OutputError: There is no dataset, or this version cannot read it.
        """
        storage = open_storage(path)
        return cls(storage, read_identity(storage))

    def refresh(self) -> None:
        """Look at the dataset anew: rows that a run has added meanwhile are seen from now on."""
        self._survey: Survey = take_survey(self._storage, self.identity)
        self._rows = RowReader(self._storage)
        self._open: dict[VideoKey, list[PartitionInfo]] = {}
        for video in self._survey.open_videos():
            if video.live is not None:
                self._open[video.split, video.video_id] = video.live

    def videos(self) -> pa.Table:
        """Return one row per video with the columns of `videos.parquet`.

        Videos that are not compacted yet have no `file`; while frames of theirs are still missing, the
        `frames_<status>` columns add up to less than `frames`.
        """
        videos, _ = gather_videos(self._storage, self.identity, self._survey.manifest)
        if not self._open:
            return videos
        entries = [self._describe_open(key) for key in self._open]
        return pa.concat_tables([_without(videos, self._open), to_video_table(self.layout, entries, None)])

    def read_video(self, split: str, video_id: str) -> pa.Table:
        """Return the rows of a video in frame order; those that are committed, if it is not finished.

        Raises:
            KeyError: The dataset holds no row of such a video.
            OutputError: Its rows cannot be read.
        """
        for _ in range(_ATTEMPTS):
            with suppress(_ChangedError, FileNotFoundError):
                return self._read_video((split, video_id))
            self.refresh()
        raise OutputError(f"{split}/{video_id} in {self._storage.root} changes while it is read; try again later.")

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        """Return a video as arrays, with its annotations.

        Raises:
            KeyError: The dataset holds no row of such a video.
            OutputError: Its rows cannot be read.
        """
        rows = self.read_video(split, video_id)
        about = select_videos(self.videos(), [(split, video_id)])[split, video_id]
        named = {name: about[name] for name in NAMED_ANNOTATIONS if about[name] is not None}
        return from_rows(self.layout, split, video_id, rows, about["fps"], named | dict(about["annotation"]))

    def read_landmarks(self, split: str, video_id: str) -> LandmarkBatch:
        """Return the landmarks of a video as arrays (frames, points, axes), NaN where a part was not found.

        Raises:
            KeyError: The dataset holds no row of such a video.
            OutputError: Its rows cannot be read.
        """
        return to_batch(self.layout, self.read_video(split, video_id))

    def scan(self) -> Iterator[pa.Table]:
        """Yield the rows of each video, in the order of `videos()`."""
        videos = self.videos()
        for split, video_id in zip(videos["split"].to_pylist(), videos["video_id"].to_pylist(), strict=True):
            yield self.read_video(split, video_id)

    def digest(self) -> int:
        """Return the landmark digest of all rows."""
        return add_digests(int(text, 16) for text in self.videos().column("landmark_digest").to_pylist())

    def _read_video(self, key: VideoKey) -> pa.Table:
        pieces = list(self._pieces(key))
        if not pieces:
            raise KeyError(f"no video {key[1]!r} in the split {key[0]!r} of {self._storage.root}")
        try:
            tables = [rows for piece in pieces for rows in self._rows.read(*piece)]
        except DamagedFileError as error:
            raise OutputError(
                f"{self._storage.root}/{error}. Delete that file and start the run again: its videos are computed anew."
            ) from None
        table = pa.concat_tables([landmark_schema(self.layout).empty_table(), *tables])
        frames = table.column("frame_index").to_numpy()
        if table.num_rows != sum(rows for _, _, rows in pieces) or (np.diff(frames) <= 0).any():
            raise _ChangedError
        return table

    def _pieces(self, key: VideoKey) -> Iterator[tuple[str, int, int]]:
        """Yield (file, first row, rows) of a video, in frame order; nothing when there is no such video."""
        infos = self._open.get(key)
        if infos is not None:
            for pick in pick_once([(info.first, info.last) for info in infos]):
                info = infos[pick.source]
                yield info.name, pick.first - info.first, pick.last - pick.first
        else:
            for row in select_videos(self._survey.videos, [key]).values():
                yield row["file"], row["first_row"], row["frames"]

    def _describe_open(self, key: VideoKey) -> VideoEntry:
        """Return the entry of a video that is not compacted yet."""
        infos = self._open[key]
        picks = pick_once([(info.first, info.last) for info in infos])
        overlap = sum(pick.last - pick.first for pick in picks) != sum(info.rows for info in infos)
        tally = tally_rows(self.layout, self.read_video(*key)) if overlap else total(info.tally for info in infos)
        newest = max(infos, key=lambda info: info.modified)
        return VideoEntry(*key, newest.frame_count, 0, newest.signature, newest.fps, newest.annotation, tally)


def _without(videos: pa.Table, keys: Collection[VideoKey]) -> pa.Table:
    """Return a table of videos without the rows of some."""
    ids = pa.array({video_id for _, video_id in keys}, pa.string())
    likely = np.flatnonzero(pc.is_in(videos.column("video_id"), ids).to_numpy())
    rows = videos.select(["split", "video_id"]).take(pa.array(likely)).to_pylist()
    kept = np.ones(videos.num_rows, dtype=bool)
    kept[[index for index, row in zip(likely, rows, strict=True) if (row["split"], row["video_id"]) in keys]] = False
    return videos.filter(pa.array(kept))
