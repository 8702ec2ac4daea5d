from __future__ import annotations

import os
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phoenix_ray.errors import OutputError
from phoenix_ray.exports.pickles import load_pickle


class _Hostile:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_and_arrays_are_read_in_every_protocol(tmp_path: Path, protocol: int) -> None:
    content = {
        "arrays": [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(["a", "ü"]), np.array(1.5)],
        "fortran": np.asfortranarray(np.eye(3)),
        "scalars": (np.float32(1.5), np.int64(3), 2.5, 3 + 4j, None, True, b"bytes\xff"),
        "sets": [{1, 2}, frozenset({"x"})],
        "dicts": [OrderedDict(a=1), defaultdict(list, {"k": [1]})],
    }
    file = tmp_path / "plain.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    assert repr(load_pickle(file)) == repr(content)


@pytest.mark.parametrize(
    "hostile",
    [
        _Hostile(os.system, "touch PWNED"),
        _Hostile(eval, "open('PWNED', 'w')"),
        _Hostile(getattr, "text", "upper"),
        _Hostile(np.load, "PWNED"),
        _Hostile(Path, "PWNED"),
    ],
    ids=["os.system", "eval", "getattr", "numpy.load", "pathlib.Path"],
)
def test_a_pickle_that_would_run_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hostile: _Hostile
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "hostile.pkl"
    file.write_bytes(pickle.dumps({"train": hostile}))
    with pytest.raises(OutputError, match=r"hostile\.pkl is refused: it asks for "):
        load_pickle(file)
    assert not (tmp_path / "PWNED").exists()


def test_arrays_of_objects_cannot_smuggle_a_call(tmp_path: Path) -> None:
    file = tmp_path / "hostile.pkl"
    file.write_bytes(pickle.dumps(np.array([_Hostile(os.getcwd)], dtype=object)))
    with pytest.raises(OutputError, match=r"refused: it asks for posix\.getcwd"):
        load_pickle(file)


def test_a_codec_other_than_that_of_bytes_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "hostile.pkl"
    file.write_bytes(b"c_codecs\nencode\n(Vtext\nVzlib\ntR.")
    with pytest.raises(OutputError, match=r"refused: it asks for codecs\.encode to 'zlib'"):
        load_pickle(file)


@pytest.mark.parametrize("content", [b"", b"\x80", pickle.dumps(list(range(1000)))[:-10], b"\x80\x04garbage"])
def test_a_damaged_pickle_is_reported(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "damaged.pkl"
    file.write_bytes(content)
    with pytest.raises(OutputError, match="damaged"):
        load_pickle(file)


def test_an_array_that_claims_more_than_memory_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "huge.pkl"
    file.write_bytes(b"cnumpy\nndarray\n((I1000000000000\nI1000\ntVf8\ntR.")
    with pytest.raises(OutputError, match="memory"):
        load_pickle(file)
