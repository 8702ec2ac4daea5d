"""What a decoder returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class DecodedPoints:
    """The points of one person in each of N inputs.

    Attributes:
        xy: float32 (N, points, 2): pixels of the network's input; NaN where a point was not found.
        scores: float32 (N, points): the network's score of each point.
        person: float32 (N,): score of the person, NaN where the decoder finds none. None for a network that always
            gives a pose, whatever it sees.
        clipped: Whether points outside of the picture are moved to its edge.
    """

    xy: NDArray[np.float32]
    scores: NDArray[np.float32]
    person: NDArray[np.float32] | None = None
    clipped: bool = False
