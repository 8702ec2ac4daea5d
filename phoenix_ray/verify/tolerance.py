"""How far two values may lie apart and still be equal: to the bit, normalised, or in pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import Part
from phoenix_ray.models.agreement import Points, differences, same_bits

# What a tolerance of one pixel means for values without pixels. Shoulders 0.4 m apart are about 80 pixels apart in a
# frame of PHOENIX: 5 mm a pixel, and depth is known half as well.
METRES_PER_PIXEL = 0.01
# Scores and visibilities move with the crop that a network sees: by 0.01 to 0.02 where it moves by a pixel.
PROBABILITY_PER_PIXEL = 0.02


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What is allowed.

    Attributes:
        unit: `bits` (nothing), `normalised` (the same limit for every value, as it is stored), or `pixels` of the frame
            for x, y and z; see `METRES_PER_PIXEL` and `PROBABILITY_PER_PIXEL` for the other values.
        limit: How many of them; 0 for `bits`.
    """

    unit: Literal["bits", "normalised", "pixels"]
    limit: float = 0.0

    def __str__(self) -> str:
        return "bit for bit" if self.unit == "bits" else f"within {self.text}"

    @property
    def text(self) -> str:
        """The limit with its unit."""
        return f"{self.limit:g} px" if self.unit == "pixels" else f"{self.limit:g}"

    @property
    def probability(self) -> float:
        """The largest allowed difference of two scores."""
        return self.limit * PROBABILITY_PER_PIXEL if self.unit == "pixels" else self.limit

    def allowed(self, part: Part, sizes: NDArray[np.int32]) -> NDArray[np.float64]:
        """Return the largest allowed difference, float64 (frames, axes), in the units in which values are stored.

        With pixels, a frame of unknown size allows none.
        """
        limits = np.full((len(sizes), len(part.axes)), self.limit)
        if self.unit != "pixels":
            return limits
        if not part.scored:
            return limits * METRES_PER_PIXEL
        width, height = np.where(sizes > 0, sizes, np.inf).T
        pixels = {"x": width, "y": height, "z": width}
        for index, axis in enumerate(part.axes):
            limits[:, index] = self.limit / pixels[axis] if axis in pixels else self.probability
        return limits

    def different(
        self, part: Part, sizes: NDArray[np.int32], reference: Points, candidate: Points
    ) -> NDArray[np.bool_]:
        """Return where values differ by more than is allowed, bool (frames, points, axes); NaN equals NaN."""
        if self.unit == "bits":
            return ~same_bits(reference, candidate)
        exceeded: NDArray[np.bool_] = differences(reference, candidate) > self.allowed(part, sizes)[:, np.newaxis]
        return exceeded

    def different_scores(self, reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return where scores, or numbers of heads, differ by more than is allowed, bool of their shape; NaN is NaN."""
        if self.unit == "bits":
            return ~same_bits(reference, candidate)
        exceeded: NDArray[np.bool_] = differences(reference, candidate) > self.probability
        return exceeded


BITS = Tolerance("bits")
