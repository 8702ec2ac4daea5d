"""The tests of real cluster software run only where they are asked for: `make cluster-test`."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ASKED = "PHOENIX_RAY_CLUSTER_TESTS"
KEPT = Path(__file__).parents[2] / "build" / "cluster-test"


@pytest.fixture(scope="session", autouse=True)
def _asked_for() -> Iterator[None]:
    if ASKED not in os.environ:
        pytest.skip("starts real cluster software: make cluster-test")
    # The networks of two would have the same names.
    with (Path(tempfile.gettempdir()) / "phoenix-ray-cluster-test.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.skip("another `make cluster-test` is at work on this machine")
        yield


def kept_folder(name: str) -> Path:
    """Return an empty folder for what a part of the tests leaves: it stays, to be read."""
    folder = KEPT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
