"""Landmarks are the same bits on every x86-64 processor.

Libraries choose kernels by the processor's features. Here AVX-512 is disabled, in a process for each library, and for
numpy and OpenCV everything newer than their baseline. The landmarks must have the committed fingerprint, which machines
of both kinds share.
"""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.golden.fingerprint import EXPECTED

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="the fingerprints are those of x86-64 processors"
)

ROOT = Path(__file__).parents[2]


def numpy_features() -> tuple[list[str], bool]:
    """Return the features that numpy can disable, and whether it uses AVX-512 here."""
    core: Any = importlib.import_module(f"numpy.{'_core' if np.__version__ >= '2' else 'core'}._multiarray_umath")
    return [name for name in core.__cpu_dispatch__ if core.__cpu_features__[name]], core.__cpu_features__["AVX512F"]


DISPATCHED, HAS_AVX512 = numpy_features()
NUMPY_AVX512 = " ".join(name for name in DISPATCHED if name.startswith("AVX512") or name == "X86_V4")
needs_avx512 = pytest.mark.skipif(
    not HAS_AVX512,
    reason="this processor has no AVX-512 to switch off; that its landmarks have the committed fingerprint is tested",
)

LIBRARIES = {
    "litert": [
        pytest.param({}, id="as it is"),
        pytest.param({"NPY_DISABLE_CPU_FEATURES": NUMPY_AVX512}, id="numpy without AVX-512", marks=needs_avx512),
        pytest.param({"OPENCV_CPU_DISABLE": "AVX512_SKX"}, id="OpenCV without AVX-512", marks=needs_avx512),
        pytest.param(
            {"NPY_DISABLE_CPU_FEATURES": " ".join(DISPATCHED), "OPENCV_CPU_DISABLE": "AVX512_SKX,AVX2,AVX,FP16,FMA3"},
            id="numpy and OpenCV without AVX2",
        ),
    ],
    "torch": [
        pytest.param({}, id="as it is"),
        pytest.param(
            {
                "NPY_DISABLE_CPU_FEATURES": NUMPY_AVX512,
                "ONEDNN_MAX_CPU_ISA": "AVX2",
                "ATEN_CPU_CAPABILITY": "avx2",
                "MKL_ENABLE_INSTRUCTIONS": "AVX2",
            },
            id="torch and oneDNN without AVX-512",
            marks=needs_avx512,
        ),
    ],
}


def fingerprint(engine: str, variant: str, environment: dict[str, str]) -> str:
    """Return the fingerprint that a process with these variables computes, free of those of this process."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("NPY_", "ONEDNN_", "OPENCV_"))
    }
    command = [sys.executable, "-m", "tests.golden.fingerprint", engine, variant]
    done = subprocess.run(
        command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("face_points", ["468", "478"])
@pytest.mark.parametrize("environment", LIBRARIES["litert"])
def test_litert_gives_the_committed_bits(environment: dict[str, str], face_points: str, weights: Path) -> None:
    assert fingerprint("litert", face_points, environment) == EXPECTED["all", face_points]


@pytest.mark.slow
@pytest.mark.parametrize("face_points", ["468", "478"])
@pytest.mark.parametrize("environment", LIBRARIES["torch"])
def test_torch_gives_the_committed_bits(environment: dict[str, str], face_points: str, weights: Path) -> None:
    pytest.importorskip("torch")
    assert fingerprint("torch", face_points, environment) == EXPECTED["all", face_points]


@pytest.mark.parametrize("variant", ["lite", "heavy", "pose"])
@pytest.mark.parametrize("engine", ["litert", pytest.param("torch", marks=pytest.mark.slow)])
def test_other_pose_networks_give_the_committed_bits(engine: str, variant: str, all_weights: Path) -> None:
    if engine == "torch":
        pytest.importorskip("torch")
    assert fingerprint(engine, variant, {}) == EXPECTED["all", variant]
