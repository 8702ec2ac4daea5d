"""Velocity and acceleration as further axes. Comes last: what changes positions later would leave them wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.prepare.prepared import POSITION_AXES, Floats, Prepared, require_positions


@dataclass(frozen=True, slots=True)
class AddMotion:
    """Add dx, dy, (dz): change per second; and with `acceleration` ddx, ddy, (ddz): change of that.

    A change is taken from the frame before to the frame behind; at a gap or an end from the one neighbour that is
    there; without any neighbour it is 0. Where a point is missing, so is its motion.

    Attributes:
        acceleration: Whether to add accelerations too.
    """

    acceleration: bool = False

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the video with more axes."""
        require_positions(prepared, self)
        velocity = _derive(prepared.points, prepared.times)
        motions = (velocity, _derive(velocity, prepared.times)) if self.acceleration else (velocity,)
        return replace(
            prepared,
            points=np.concatenate([prepared.points, *motions], axis=2),
            axes=tuple(f"{'d' * order}{axis}" for order in range(len(motions) + 1) for axis in prepared.axes),
        )

    def inverse(self, prepared: Prepared) -> Prepared:
        """Drop the axes again: exact."""
        axes = tuple(axis for axis in prepared.axes if axis in POSITION_AXES)
        return replace(prepared, points=prepared.points[:, :, : len(axes)], axes=axes)


def _derive(values: Floats, times: NDArray[np.float64]) -> Floats:
    frames = len(values)
    missing = np.isnan(values)
    before, behind = np.maximum(np.arange(frames) - 1, 0), np.minimum(np.arange(frames) + 1, frames - 1)
    first = np.where(missing[before], values, values[before]).astype(np.float64)
    last = np.where(missing[behind], values, values[behind])
    begin = np.where(missing[before], times[:, np.newaxis, np.newaxis], times[before, np.newaxis, np.newaxis])
    end = np.where(missing[behind], times[:, np.newaxis, np.newaxis], times[behind, np.newaxis, np.newaxis])
    duration = end - begin
    return np.where(missing, np.nan, (last - first) / np.where(duration > 0, duration, 1)).astype(np.float32)
