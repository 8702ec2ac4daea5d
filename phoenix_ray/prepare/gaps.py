"""Filling the frames in which a point is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from phoenix_ray.prepare.prepared import Prepared, require_positions


@dataclass(frozen=True, slots=True)
class FillGaps:
    """Fill gaps in time, a point at a time; what was filled is marked in `Prepared.filled`.

    Attributes:
        method: `linear` goes straight from the frame before a gap to the one behind it, and leaves the ends of a video
            alone. `hold` repeats the frame before a gap, also at the end of a video, and leaves its beginning alone.
        longest: Longest gap to fill, in frames; a longer one stays missing as a whole. None fills all.
    """

    method: Literal["linear", "hold"] = "linear"
    longest: int | None = None

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the video with gaps filled."""
        require_positions(prepared, self)
        mask, frames = prepared.mask, np.arange(len(prepared))[:, np.newaxis]
        before = np.maximum.accumulate(np.where(mask, frames, -1), axis=0)
        behind = np.minimum.accumulate(np.where(mask, frames, len(prepared))[::-1], axis=0)[::-1]
        wanted = ~mask & (before >= 0)
        if self.method == "linear":
            wanted &= behind < len(prepared)
        if self.longest is not None:
            wanted &= behind - before - 1 <= self.longest
        frame, point = np.nonzero(wanted)
        first = before[frame, point]
        points = prepared.points.copy()
        points[frame, point] = prepared.points[first, point]
        if self.method == "linear":
            last = behind[frame, point]
            times = prepared.times
            weight = ((times[frame] - times[first]) / (times[last] - times[first]))[:, np.newaxis]
            step = prepared.points[last, point] - prepared.points[first, point]
            points[frame, point] += (weight * step).astype(np.float32)
        return replace(prepared, points=points, filled=prepared.filled | wanted)

    def inverse(self, prepared: Prepared) -> Prepared:
        """Make everything that was filled missing again: exact."""
        points = prepared.points.copy()
        points[prepared.filled] = np.nan
        return replace(prepared, points=points, filled=np.zeros_like(prepared.filled))
