"""Tests of kernels: in Triton's interpreter on a CPU, with the roundings of a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("triton", reason="kernels need Triton, which exists for Linux alone")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if INTERPRETED:
    from tests.models.holistic.torch_engine.kernels.exact_interpreter import make_exact

    make_exact()


@pytest.fixture(scope="session")
def device_name() -> str:
    return "cpu" if INTERPRETED else "cuda"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The interpreter computes with numpy, which warns where a kernel divides by zero and drops the result."""
    with np.errstate(all="ignore"):
        yield
