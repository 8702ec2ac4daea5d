"""float32 coordinates as the shortest decimals that give the same float32 back: half of what JSON would spend."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shortest(values: NDArray[np.float32]) -> list[float]:
    """Return the values, flattened, as floats that `json` prints shortest."""
    return [float(text) for text in values.ravel().astype(np.str_)]
