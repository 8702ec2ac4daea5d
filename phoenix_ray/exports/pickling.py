"""Writing pickles that every Python and numpy reads: landmarks go to repositories of any age.

An array as numpy 2 pickles it names a module that numpy below 1.26 does not have, and the same array under numpy 1
another one. Here an array is spelled `numpy.ndarray(shape, dtype, bytearray(...))`, by public names only, so the bytes
do not depend on the version that wrote them either.
"""

from __future__ import annotations

import copyreg
import pickle
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

# Read by Python 3.4 and later.
PROTOCOL = 4


def dump_pickle(content: Any, stream: BinaryIO) -> None:
    """Write an object made of builtins and numpy arrays."""
    pickler = pickle.Pickler(stream, PROTOCOL)
    pickler.dispatch_table = {**copyreg.dispatch_table, np.ndarray: _reduce_array}
    pickler.dump(content)


def _reduce_array(array: NDArray[Any]) -> tuple[Any, ...]:
    return np.ndarray, (array.shape, array.dtype, bytearray(array.tobytes()))
