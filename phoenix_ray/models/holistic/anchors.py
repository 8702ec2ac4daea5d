"""Anchors of the two single-shot detectors: the points that their outputs are offsets from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def grid_anchors(cells_and_repeats: Sequence[tuple[int, int]]) -> NDArray[np.float32]:
    """Return anchor centres as MediaPipe's SsdAnchorsCalculator with `fixed_anchor_size` makes them.

    Args:
        cells_and_repeats: For each feature map, from fine to coarse, its cells per side and the anchors per cell.

    Returns:
        float32 (anchors, 2): x, y of each centre, 0..1 in the detector's square input; row by row, and each centre as
        often as its cell has anchors.
    """
    return np.concatenate([np.repeat(_cell_centres(cells), repeats, axis=0) for cells, repeats in cells_and_repeats])


def _cell_centres(cells: int) -> NDArray[np.float32]:
    centre = (np.arange(cells, dtype=np.float32) + np.float32(0.5)) / np.float32(cells)
    y, x = np.meshgrid(centre, centre, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=-1)


# Input 224, strides 8, 16 and three times 32, two anchors a cell and stride.
POSE_ANCHORS = grid_anchors([(28, 2), (14, 2), (7, 6)])
# Input 128, strides 8 and three times 16, two anchors a cell and stride.
FACE_ANCHORS = grid_anchors([(16, 2), (8, 6)])
