"""Writing large pickles that every Python and numpy reads, without holding them in memory.

Landmarks go to repositories of any age, so an array is spelled `numpy.ndarray(shape, dtype, bytearray(...))`: as numpy
2 spells it itself, numpy below 1.26 cannot read it. And a dictionary or list may be given as a generator, which is
asked for its items while the pickle is written.
"""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Read by Python 3.4 and later.
PROTOCOL = 4


class ByteSink(Protocol):
    """A file that takes bytes, compressed or not."""

    def write(self, data: bytes, /) -> object:
        """Take some bytes."""
        ...


@dataclass(frozen=True, slots=True)
class StreamedDict:
    """Pickled as a dictionary of these (key, value) pairs."""

    items: Iterable[tuple[Any, Any]]

    def __reduce__(self) -> tuple[type[dict[Any, Any]], tuple[()], None, None, Iterator[tuple[Any, Any]]]:
        return dict, (), None, None, iter(self.items)


@dataclass(frozen=True, slots=True)
class StreamedList:
    """Pickled as a list of these items."""

    items: Iterable[Any]

    def __reduce__(self) -> tuple[type[list[Any]], tuple[()], None, Iterator[Any]]:
        return list, (), None, iter(self.items)


def dump_pickle(content: Any, stream: ByteSink) -> None:
    """Write an object that holds no part of itself."""
    pickler = pickle.Pickler(stream, PROTOCOL)
    # Without the memo, which would keep everything that was written: what occurs twice is written twice.
    pickler.fast = True
    pickler.dispatch_table = {**copyreg.dispatch_table, np.ndarray: _reduce_array}
    pickler.dump(content)


def _reduce_array(array: NDArray[Any]) -> tuple[Any, ...]:
    return np.ndarray, (array.shape, array.dtype.str, bytearray(array.tobytes()))
