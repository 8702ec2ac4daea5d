"""The videos of two collections, read from both in blocks of rows: what a comparison holds of them.

Datasets and recomputations give blocks; files of other tools are held whole, a video at a time, since their readers
hold them so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.video_landmarks import LandmarkCollection, VideoLandmarks
from phoenix_ray.errors import ConfigError, PhoenixRayError
from phoenix_ray.verify.alignment import FrameList, Rows

Result = TypeVar("Result")
SideName = Literal["reference", "candidate"]
Blocks = Iterator[VideoLandmarks]
Summary = NDArray[np.float64]

# A dataset may be written while it is compared; each time that a video changes it is compared anew.
_ATTEMPTS = 5


class OutdatedError(Exception):
    """The blocks of a video are not the frames that were listed: it changed in between."""


class VideoBlocks(NamedTuple):
    """A version of a video: its frames, and its rows in blocks, in order, at least one block."""

    frames: FrameList
    blocks: Iterator[VideoLandmarks]


@runtime_checkable
class BlockCollection(Protocol):
    """Landmarks that need not be held a video at a time."""

    def list_frames(self, split: str, video_id: str) -> FrameList:
        """Return the frames of a video, without their landmarks.

        Raises:
            PhoenixRayError: They cannot be listed.
        """

    def load_blocks(self, split: str, video_id: str, use: Callable[[Blocks], Result]) -> Result:
        """Return what a function makes of a video that it is given in blocks of rows, in order, at least one.

        Raises:
            PhoenixRayError: The video cannot be read.
        """


class UnreadableError(Exception):
    """A video cannot be read on one side; the message says on which, and why."""


class Side:
    """The reference or the candidate."""

    def __init__(self, name: SideName, collection: LandmarkCollection) -> None:
        self.name = name
        self.collection = collection
        # Without the columns of landmarks; a second reader, so that each keeps the row group that it has decoded.
        self._listing = collection.select(parts=()) if isinstance(collection, Dataset) else None
        self._whole: VideoLandmarks | None = None

    def list_frames(self, key: VideoKey) -> FrameList:
        """Return the frames of a video.

        Raises:
            PhoenixRayError: They cannot be listed.
        """
        if self._listing is not None:
            return self._listing.load_blocks(*key, FrameList.of)
        if isinstance(self.collection, BlockCollection):
            return self.collection.list_frames(*key)
        return FrameList.of([self._load(key)])

    def load_blocks(self, key: VideoKey, use: Callable[[Blocks], Result]) -> Result:
        """Return what a function makes of a video in blocks of rows; it is called again where the dataset changed.

        Raises:
            PhoenixRayError: The video cannot be read.
        """
        if isinstance(self.collection, (Dataset, BlockCollection)):
            return self.collection.load_blocks(*key, use)
        return use(iter([self._load(key)]))

    def refresh(self) -> None:
        """Look at a dataset anew."""
        for dataset in (self.collection, self._listing):
            if isinstance(dataset, Dataset):
                dataset.refresh()

    def _load(self, key: VideoKey) -> VideoLandmarks:
        """Return a video; the last one is kept, since its frames are listed first and compared then."""
        if self._whole is None or (self._whole.split, self._whole.video_id) != key:
            self._whole = None
            self._whole = self.collection.load(*key)
        return self._whole


class _BlocksError(Exception):
    """The blocks of the reference raised an error, which the candidate must not take for its own."""

    def __init__(self, error: Exception) -> None:
        super().__init__(repr(error))
        self.error = error


def read_both(
    reference: Side, candidate: Side, key: VideoKey, use: Callable[[VideoBlocks, VideoBlocks], Result]
) -> Result:
    """Return what a function makes of a video that it is given from both sides, in blocks.

    Raises:
        UnreadableError: A side cannot be read.
    """
    for attempt in range(_ATTEMPTS):
        if attempt:
            reference.refresh()
            candidate.refresh()
        try:
            return _read_once(reference, candidate, key, use)
        except OutdatedError:
            continue
    raise UnreadableError(f"{key[0]}/{key[1]} changes while it is read; try again later.")


def _read_once(
    reference: Side, candidate: Side, key: VideoKey, use: Callable[[VideoBlocks, VideoBlocks], Result]
) -> Result:
    expected = _attributed(reference, lambda: reference.list_frames(key))
    found = _attributed(candidate, lambda: candidate.list_frames(key))

    def use_reference(blocks: Blocks) -> Result:
        calls = 0

        def use_candidate(others: Blocks) -> Result:
            nonlocal calls
            calls += 1
            if calls > 1:
                # Blocks of the reference are used up.
                raise OutdatedError
            return use(VideoBlocks(expected, _shielded(blocks)), VideoBlocks(found, others))

        try:
            return _attributed(candidate, lambda: candidate.load_blocks(key, use_candidate))
        except _BlocksError as shielded:
            raise shielded.error from None

    return _attributed(reference, lambda: reference.load_blocks(key, use_reference))


def _shielded(blocks: Blocks) -> Blocks:
    try:
        yield from blocks
    except Exception as error:
        raise _BlocksError(error) from error


def _attributed(side: Side, read: Callable[[], Result]) -> Result:
    """Return what is read of a side; settings that are wrong are the user's, whichever side finds them."""
    try:
        return read()
    except ConfigError:
        raise
    except PhoenixRayError as error:
        raise UnreadableError(f"the {side.name} cannot be read: {error}") from None


class RowWindow:
    """Consecutive rows of a video, read as far as is asked for and let go behind.

    Attributes:
        start: The first row that is held.
        end: The row behind the last that is held.
        numbers: int32 (frames,): frame numbers of all rows of the video.
        has_scores: Whether any score was seen so far; MediaPipe and most formats give none.
    """

    def __init__(self, video: VideoBlocks) -> None:
        self.start = self.end = 0
        self.numbers = video.frames.numbers
        self.has_scores = False
        self._blocks = video.blocks
        self._held: list[VideoLandmarks] = []
        # Of each block held; None where it was not asked for.
        self._summaries: list[Summary | None] = []
        self._read()
        self._first = self._select(self._held[0], np.empty(0, np.intp))

    @property
    def video(self) -> VideoLandmarks:
        """The video without any of its rows: split, ID, layout."""
        return self._first

    def move(self, start: int, end: int) -> None:
        """Hold the rows from `start` to `end` at the least, as far as the video goes; rows before are let go.

        Raises:
            OutdatedError: The video has other frames than were listed.
        """
        self._drop(start)
        while self.end < min(end, len(self.numbers)):
            self._read()
            self._drop(start)

    def finish(self) -> None:
        """Read the rest of the video, so that what is wrong with it is raised.

        Raises:
            OutdatedError: The video has other frames than were listed.
        """
        self.move(len(self.numbers), len(self.numbers))
        if next(self._blocks, None) is not None:
            raise OutdatedError

    def take(self, rows: Rows) -> VideoLandmarks:
        """Return some of the rows that are held, in the order given."""
        starts = np.cumsum([self.start, *map(len, self._held[:-1])])
        owners = np.searchsorted(starts, rows, side="right") - 1
        order = np.argsort(owners, kind="stable")
        pieces = [
            self._select(self._held[owner], rows[order][owners[order] == owner] - starts[owner])
            for owner in np.unique(owners)
        ] or [self._first]
        taken = pieces[0] if len(pieces) == 1 else _join(pieces)
        return taken if (np.diff(order) == 1).all() else self._select(taken, np.argsort(order))

    def summary(self, of_block: Callable[[VideoLandmarks], Summary]) -> Summary:
        """Return what a function gives for each row that is held, float64 (rows, values); asked once for each block."""
        kept = [
            of_block(block) if known is None else known
            for block, known in zip(self._held, self._summaries, strict=True)
        ]
        self._summaries = list(kept)
        return np.concatenate(kept)

    def _read(self) -> None:
        block = next(self._blocks, None)
        if block is None or not np.array_equal(block.frame_index, self.numbers[self.end : self.end + len(block)]):
            raise OutdatedError
        self.has_scores = self.has_scores or any(not np.isnan(scores).all() for scores in block.scores.values())
        self.end += len(block)
        self._held.append(block)
        self._summaries.append(None)

    def _drop(self, before: int) -> None:
        while len(self._held) and self.start + len(self._held[0]) <= before:
            self.start += len(self._held.pop(0))
            self._summaries.pop(0)

    @staticmethod
    def _select(video: VideoLandmarks, rows: Rows) -> VideoLandmarks:
        if np.array_equal(rows, np.arange(len(video))):
            return video
        chosen = rows.tolist()
        return replace(
            video,
            frame_index=video.frame_index[rows],
            frame_names=tuple(video.frame_names[row] for row in chosen),
            timestamps=video.timestamps[rows],
            sizes=video.sizes[rows],
            status=tuple(video.status[row] for row in chosen),
            points={part: points[rows] for part, points in video.points.items()},
            scores={part: scores[rows] for part, scores in video.scores.items()},
            heads={head: values[rows] for head, values in video.heads.items()},
        )


def _join(pieces: list[VideoLandmarks]) -> VideoLandmarks:
    return replace(
        pieces[0],
        frame_index=np.concatenate([piece.frame_index for piece in pieces]),
        frame_names=tuple(name for piece in pieces for name in piece.frame_names),
        timestamps=np.concatenate([piece.timestamps for piece in pieces]),
        sizes=np.concatenate([piece.sizes for piece in pieces]),
        status=tuple(status for piece in pieces for status in piece.status),
        points={part: np.concatenate([piece.points[part] for piece in pieces]) for part in pieces[0].points},
        scores={part: np.concatenate([piece.scores[part] for piece in pieces]) for part in pieces[0].scores},
        heads={head: np.concatenate([piece.heads[head] for piece in pieces]) for head in pieces[0].heads},
    )
