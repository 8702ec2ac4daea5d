"""How one kind of error spreads over any number of values, kept in a few kilobytes that add up.

`models.agreement` makes one for each part and video; their sum says what a hundred million points do, without holding
them. Count, mean and maximum are exact; a quantile is an upper bound at most 1 % above the true one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Bins 1 % wide between a ten-billionth and a million of whatever unit. The first holds exact zeros, the last all above.
_SMALLEST, _LARGEST, _STEP = 1e-10, 1e6, math.log(1.01)
_BINS = math.ceil(math.log(_LARGEST / _SMALLEST) / _STEP) + 3


@dataclass(frozen=True, slots=True)
class Spread:
    """Absolute errors of one kind.

    Attributes:
        count: Number of values.
        total: Their sum.
        maximum: The largest; infinite where a value was there on one side only (NaN on the other).
        bins: int64 array: values in each bin.
    """

    count: int
    total: float
    maximum: float
    bins: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Spread:
        """Return the spread of at least one value, each 0 or more."""
        bins = np.zeros(_BINS, np.int64)
        above = values[values > 0]
        bins[0] = values.size - above.size
        places = np.ceil(np.log(np.clip(above, _SMALLEST, _LARGEST * 2) / _SMALLEST) / _STEP)
        bins += np.bincount(np.minimum(places.astype(np.intp) + 1, _BINS - 1), minlength=_BINS)
        return cls(values.size, float(values.sum()), float(values.max()), bins)

    def __add__(self, other: Spread) -> Spread:
        return Spread(
            self.count + other.count,
            self.total + other.total,
            max(self.maximum, other.maximum),
            self.bins + other.bins,
        )

    @property
    def mean(self) -> float:
        """The mean."""
        return self.total / self.count

    @property
    def median(self) -> float:
        """Half of the values are at most this."""
        return self.quantile(0.5)

    @property
    def p99(self) -> float:
        """99 % of the values are at most this."""
        return self.quantile(0.99)

    def quantile(self, share: float) -> float:
        """Return the upper edge of the bin in which that share of the values is reached, the maximum at the most."""
        place = int(np.searchsorted(np.cumsum(self.bins), share * self.count))
        if place == 0:
            return 0.0
        if place == _BINS - 1:
            return self.maximum
        return min(self.maximum, _SMALLEST * math.exp((place - 1) * _STEP))

    def to_json(self) -> dict[str, float | None]:
        """Return mean, median, p99 and maximum; None where one is infinite."""
        values = {"mean": self.mean, "median": self.median, "p99": self.p99, "maximum": self.maximum}
        return {name: value if math.isfinite(value) else None for name, value in values.items()}
