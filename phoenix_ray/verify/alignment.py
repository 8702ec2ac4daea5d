"""Which rows of two versions of a video are the same frame.

By name where both sides have names of their own, so that a format without frame numbers may lack frames in the middle;
else by number. What is left over on one side only is missing, or extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.dataset.video_landmarks import VideoLandmarks


@dataclass(frozen=True, slots=True)
class Alignment:
    """Rows that belong together.

    Attributes:
        reference: Rows of the reference, ascending.
        candidate: For each of them the row of the candidate.
        missing: Rows that only the reference has.
        extra: Rows that only the candidate has.
    """

    reference: NDArray[np.intp]
    candidate: NDArray[np.intp]
    missing: NDArray[np.intp]
    extra: NDArray[np.intp]


def align(reference: VideoLandmarks, candidate: VideoLandmarks) -> Alignment:
    """Return which rows belong together: first those of one name, then, of the others, those of one number."""
    pairs = _match(_names(reference), _names(candidate))
    taken_reference, taken_candidate = set(pairs), set(pairs.values())
    by_number = _match(_numbers(reference, taken_reference), _numbers(candidate, taken_candidate))
    pairs |= by_number
    rows = np.array(sorted(pairs), np.intp)
    partners = np.array([pairs[row] for row in rows], np.intp)
    return Alignment(
        rows,
        partners,
        np.setdiff1d(np.arange(len(reference)), rows),
        np.setdiff1d(np.arange(len(candidate)), partners),
    )


def frame_name(video: VideoLandmarks, row: int) -> str:
    """Return the name of a frame without folders, empty where it only repeats the frame's number."""
    name = PurePosixPath(video.frame_names[row]).name
    return "" if name == f"frame-{video.frame_index[row]}" else name


def _names(video: VideoLandmarks) -> dict[str | int, int]:
    """Return name → row, empty unless every frame has a name that is its alone."""
    names: dict[str | int, int] = {frame_name(video, row): row for row in range(len(video))}
    return names if len(names) == len(video) and "" not in names else {}


def _numbers(video: VideoLandmarks, taken: set[int]) -> dict[str | int, int]:
    return {int(number): row for row, number in enumerate(video.frame_index) if row not in taken}


def _match(reference: dict[str | int, int], candidate: dict[str | int, int]) -> dict[int, int]:
    return {row: candidate[key] for key, row in reference.items() if key in candidate}
