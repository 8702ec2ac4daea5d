"""Other frame rates and lengths, and velocities.

Resampling comes before normalising by frames, and cannot be undone. A new frame lies between two old ones and takes
their weighted mean. Where only one of the two has the point, the nearer frame decides: it gives its value, or the point
is missing. A moment that falls on an old frame takes it unchanged. What comes from a filled frame, alone or in a mean,
counts as filled, and its confidence is 0 as that of all filled points.

Velocities and accelerations are further axes. They come last: what changes positions later would leave them wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.prepare.prepared import POSITION_AXES, Floats, Prepared, require_positions

# Share of a frame by which the end of a video may fall short of a new frame, for times that are not exact.
_SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class ToFrameRate:
    """Frames at a fixed rate, in frames per second, from the first frame on. Cannot be undone."""

    frame_rate: float

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the video at the new rate."""
        if not len(prepared):
            return prepared
        duration = prepared.times[-1] - prepared.times[0]
        count = int(np.floor(duration * self.frame_rate + _SLACK)) + 1
        return _at_times(prepared, prepared.times[0] + np.arange(count) / self.frame_rate, self)


@dataclass(frozen=True, slots=True)
class ToLength:
    """A fixed number of frames, evenly spaced from the first frame to the last. Cannot be undone."""

    frames: int

    def __call__(self, prepared: Prepared) -> Prepared:
        """Return the video with the new number of frames."""
        if not len(prepared):
            return prepared
        return _at_times(prepared, np.linspace(prepared.times[0], prepared.times[-1], self.frames), self)


def _at_times(prepared: Prepared, times: NDArray[np.float64], transform: object) -> Prepared:
    require_positions(prepared, transform)
    if any(len(array) > 1 for placed in prepared.placements for array in (placed.origin, placed.scale)):
        raise ValueError(f"{type(transform).__name__} comes before normalising each frame for itself.")
    place = np.interp(times, prepared.times, np.arange(len(prepared)))
    before = np.floor(place).astype(np.int64)
    behind = np.minimum(before + 1, len(prepared) - 1)
    weight = (place - before).astype(np.float32)[:, np.newaxis]
    nearer = np.where(weight[:, 0] < 0.5, before, behind)
    mask = prepared.mask
    both = mask[before] & mask[behind] & (weight > 0)
    mean = prepared.points[before] * (1 - weight[:, :, np.newaxis]) + prepared.points[behind] * weight[:, :, np.newaxis]
    sure = prepared.confidence[before] * (1 - weight) + prepared.confidence[behind] * weight
    filled = np.where(both, prepared.filled[before] | prepared.filled[behind], prepared.filled[nearer])
    return replace(
        prepared,
        points=np.where(both[:, :, np.newaxis], mean, prepared.points[nearer]),
        filled=filled,
        confidence=np.where(filled, np.float32(0), np.where(both, sure, prepared.confidence[nearer])),
        times=times,
        heads={
            name: _numbers_between(values, before, behind, weight[:, 0], nearer)
            for name, values in prepared.heads.items()
        },
    )


def _numbers_between(
    values: Floats,
    before: NDArray[np.int64],
    behind: NDArray[np.int64],
    weight: NDArray[np.float32],
    nearer: NDArray[np.int64],
) -> Floats:
    """Return numbers of a head at other times, by the rule for points: float32 (frames,) or (frames, classes)."""
    weights = weight.reshape(-1, *[1] * (values.ndim - 1))
    mean = values[before] * (1 - weights) + values[behind] * weights
    # A moment on an old frame takes it unchanged, also where the frame behind has no number.
    return np.where(np.isnan(mean) | (weights == 0), values[nearer], mean)


@dataclass(frozen=True, slots=True)
class AddMotion:
    """Add dx, dy, (dz): change per second; and with `acceleration` ddx, ddy, (ddz): change of that.

    A change is taken from the frame before to the frame behind; at a gap or an end from the one neighbour that is
    there; without any neighbour it is 0. Where a point is missing, so is its motion.
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
