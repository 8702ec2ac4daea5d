"""Reads a dataset during a run, after a crash, or when it is finished, from a disk or a bucket.

`phoenix_ray.open` returns a `Dataset`. A finished dataset can be read without it: `data/` is plain Parquet, see
`docs/reading.md`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from phoenix_ray.dataset.descriptions import committed_frames, describe_dataset
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout, read_identity
from phoenix_ray.dataset.locations import open_for_reading
from phoenix_ray.dataset.parquet import DamagedFileError
from phoenix_ray.dataset.rows import ChangedError
from phoenix_ray.dataset.selection import EVERY_VIDEO, Names, VideoChoice, choose_videos
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.snapshot import Snapshot, VideoIndex
from phoenix_ray.dataset.storage import ReadableStorage
from phoenix_ray.dataset.tally import add_digests
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.dataset.video_names import describe_missing, find_place, is_key, matching_videos
from phoenix_ray.dataset.video_rows import VideoRows
from phoenix_ray.dataset.video_table import KERNELS_SEPARATOR
from phoenix_ray.errors import OutputError
from phoenix_ray.layouts import Layout

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# A compaction may delete a file that was just looked up; the dataset is then read again, up to this often.
_ATTEMPTS = 5
# Block of `Dataset.load_blocks`: 7 MB of Holistic's landmarks as arrays, 40 s at 25 fps.
BLOCK_ROWS = 1_024

Result = TypeVar("Result")


class Dataset:
    """A dataset, or some of its videos and parts (`select`), at the moment when it was opened or refreshed.

    Iteration yields its videos in the order of `keys()`; `dataset[3]`, `dataset["train", "id"]` and `dataset["id"]`
    load one, and `dataset[2:5]` is a dataset of these three.

    It is a `LandmarkCollection`, and can be pickled and forked. Threads each need their own, which `select()` makes at
    no cost of reading: a dataset keeps files and decoded rows for the next call. The videos that it returns are theirs
    to share.

    Args:
        storage: The dataset's files.
        identity: Its recorded identity.
        layout: The parts to read; None means all of them.
        choice: The videos to show.
        snapshot: The videos and their places; None takes a snapshot.
    """

    def __init__(
        self,
        storage: ReadableStorage,
        identity: DatasetIdentity,
        layout: Layout | None = None,
        choice: VideoChoice = EVERY_VIDEO,
        snapshot: Snapshot | None = None,
    ) -> None:
        self.identity = identity
        self.layout = layout or find_layout(identity)
        self._storage = storage
        self._choice = choice
        self._use(snapshot or self._look())

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], filesystem: fs.FileSystem | AbstractFileSystem | None = None
    ) -> Dataset:
        """Open the dataset in a folder or a bucket; see `phoenix_ray.open`."""
        storage = open_for_reading(os.fspath(path), filesystem)
        return cls(storage, read_identity(storage))

    def refresh(self) -> None:
        """Read the dataset again, to see rows that a run has added meanwhile.

        Raises:
            OutputError: It cannot be read, or is no longer the dataset that was opened.
        """
        # Without its folder a dataset would look as if it had no videos, and its successor's rows as if they were its.
        if read_identity(self._storage).fingerprint != self.identity.fingerprint:
            raise OutputError(f"{self._storage.root} holds another dataset now, of other settings: open it again.")
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
        choice = self._choice
        if max_unreadable != 1 or any(wanted is not None for wanted in (split, signer, gloss, where)):
            condition = choose_videos(self.videos(), split, signer, gloss, where, max_unreadable)
            choice = choice.narrowed(condition)
        return Dataset(
            self._storage,
            self.identity,
            self.layout if parts is None else self.layout.only(parts),
            choice,
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

    @property
    def splits(self) -> dict[str, int]:
        """Split → number of its videos, sorted by split."""
        counts = pc.value_counts(self.videos()["split"]).to_pylist()
        return {count["values"]: count["counts"] for count in sorted(counts, key=lambda count: str(count["values"]))}

    def unfinished(self) -> list[VideoKey]:
        """Return (split, video ID) of each video that lacks frames because its run is not over, sorted."""
        videos = self.videos()
        videos = videos.filter(pc.less(committed_frames(videos), videos["frames"]))
        return list(zip(videos["split"].to_pylist(), videos["video_id"].to_pylist(), strict=True))

    def __len__(self) -> int:
        """Return the number of videos."""
        return int(self.videos().num_rows)

    def __iter__(self) -> Iterator[VideoLandmarks]:
        """Load each video, in the order of `keys()`, with one in memory; each piece of a file is decoded once.

        Videos that a run adds meanwhile are not among them.

        Raises:
            OutputError: A video cannot be read (`load`).
        """
        for key in self.keys():
            yield self.load(*key)

    def __contains__(self, video: object) -> bool:
        """Whether there is a video: (split, video ID), an ID or `split/ID`, or a `VideoLandmarks` with these.

        Raises:
            TypeError: It is something else.
        """
        if isinstance(video, str):
            return bool(matching_videos(self.videos(), video))
        key = (video.split, video.video_id) if isinstance(video, VideoLandmarks) else video
        if is_key(key):
            return self._index.find(key) is not None
        raise TypeError(f"a dataset holds videos by (split, video ID) or by ID, not by {type(video).__name__}")

    @overload
    def __getitem__(self, place: slice) -> Dataset: ...

    @overload
    def __getitem__(self, place: SupportsIndex | VideoKey | str) -> VideoLandmarks: ...

    def __getitem__(self, place: slice | SupportsIndex | VideoKey | str) -> Dataset | VideoLandmarks:
        """Load a video, or return a dataset of the videos in a slice.

        Args:
            place: Its place in the order of `keys()`, negative from the end; its split and ID; its ID or `split/ID`,
                where only one video has it; or a slice with a positive step. The dataset of a slice keeps these videos,
                whatever `refresh()` finds beside them.

        Raises:
            IndexError: There are fewer videos.
            KeyError: There is no such video, or an ID is in several splits.
            OutputError: Its rows cannot be read (`load`).
            TypeError: `place` is something else.
            ValueError: The step of a slice is not positive.
        """
        if isinstance(place, slice):
            return self._cut(place)
        return self.load(*find_place(self.videos(), self._place, place))

    def __repr__(self) -> str:
        """Return a few lines that say what the dataset holds."""
        return describe_dataset(self._storage.root, self.identity, self.layout, self.videos())

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a table of the splits. Only the table of videos is read."""
        from phoenix_ray.report.notebook import dataset_html

        return dataset_html(self._storage.root, self.identity, self.layout, self.videos())

    def load(self, split: str, video_id: str) -> VideoLandmarks:
        """Return a video as arrays with its annotations; of an unfinished video, the committed frames.

        Raises:
            ConfigError: The limit in PHOENIX_RAY_MOST_VIDEO_MB is not a number.
            KeyError: The dataset has no row of such a video.
            OutputError: Its rows cannot be read, or need more memory than is allowed (`memory_limit`).
        """
        key = (split, video_id)
        return self._read(key, lambda video: self._rows.load(key, video))

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
        return self._read(key, lambda video: self._rows.load_blocks(key, video, block_rows, use))

    def read_video(self, split: str, video_id: str) -> pa.Table:
        """Return the rows of a video in frame order; of an unfinished video, the committed rows.

        Raises:
            KeyError: The dataset has no row of such a video.
            OutputError: Its rows cannot be read.
        """
        key = (split, video_id)
        return self._read(key, lambda video: self._rows.read(key, video))

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
                    raise KeyError(describe_missing(self.videos(), self._place, key))
                return read(video)
            self.refresh()
        raise OutputError(f"{key[0]}/{key[1]} in {self._storage.root} changes while it is read; try again later.")

    @property
    def _place(self) -> str:
        """What an error about a missing video says that it looked at."""
        return self._storage.root if self._choice.is_of_all else f"this part of {self._storage.root}"

    def _cut(self, place: slice) -> Dataset:
        first, end, step = place.indices(len(self))
        if step < 0:
            raise ValueError("the videos of a dataset are in order: give a positive step, and use reversed(dataset)")
        choice = VideoChoice.of_rows(self.videos(), np.arange(first, end, step))
        return Dataset(self._storage, self.identity, self.layout, choice, self._snapshot)

    def _look(self) -> Snapshot:
        for _ in range(_ATTEMPTS):
            with suppress(ChangedError, FileNotFoundError), self._explained():
                return Snapshot(self._storage, self.identity)
        raise OutputError(f"{self._storage.root} changes while it is read; try again later.")

    def _use(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._rows = VideoRows(self._storage, self.layout, snapshot)
        index = snapshot.index
        self._index = index if self._choice.is_of_all else VideoIndex(self._choice.apply(index.videos))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DamagedFileError as error:
            raise OutputError(
                f"{self._storage.root}/{error}. Delete that file and start the run again, which computes its "
                "videos again. In a copy of the dataset, copy that file again."
            ) from None
