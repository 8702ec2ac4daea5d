"""Frames in the wrong place: swapped, or shifted because one was lost or doubled.

Every number of a frame that took another's place is wrong, and "frames 7 and 8 are swapped" says more than all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.verify.aligned import AlignedFrames
from phoenix_ray.verify.shared_layout import SharedPart
from phoenix_ray.verify.tolerance import Tolerance

# What the mean of some hundred float32 values may be off by, computed in double precision.
_ROUNDING = 1e-9


def misplaced(parts: Sequence[SharedPart], frames: AlignedFrames, tolerance: Tolerance) -> dict[int, int]:
    """Return row → row whose landmarks the candidate holds there, among rows that differ in their own place."""
    suspects = _differing(parts, frames, tolerance)
    if len(suspects) < 2:
        return {}
    expected, found = (_outlines(parts, frames, side)[suspects] for side in (0, 1))
    # A mean differs by no more than its values do, so this leaves out none; it only spares most of the comparisons.
    allowed = np.array([tolerance.allowed(shared.part, frames.sizes).max() for shared in parts]) + _ROUNDING
    moves: dict[int, int] = {}
    for row, outline in zip(suspects.tolist(), found, strict=True):
        if np.isnan(outline).all():
            continue
        alike = (np.isnan(expected) == np.isnan(outline)).all(axis=1)
        alike &= (np.nan_to_num(np.abs(expected - outline)) <= allowed).all(axis=1)
        for other in suspects[alike].tolist():
            if other != row and _holds(parts, frames, tolerance, row, other):
                moves[row] = other
                break
    return moves


def displaced(order: NDArray[np.intp]) -> dict[int, int]:
    """Return place → place whose frame stands there, for those out of order.

    Args:
        order: For each frame of the reference, ascending, the row of the candidate that is that frame.
    """
    standing = np.argsort(order)
    return {place: int(frame) for place, frame in enumerate(standing) if place != frame}


def describe_moves(moves: Mapping[int, int]) -> list[tuple[str, tuple[int, ...]]]:
    """Return a sentence, and the frames it speaks of, for each swap and each run of frames moved by as many places.

    Args:
        moves: Frame number → number of the frame that stands there instead.
    """
    swaps = [(frame, held) for frame, held in sorted(moves.items()) if moves.get(held) == frame and frame < held]
    swapped = {frame for pair in swaps for frame in pair}
    told: list[tuple[str, tuple[int, ...]]] = [
        (f"frames {frame} and {held} swapped", (frame, held)) for frame, held in swaps
    ]
    rest = [(frame, held) for frame, held in sorted(moves.items()) if frame not in swapped]
    for _, group in groupby(enumerate(rest), key=lambda item: (item[1][1] - item[1][0], item[1][0] - item[0])):
        run = [pair for _, pair in group]
        (first, first_held), (last, last_held) = run[0], run[-1]
        told.append(
            (f"frame {first} holds frame {first_held}", (first,))
            if first == last
            else (f"frames {first}-{last} hold frames {first_held}-{last_held}", tuple(frame for frame, _ in run))
        )
    return told


def _differing(parts: Sequence[SharedPart], frames: AlignedFrames, tolerance: Tolerance) -> NDArray[np.intp]:
    differing = np.zeros(len(frames), bool)
    for shared in parts:
        values = frames.points[shared.part.name]
        differing |= tolerance.different(shared.part, frames.sizes, *values).any(axis=(1, 2))
    return np.flatnonzero(differing)


def _outlines(parts: Sequence[SharedPart], frames: AlignedFrames, side: int) -> NDArray[np.float64]:
    """Return the mean of each part's values, float64 (frames, parts); NaN where the part is missing."""
    means = [frames.points[shared.part.name][side].mean(axis=(1, 2), dtype=np.float64) for shared in parts]
    return np.stack(means, axis=1)


def _holds(parts: Sequence[SharedPart], frames: AlignedFrames, tolerance: Tolerance, row: int, other: int) -> bool:
    """Return whether the candidate's `row` holds the landmarks of the reference's `other`."""
    for shared in parts:
        expected, found = frames.points[shared.part.name]
        if tolerance.different(shared.part, frames.sizes[[row]], expected[[other]], found[[row]]).any():
            return False
    return True
