"""The tests of real cluster software run only where they are asked for: `make cluster-test`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ASKED = "PHOENIX_RAY_CLUSTER_TESTS"
KEPT = Path(__file__).parents[2] / "build" / "cluster-test"


@pytest.fixture(scope="session", autouse=True)
def _asked_for() -> None:
    if ASKED not in os.environ:
        pytest.skip("starts real cluster software: make cluster-test")


def kept_folder(name: str) -> Path:
    """Return an empty folder for what a part of the tests leaves: it stays, to be read."""
    folder = KEPT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
