"""The CPU's own limit: how fast one core multiplies matrices and copies memory, and what the networks need of it.

A network cannot run faster than its operations at the core's matrix rate. What is reached of that says how much a
better implementation of the same networks could still gain.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

# Runs in a process of its own: BLAS reads the number of threads when it is loaded.
_MEASURE = """
import json, time
import numpy as np

def best(run, repeats):
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return min(seconds)

side = 768
left, right = (np.random.default_rng(seed).random((side, side), np.float32) for seed in (1, 2))
product = np.empty_like(left)
matrix = best(lambda: np.matmul(left, right, out=product), 30)
source = np.ones(32 * 1024 * 1024, np.float32)
copied = np.empty_like(source)
copy = best(lambda: np.copyto(copied, source), 8)
print(json.dumps({"gigaflops": 2 * side**3 / matrix / 1e9, "gigabytes": 2 * source.nbytes / copy / 1e9}))
"""
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one core can do.

    Attributes:
        gigaflops: 10^9 float32 operations a second in a product of two 768 x 768 matrices.
        gigabytes: 10^9 bytes read and written a second when 128 MB are copied.
        operations: Stage of the pipeline → operations for one frame; empty where torch, which counts them, is missing.
    """

    gigaflops: float
    gigabytes: float
    operations: Mapping[str, float]

    def least_ms(self, network: str) -> float | None:
        """Return the milliseconds a frame that a network needs at the matrix rate, None where it is not known."""
        operations = self.operations.get(network)
        return None if operations is None else operations / self.gigaflops / 1e6


def measure_ceiling() -> Ceiling:
    """Measure one core of this machine."""
    environment = os.environ | _ONE_THREAD
    done = subprocess.run([sys.executable, "-c", _MEASURE], env=environment, capture_output=True, text=True, check=True)
    return Ceiling(operations=count_operations(), **json.loads(done.stdout))


def count_operations() -> dict[str, float]:
    """Return the operations of each network for one frame, two for each multiplication with its addition."""
    try:
        from phoenix_ray.bench.gpu_measure import count_work
    except ImportError:
        return {}
    from phoenix_ray.models.weights import ensure_installed

    return {name: work.operations for name, work in count_work(ensure_installed(), 468, "tf32").items()}
