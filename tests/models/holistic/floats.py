"""Short float32 arrays for expectations."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def float32(values: ArrayLike) -> NDArray[np.float32]:
    """Return `np.array(values)` as float32."""
    return np.array(values, dtype=np.float32)
