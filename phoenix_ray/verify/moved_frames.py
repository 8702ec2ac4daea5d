"""Frames in the wrong place: swapped, or shifted because one was lost or doubled.

Every number of a frame that took another's place is wrong, and "frames 7 and 8 are swapped" says more than all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.models.agreement import Points
from phoenix_ray.verify.alignment import AlignedFrames, Rows, SharedPart
from phoenix_ray.verify.tolerance import Tolerance
from phoenix_ray.verify.video_blocks import RowWindow

# A frame is looked for among so many rows before and behind its place: 80 s at 25 fps, and 34 MB of Holistic.
REACH = 2_048
# What the mean of some hundred float32 values may be off by, computed in double precision.
_ROUNDING = 1e-9
# Of frames with about the same means, so many of the nearest are compared value by value.
_MOST_COMPARED = 64
# A shuffled video has a sentence for each of its frames; so many of them are written.
_MOST_SENTENCES = 1_000


class MovedFrames:
    """Finds frames of the candidate that hold what the reference holds in another frame."""

    def __init__(self, parts: Sequence[SharedPart], tolerance: Tolerance) -> None:
        self._parts = parts
        self._tolerance = tolerance

    def find(self, frames: AlignedFrames, rows: Rows, reference: RowWindow) -> tuple[dict[int, int], bool]:
        """Return index in `frames` → number of the frame that the candidate holds there, and whether others differ.

        Args:
            frames: Frames that both sides have.
            rows: The row of the reference that each of them is.
            reference: The rows around them, also those of frames that only the reference has: what follows a frame
                that was lost may hold the last of them.
        """
        differing = self._differing(frames)
        if not differing.size:
            return {}, False
        means = reference.summary(self._means_of_reference)
        found = _means({part: points[differing] for part, (_, points) in frames.points.items()})
        # A mean differs by no more than its values do, so this leaves out none; it only spares most of the comparisons.
        allowed = _ROUNDING + np.stack(
            [
                self._tolerance.allowed(shared_part.part, frames.sizes[differing]).max(axis=1)
                for shared_part in self._parts
            ],
            axis=1,
        )
        moves: dict[int, int] = {}
        for index, mean, limit in zip(differing.tolist(), found, allowed, strict=True):
            if np.isnan(mean).all():
                continue
            row = int(rows[index])
            first = max(reference.start, row - REACH)
            near = means[first - reference.start : row + REACH + 1 - reference.start]
            alike = (np.isnan(near) == np.isnan(mean)).all(axis=1)
            alike &= (np.nan_to_num(np.abs(near - mean)) <= limit).all(axis=1)
            alike[row - first] = False
            others = np.flatnonzero(alike) + first
            others = others[np.argsort(np.abs(others - row), kind="stable")][:_MOST_COMPARED]
            same = self._same(frames, index, others, reference)
            if same.size:
                moves[index] = int(reference.numbers[same[0]])
        return moves, len(moves) < differing.size

    def _differing(self, frames: AlignedFrames) -> Rows:
        differing = np.zeros(len(frames), np.bool_)
        for shared in self._parts:
            values = frames.points[shared.part.name]
            differing |= self._tolerance.different(shared.part, frames.sizes, *values).any(axis=(1, 2))
        return np.flatnonzero(differing)

    def _same(self, frames: AlignedFrames, index: int, others: Rows, reference: RowWindow) -> Rows:
        """Return which of some rows of the reference hold the same as a frame of the candidate."""
        if not others.size:
            return others
        held = reference.take(others)
        same = np.ones(len(others), np.bool_)
        for shared in self._parts:
            wanted, given = shared.of_reference(held)[same], frames.points[shared.part.name][1][[index]]
            given = np.broadcast_to(given, wanted.shape)
            sizes = np.broadcast_to(frames.sizes[index], (len(wanted), 2))
            same[same] = ~self._tolerance.different(shared.part, sizes, wanted, given).any(axis=(1, 2))
            if not same.any():
                break
        return others[same]

    def _means_of_reference(self, block: VideoLandmarks) -> NDArray[np.float64]:
        return _means({shared.part.name: shared.of_reference(block) for shared in self._parts})


def _means(points: Mapping[str, Points]) -> NDArray[np.float64]:
    """Return the mean of each part's values, float64 (frames, parts); NaN where the part is missing.

    Points of a part may be missing alone: their values are left out.
    """
    means = np.full((len(next(iter(points.values()))), len(points)), np.nan)
    for column, values in enumerate(points.values()):
        counts = np.count_nonzero(~np.isnan(values), axis=(1, 2))
        sums = np.nansum(values, axis=(1, 2), dtype=np.float64)
        np.divide(sums, counts, out=means[:, column], where=counts > 0)
    return means


def describe_moves(frames: NDArray[np.int32], held: NDArray[np.int32]) -> Iterator[tuple[str, NDArray[np.int32]]]:
    """Yield a sentence, and the frames it names, for each swap and each run of frames moved by as many places.

    Args:
        frames: Numbers of the frames that moved, ascending.
        held: For each of them the number of the frame that stands there instead.
    """
    left = np.ones(len(frames), np.bool_)
    for number, (sentence, chosen) in enumerate(_sentences(frames, held)):
        if number == _MOST_SENTENCES:
            yield f"{left.sum():,} more frames hold other frames", frames[left]
            return
        left[chosen] = False
        yield sentence, frames[chosen]


def _sentences(frames: NDArray[np.int32], held: NDArray[np.int32]) -> Iterator[tuple[str, Rows]]:
    place = np.minimum(np.searchsorted(frames, held), len(frames) - 1)
    swapped = (frames[place] == held) & (held[place] == frames)
    for index in np.flatnonzero(swapped & (frames < held)):
        yield f"frames {frames[index]} and {held[index]} swapped", np.array([index, place[index]])
    rest = np.flatnonzero(~swapped)
    steps = np.diff(frames[rest]), np.diff(held[rest])
    for run in np.split(rest, np.flatnonzero((steps[0] != 1) | (steps[1] != 1)) + 1) if rest.size else ():
        first, last = run[0], run[-1]
        yield (
            f"frame {frames[first]} holds frame {held[first]}"
            if first == last
            else f"frames {frames[first]}-{frames[last]} hold frames {held[first]}-{held[last]}",
            run,
        )
