"""Reads the rows of single videos at the places where a snapshot has found them.

`reader.Dataset` makes a `VideoRows` of each snapshot, and another when a file has changed or gone (`ChangedError`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import pyarrow as pa

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.rows import ChangedError, RowRange, RowReader, are_consecutive, read_blocks, read_rows
from phoenix_ray.dataset.schema import landmark_schema
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.snapshot import Snapshot
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, from_rows
from phoenix_ray.dataset.video_table import NAMED_ANNOTATIONS
from phoenix_ray.errors import OutputError
from phoenix_ray.layouts import Layout

# A video's row in the table of videos.
VideoRow = Mapping[str, Any]
Result = TypeVar("Result")


class VideoRows:
    """Reads the rows of videos, keeping files and the last row group open; one thread may use it at a time.

    Every method raises ChangedError where the dataset has changed since the snapshot, DamagedFileError where a file is
    damaged, and OutputError where the table of videos is wrong or the rows are not landmarks of the layout.

    Args:
        storage: The dataset's files.
        layout: The parts to read.
        snapshot: The places of the rows.
    """

    def __init__(self, storage: ReadableStorage, layout: Layout, snapshot: Snapshot) -> None:
        self._root = storage.root
        self._layout = layout
        self._snapshot = snapshot
        self._reader = RowReader(storage)

    def read(self, key: VideoKey, video: VideoRow) -> pa.Table:
        """Return the rows of a video in frame order."""
        ranges = self._locate(key, video)
        try:
            rows = read_rows(self._reader, self._layout, key, ranges)
            if video["file"] is None or are_consecutive(rows):
                return rows
        except FileNotFoundError:
            raise ChangedError from None
        except ChangedError:
            # Data files never change, so the table is wrong.
            if video["file"] is None:
                raise
        raise self._elsewhere(key, video)

    def load(self, key: VideoKey, video: VideoRow) -> VideoLandmarks:
        """Return the rows of a video as arrays."""
        return self._to_landmarks(key, video, self.read(key, video))

    def load_blocks(
        self, key: VideoKey, video: VideoRow, block_rows: int, use: Callable[[Iterator[VideoLandmarks]], Result]
    ) -> Result:
        """Pass the rows of a video to a function as arrays, `block_rows` at a time, and return its result."""
        # Before `use` is called, which may refresh the dataset.
        tables = read_blocks(self._reader, self._layout, key, self._locate(key, video), block_rows)
        return use(self._blocks(key, video, tables))

    def _blocks(self, key: VideoKey, video: VideoRow, tables: Iterator[pa.Table]) -> Iterator[VideoLandmarks]:
        rows = 0
        try:
            for block in tables:
                if video["file"] is not None and not are_consecutive(block, rows):
                    raise ChangedError
                rows += block.num_rows
                yield self._to_landmarks(key, video, block)
                del block
        except FileNotFoundError:
            raise ChangedError from None
        except ChangedError:
            if video["file"] is None:
                raise
            raise self._elsewhere(key, video) from None
        if not rows:
            yield self._to_landmarks(key, video, landmark_schema(self._layout).empty_table())

    def _locate(self, key: VideoKey, video: VideoRow) -> list[RowRange]:
        try:
            return self._snapshot.locate(video)
        except ChangedError:
            raise self._elsewhere(key, video) from None

    def _to_landmarks(self, key: VideoKey, video: VideoRow, rows: pa.Table) -> VideoLandmarks:
        named = {name: video[name] for name in NAMED_ANNOTATIONS if video[name] is not None}
        annotation = named | dict(video["annotation"])
        try:
            return from_rows(self._layout, *key, rows, video["fps"], annotation, video["fps_varies"])
        except (ValueError, TypeError) as error:
            # Raised where a list does not have a value for each point.
            raise OutputError(
                f"The rows of {key[0]}/{key[1]} in {self._root} are not landmarks of {self._layout.name} "
                f"({error}). `phoenix-ray check {self._root}` names the file."
            ) from None

    def _elsewhere(self, key: VideoKey, video: VideoRow) -> OutputError:
        return OutputError(
            f"{self._root}/{paths.VIDEOS} has a wrong place for the rows of {key[0]}/{key[1]} in "
            f"{video['file']}. `phoenix-ray check {self._root} --repair` makes it again."
        )
