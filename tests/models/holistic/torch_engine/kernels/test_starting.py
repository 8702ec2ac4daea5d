"""Whole pipelines start their kernels as on a GPU, and what is recorded of them is what Triton would compile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.models.holistic.torch_engine.kernels import starting
from tests.models.holistic.torch_engine.kernels.compiling import ROOT


@pytest.mark.slow
def test_triton_starts_every_kernel_of_a_worker_with_the_variants_that_are_recorded(weights: Path) -> None:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    finished = subprocess.run(
        [sys.executable, "-m", starting.__name__, str(weights)],
        stdout=subprocess.PIPE,
        env=environment | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
    )
    assert finished.returncode == 0, "a kernel did not start: see its error above"
    found = json.loads(finished.stdout)
    assert found["started"] > 100
    assert found["only_started"] == found["only_recorded"] == []
