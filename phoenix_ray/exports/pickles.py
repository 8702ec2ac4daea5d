"""Writing large pickles without holding them in memory, and reading pickles of other people without running them.

Written pickles go to repositories of any age, so an array is spelled `numpy.ndarray(shape, dtype, bytearray(...))`: as
numpy 2 spells it itself, numpy below 1.26 cannot read it. A dictionary or list may be given as a generator, which is
asked for its items while the pickle is written.

A pickle is a program: the ordinary `pickle.load` runs whatever it names. `load_pickle` has a short list of classes that
hold data, and refuses a file that names anything else before any of it runs. Importers call it.
"""

from __future__ import annotations

import copyreg
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.errors import OutputError

# Read by Python 3.4 and later.
PROTOCOL = 4


class ByteSink(Protocol):
    """A file that takes bytes, compressed or not."""

    def write(self, data: bytes, /) -> object:
        """Take some bytes."""


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


def begins_like_a_pickle(file: Path) -> bool:
    """Whether a file may be a pickle of protocol 2 or later, by its first byte."""
    with file.open("rb") as stream:
        return stream.read(1) == pickle.PROTO


def load_pickle(path: Path) -> Any:
    """Return what a pickle holds, if it is made of builtins and numpy arrays alone.

    Raises:
        OutputError: It asks for anything else, is damaged, cannot be read, or does not fit into memory.
    """
    try:
        with path.open("rb") as stream:
            return _Unpickler(stream).load()
    except _RefusedError as refused:
        raise OutputError(
            f"{path} is refused: it asks for {refused}, and only plain data and numpy arrays are read, because a "
            "pickle can run any program. If you trust the file, load it with the software that wrote it and save its "
            "arrays as numpy arrays."
        ) from None
    except MemoryError:
        raise OutputError(f"{path} does not fit into memory, or claims sizes that do not.") from None
    # Damage shows as whatever the first wrong byte happens to mean.
    except Exception as error:
        raise OutputError(f"{path} cannot be read as a pickle ({error!r}): it is damaged or of another kind.") from None


class _RefusedError(Exception):
    """The pickle asks for a name that is not on the list."""


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for `codecs.encode`, with which protocol 2 spells bytes; other codecs would import modules."""
    if encoding not in ("latin1", "latin-1"):
        raise _RefusedError(f"codecs.encode to '{encoding}'")
    return text.encode("latin-1")


# By these numpy pickles its arrays; they have no public name, and their module has moved in numpy 2.
_ARRAY_FUNCTIONS = {
    "multiarray._reconstruct": np.zeros(1).__reduce__()[0],
    "multiarray.scalar": np.float32(0).__reduce__()[0],
    "numeric._frombuffer": np.zeros(1).__reduce_ex__(5)[0],
}
_ALLOWED: dict[str, Any] = {
    **{
        f"{module}.{kind.__name__}": kind
        for module in ("builtins", "__builtin__")
        for kind in (bytearray, complex, dict, frozenset, list, set)
    },
    "collections.OrderedDict": OrderedDict,
    "collections.defaultdict": defaultdict,
    "_codecs.encode": _encode,
    "numpy.dtype": np.dtype,
    "numpy.ndarray": np.ndarray,
    **{f"numpy.{core}.{name}": made for core in ("core", "_core") for name, made in _ARRAY_FUNCTIONS.items()},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[f"{module}.{name}"]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None
