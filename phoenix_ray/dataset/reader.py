"""Reads a dataset during a run, after a crash, or when it is finished, from a disk or a bucket.

`phoenix_ray.open` returns a `Dataset`. A finished dataset can be read without it: `data/` is plain Parquet, see
`docs/reading.md`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout, read_identity
from phoenix_ray.dataset.locations import open_for_reading
from phoenix_ray.dataset.parquet import DamagedFileError
from phoenix_ray.dataset.rows import ChangedError, RowRange, RowReader, are_consecutive, read_blocks, read_rows
from phoenix_ray.dataset.schema import STATUSES, landmark_schema
from phoenix_ray.dataset.selection import Names, choose_videos
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.snapshot import Snapshot, VideoIndex
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.dataset.tally import add_digests
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, from_rows
from phoenix_ray.dataset.video_table import KERNELS_SEPARATOR, NAMED_ANNOTATIONS
from phoenix_ray.errors import OutputError
from phoenix_ray.landmarks import Layout

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# A compaction may delete a file that was just looked up; the dataset is then read again, up to this often.
_ATTEMPTS = 5
# Block of `Dataset.load_blocks`: 7 MB of Holistic's landmarks as arrays, 40 s at 25 fps.
BLOCK_ROWS = 1_024

Result = TypeVar("Result")


class Dataset:
    """A dataset, or some of its videos and parts (`select`), at the moment when it was opened or refreshed.

    It is a `LandmarkCollection`. It can be pickled and forked; threads each need their own.

    Args:
        storage: The dataset's files.
        identity: Its recorded identity.
        layout: The parts to read; None means all of them.
        condition: A condition on the columns of `videos()` that selects videos; None means all of them.
        snapshot: The videos and their places; None takes a snapshot.
    """

    def __init__(
        self,
        storage: ReadableStorage,
        identity: DatasetIdentity,
        layout: Layout | None = None,
        condition: pc.Expression | None = None,
        snapshot: Snapshot | None = None,
    ) -> None:
        self.identity = identity
        self.layout = layout or find_layout(identity)
        self._storage = storage
        self._condition = condition
        self._use(snapshot or self._look())

    @classmethod
    def open(cls, path: str, filesystem: fs.FileSystem | AbstractFileSystem | None = None) -> Dataset:
        """Open the dataset in a folder or a bucket; see `phoenix_ray.open`."""
        storage = open_for_reading(path, filesystem)
        return cls(storage, read_identity(storage))

    def refresh(self) -> None:
        """Read the dataset again, to see rows that a run has added meanwhile.

        Raises:
            OutputError: It cannot be read.
        """
        self._use(self._look())

    def select(
        self,
        split: Names | None = None,
        signer: Names | None = None,
        gloss: Names | None = None,
        where: pc.Expression | None = None,
        parts: Collection[str] | None = None,
        max_unreadable: float = 1.0,
    ) -> Dataset:
        """Return the part of this dataset that fits all of what is given.

        Args:
            split: A split, or several.
            signer: A signer, or several.
            gloss: A gloss that occurs in the video as a whole word, or several of which any may occur.
            where: A condition on the columns of `videos()`, such as `pyarrow.compute.field("left_hand_rate") > 0.5`.
            parts: Names of the parts to read, in the order of `layout`; columns of others are not touched.
            max_unreadable: Largest share of frames that could not be read (truncated uploads, damaged files); 1 selects
                videos whatever their share.

        Raises:
            ConfigError: A split, signer or gloss occurs in no video.
            KeyError: The layout has no such part.
            ValueError: `max_unreadable` is not a share.
        """
        condition = choose_videos(self.videos(), split, signer, gloss, where, max_unreadable)
        return Dataset(
            self._storage,
            self.identity,
            self.layout if parts is None else self.layout.only(parts),
            condition if self._condition is None else self._condition & condition,
            self._snapshot,
        )

    def videos(self) -> pa.Table:
        """Return one row per video with the columns of `videos.parquet`, sorted by split and video ID.

        Videos that are not compacted yet have no `file`. While some of their frames are missing, the
        `frames_<status>` columns add up to less than `frames`.
        """
        return self._index.videos

    def keys(self) -> Iterator[VideoKey]:
        """Yield (split, video ID) of each video, sorted."""
        for batch in self.videos().select(["split", "video_id"]).to_batches(max_chunksize=10_000):
            yield from zip(batch.column("split").to_pylist(), batch.column("video_id").to_pylist(), strict=True)

    def unfinished(self) -> list[VideoKey]:
        """Return (split, video ID) of each video that lacks frames because its run is not over, sorted."""
        videos = self.videos()
        committed = reduce(pc.add, (videos[f"frames_{status}"] for status in STATUSES))
        videos = videos.filter(pc.less(committed, videos["frames"]))
        return list(zip(videos["split"].to_pylist(), videos["video_id"].to_pylist(), strict=True))

    def __len__(self) -> int:
        """Return the number of videos."""
        return int(self.videos().num_rows)

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        """Return a video as arrays with its annotations; of an unfinished video, the committed frames.

        Raises:
            ConfigError: The limit in PHOENIX_RAY_MOST_VIDEO_MB is not a number.
            KeyError: The dataset has no row of such a video.
            OutputError: Its rows cannot be read, or need more memory than is allowed (`memory_limit`).
        """
        key = (split, video_id)
        return self._read(key, lambda video: self._to_landmarks(key, video, self._read_found(key, video)))

    def load_blocks(
        self, split: str, video_id: str, use: Callable[[Iterator[VideoLandmarks]], Result], block_rows: int = BLOCK_ROWS
    ) -> Result:
        """Pass a video to a function in blocks of rows, with one block in memory, and return the function's result.

        Args:
            split: Its split.
            video_id: The video.
            use: Called with an iterator over the blocks in order, at least one, which it must consume before it
                returns. Called again with all blocks when the dataset changes while it is read.
            block_rows: Rows of a block. The last block may have fewer, and so may blocks of very large row groups.

        Raises:
            KeyError: The dataset has no row of such a video.
            OutputError: Its rows cannot be read.
            ValueError: `block_rows` is less than 1.
        """
        if block_rows < 1:
            raise ValueError(f"block_rows={block_rows}: a block has at least one row")
        key = (split, video_id)

        def read(video: dict[str, Any]) -> Result:
            # Before `use` is called, which may refresh this dataset.
            tables = read_blocks(self._rows, self.layout, key, self._locate(key, video), block_rows)
            return use(self._blocks(key, video, tables))

        return self._read(key, read)

    def read_video(self, split: str, video_id: str) -> pa.Table:
        """Return the rows of a video in frame order; of an unfinished video, the committed rows.

        Raises:
            KeyError: The dataset has no row of such a video.
            OutputError: Its rows cannot be read.
        """
        key = (split, video_id)
        return self._read(key, lambda video: self._read_found(key, video))

    def scan(self) -> Iterator[pa.Table]:
        """Yield the rows of each video, in the order of `keys()`."""
        for key in self.keys():
            yield self.read_video(*key)

    def digest(self) -> int:
        """Return the landmark digest of all rows with all parts."""
        return add_digests(int(text, 16) for text in self.videos().column("landmark_digest").to_pylist())

    def kernels(self) -> dict[str, int]:
        """Return kernels (`models.provenance`) → frames; a video's frames count for each of its kernels."""
        counts: Counter[str] = Counter()
        videos = self.videos().select(["kernels", "frames"]).group_by("kernels").aggregate([("frames", "sum")])
        for line, frames in zip(videos["kernels"].to_pylist(), videos["frames_sum"].to_pylist(), strict=True):
            counts.update(dict.fromkeys((line or "").split(KERNELS_SEPARATOR), frames))
        return {line: frames for line, frames in sorted(counts.items()) if line}

    def _read(self, key: VideoKey, read: Callable[[dict[str, Any]], Result]) -> Result:
        """Call a function with a video's row in the table of videos; read the dataset again where it has changed."""
        for _ in range(_ATTEMPTS):
            with suppress(ChangedError), self._explained():
                video = self._index.find(key)
                if video is None:
                    raise KeyError(f"no video {key[1]!r} in the split {key[0]!r} of {self._storage.root}")
                return read(video)
            self.refresh()
        raise OutputError(f"{key[0]}/{key[1]} in {self._storage.root} changes while it is read; try again later.")

    def _read_found(self, key: VideoKey, video: dict[str, Any]) -> pa.Table:
        """Return the rows of a video, given its row in the table of videos."""
        ranges = self._locate(key, video)
        try:
            rows = read_rows(self._rows, self.layout, key, ranges)
            if video["file"] is None or are_consecutive(rows):
                return rows
        except FileNotFoundError:
            raise ChangedError from None
        except ChangedError:
            # Data files never change, so the table is wrong.
            if video["file"] is None:
                raise
        raise self._elsewhere(key, video)

    def _locate(self, key: VideoKey, video: dict[str, Any]) -> list[RowRange]:
        try:
            return self._snapshot.locate(video)
        except ChangedError:
            raise self._elsewhere(key, video) from None

    def _blocks(self, key: VideoKey, video: dict[str, Any], tables: Iterator[pa.Table]) -> Iterator[VideoLandmarks]:
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
            yield self._to_landmarks(key, video, landmark_schema(self.layout).empty_table())

    def _to_landmarks(self, key: VideoKey, video: dict[str, Any], rows: pa.Table) -> VideoLandmarks:
        named = {name: video[name] for name in NAMED_ANNOTATIONS if video[name] is not None}
        annotation = named | dict(video["annotation"])
        try:
            return from_rows(self.layout, *key, rows, video["fps"], annotation, video["fps_varies"])
        except (ValueError, TypeError) as error:
            # Raised where a list does not have a value for each point.
            raise OutputError(
                f"The rows of {key[0]}/{key[1]} in {self._storage.root} are not landmarks of {self.layout.name} "
                f"({error}). `phoenix-ray check {self._storage.root}` names the file."
            ) from None

    def _elsewhere(self, key: VideoKey, video: dict[str, Any]) -> OutputError:
        return OutputError(
            f"{self._storage.root}/{paths.VIDEOS} has a wrong place for the rows of {key[0]}/{key[1]} in "
            f"{video['file']}. `phoenix-ray check {self._storage.root} --repair` makes it again."
        )

    def _look(self) -> Snapshot:
        for _ in range(_ATTEMPTS):
            with suppress(ChangedError, FileNotFoundError), self._explained():
                return Snapshot(self._storage, self.identity)
        raise OutputError(f"{self._storage.root} changes while it is read; try again later.")

    def _use(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._rows = RowReader(self._storage)
        index = snapshot.index
        self._index = index if self._condition is None else VideoIndex(index.videos.filter(self._condition))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DamagedFileError as error:
            raise OutputError(
                f"{self._storage.root}/{error}. Delete that file and start the run again, which computes its "
                "videos again. In a copy of the dataset, copy that file again."
            ) from None
