"""Frames in the wrong place: swapped, or shifted because one was lost or doubled.

Every number of a frame that took another's place is wrong, and "frames 7 and 8 are swapped" says more than all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.agreement import Points
from phoenix_ray.verify.aligned import AlignedFrames, MissingFrames
from phoenix_ray.verify.shared_layout import SharedPart
from phoenix_ray.verify.tolerance import Tolerance

# What the mean of some hundred float32 values may be off by, computed in double precision.
_ROUNDING = 1e-9


def misplaced(
    parts: Sequence[SharedPart], frames: AlignedFrames, missing: MissingFrames, tolerance: Tolerance
) -> dict[int, int]:
    """Return row → number of the frame whose landmarks the candidate holds there, for rows that hold another frame's.

    Args:
        parts: What is compared.
        frames: Frames that both sides have.
        missing: Frames that only the reference has: what came after a frame that was lost may hold the last of them.
        tolerance: What counts as equal.
    """
    suspects = _differing(parts, frames, tolerance)
    if not suspects.size:
        return {}
    numbers = np.concatenate([frames.numbers, missing.numbers])
    expected = {part: np.concatenate([points, missing.points[part]]) for part, (points, _) in frames.points.items()}
    found = {part: points for part, (_, points) in frames.points.items()}
    outlines = _outlines(expected)
    # A mean differs by no more than its values do, so this leaves out none; it only spares most of the comparisons.
    allowed = np.array([tolerance.allowed(shared.part, frames.sizes).max() for shared in parts]) + _ROUNDING
    moves: dict[int, int] = {}
    for row, outline in zip(suspects.tolist(), _outlines(found)[suspects], strict=True):
        if np.isnan(outline).all():
            continue
        alike = (np.isnan(outlines) == np.isnan(outline)).all(axis=1)
        alike &= (np.nan_to_num(np.abs(outlines - outline)) <= allowed).all(axis=1)
        alike[row] = False
        nearest = sorted(np.flatnonzero(alike).tolist(), key=lambda other: abs(other - row))
        for other in nearest:
            if _same(parts, frames.sizes[[row]], _only(expected, other), _only(found, row), tolerance):
                moves[row] = int(numbers[other])
                break
    return moves


def displaced(frames: AlignedFrames, order: NDArray[np.intp]) -> dict[int, int]:
    """Return row → number of the frame that stands there by its name, for rows out of order.

    Args:
        frames: Frames that both sides have.
        order: For each of them the row of the candidate that is that frame.
    """
    standing = np.argsort(order)
    return {row: int(frames.numbers[frame]) for row, frame in enumerate(standing) if row != frame}


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


def _outlines(points: Mapping[str, Points]) -> NDArray[np.float64]:
    """Return the mean of each part's values, float64 (frames, parts); NaN where the part is missing."""
    return np.stack([values.mean(axis=(1, 2), dtype=np.float64) for values in points.values()], axis=1)


def _only(points: Mapping[str, Points], row: int) -> dict[str, Points]:
    return {part: values[[row]] for part, values in points.items()}


def _same(
    parts: Sequence[SharedPart],
    sizes: NDArray[np.int32],
    expected: Mapping[str, Points],
    found: Mapping[str, Points],
    tolerance: Tolerance,
) -> bool:
    pairs = ((one.part, expected[one.part.name], found[one.part.name]) for one in parts)
    return not any(tolerance.different(part, sizes, wanted, given).any() for part, wanted, given in pairs)
