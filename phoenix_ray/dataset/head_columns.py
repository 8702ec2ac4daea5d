"""What heads say of the frames of a video, as named columns, and smoothed over time.

`VideoLandmarks.head_columns`, exports and `prepare` call it. Datasets hold what the networks gave, frame by frame, so
that no row depends on where a video was cut. Smoothing looks at frames before, and so belongs to reading.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import Head, Layout

Floats = NDArray[np.float32]

# Weights of a frame and of the four before it, the newest last: EmoNet's, `emonet/models/emonet.py` of
# face-analysis/emonet@49eef30. Its state starts at zero, so its first four frames are scaled down; here the weights
# that have no frame are left out, and the others add up to 1.
SMOOTHING = (0.1, 0.1, 0.15, 0.25, 0.4)


def cut_into_columns(
    layout: Layout, heads: Mapping[str, Floats], smoothed_at: NDArray[np.int32] | None = None
) -> dict[str, Floats]:
    """Return the columns of a layout's heads by name: logits float32 (frames, classes), other numbers (frames,).

    Args:
        layout: Names the columns.
        heads: Head → float32 (frames, width).
        smoothed_at: int32 (frames,): numbers of the frames, to smooth over time; None leaves the numbers as they are.
    """
    columns: dict[str, Floats] = {}
    for head in layout.heads:
        values = heads[head.name] if smoothed_at is None else smooth_over_time(head, smoothed_at, heads[head.name])
        if head.classes:
            columns[head.logits_column] = values[:, : len(head.classes)]
        for position, name in enumerate(head.number_columns, len(head.classes)):
            columns[name] = values[:, position]
    return columns


def join_columns(head: Head, columns: Mapping[str, Floats]) -> Floats:
    """Return float32 (frames, width) of the columns that `cut_into_columns` returned; raise KeyError if one lacks."""
    logits = [columns[head.logits_column]] if head.classes else []
    return np.concatenate([*logits, *(columns[name][:, np.newaxis] for name in head.number_columns)], axis=1)


def smooth_over_time(head: Head, frames: NDArray[np.int32], values: Floats) -> Floats:
    """Return logits and values smoothed over each frame and the four before it; qualities stay as they are.

    A frame that has no number keeps none. Of the frames before, those that have none, or are not there, do not count:
    the weights of the others are divided by their sum.

    Args:
        head: Says which numbers are the quality.
        frames: int32 (frames,): their numbers in the video, ascending.
        values: float32 (frames, width), as the networks gave them.
    """
    known = ~np.isnan(values)
    total, weights = np.zeros(values.shape), np.zeros(values.shape)
    for back, weight in enumerate(reversed(SMOOTHING)):
        rows = np.searchsorted(frames, frames - back)
        there = known[rows] & (frames[rows] == frames - back)[:, np.newaxis]
        total += np.where(there, weight * values[rows].astype(np.float64), 0)
        weights += np.where(there, weight, 0)
    smoothed = np.where(known, total / np.where(known, weights, 1), np.nan).astype(np.float32)
    smoothed[:, head.width - 1] = values[:, head.width - 1]
    return smoothed
