"""Some consecutive rows of a video that comes in blocks: what a comparison holds of it, however long it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.verify.alignment import FrameList, Rows

Summary = NDArray[np.float64]


class OutdatedError(Exception):
    """The blocks of a video are not the frames that were listed: it changed in between."""


class VideoBlocks(NamedTuple):
    """A version of a video: its frames, and its rows in blocks, in order, at least one block."""

    frames: FrameList
    blocks: Iterator[VideoLandmarks]


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
    )
