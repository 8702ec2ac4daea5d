"""The CPU's limit: how fast one core multiplies matrices and copies memory, and how much of that the networks need.

A network cannot run faster than its operations divided by the core's matrix rate. The share of that rate that it
reaches shows how much a better implementation of the same network could gain.

The rate is measured, not computed from clock and vector width, which do not account for turbo and for processors that
split wide vectors. It is the best of many short products whose matrices stay in the core's cache: a large product waits
for memory, and a long one is interrupted on a busy machine, so both give less than networks reach.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

NETWORKS = ("pose_detection", "pose_landmark", "hand_recrop", "hand_landmark", "face_detection", "face_landmark")

# Runs in its own process, because BLAS reads the number of threads when it is loaded.
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

rates = []
for side, repeats in ((192, 4000), (256, 2000), (384, 600), (512, 250), (768, 60)):
    left, right = (np.random.default_rng(seed).random((side, side), np.float32) for seed in (1, 2))
    product = np.empty_like(left)
    rates.append(2 * side**3 / best(lambda: np.matmul(left, right, out=product), repeats) / 1e9)
source = np.ones(32 * 1024 * 1024, np.float32)
copied = np.empty_like(source)
copy = best(lambda: np.copyto(copied, source), 8)
print(json.dumps({"gigaflops": max(rates), "gigabytes": 2 * source.nbytes / copy / 1e9}))
"""
_ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one core can do.

    Attributes:
        gigaflops: 10^9 float32 operations per second: the most that a matrix product or a network reached.
        gigabytes: 10^9 bytes read and written per second by a copy of 128 MB.
        operations: Network → operations for one crop.
        set_by: The network that was faster than every matrix product; empty if none was.
    """

    gigaflops: float
    gigabytes: float
    operations: Mapping[str, float]
    set_by: str = ""

    def least_ms(self, network: str, crops: float) -> float:
        """Return the milliseconds that a network needs at least for so many crops."""
        return self.operations[network] * crops / self.gigaflops / 1e6

    def raised(self, rates: Mapping[str, float]) -> Ceiling:
        """Return the ceiling raised to the fastest of these rates (10^9 operations per second), if it is faster.

        BLAS may use narrower vectors than XNNPACK on some processors. A network that beats every product is then the
        best available measurement of the core's rate.
        """
        fastest = max(rates, key=rates.__getitem__, default="")
        if not fastest or rates[fastest] <= self.gigaflops:
            return self
        return replace(self, gigaflops=rates[fastest], set_by=fastest)

    @property
    def source(self) -> str:
        """What reached the rate, in words."""
        return f"the network {self.set_by}" if self.set_by else "a float32 matrix product"


def measure_ceiling() -> Ceiling:
    """Measure one core of this machine."""
    environment = os.environ | _ONE_THREAD
    done = subprocess.run([sys.executable, "-c", _MEASURE], env=environment, capture_output=True, text=True, check=True)
    return Ceiling(operations=count_operations(), **json.loads(done.stdout))


def count_operations() -> dict[str, float]:
    """Return the operations of each network for one crop; a multiplication with its addition counts as two.

    The networks are counted as engine litert runs them, without the dead channels that it removes. Activations, sums
    and resizing are not counted, so the least time stays below what any implementation needs.
    """
    from phoenix_ray.models.holistic import tflite_surgery
    from phoenix_ray.models.holistic.litert_engine import networks
    from phoenix_ray.models.weights import ensure_installed

    with _recorded(tflite_surgery, "pack_model") as models:
        networks.LitertNetworks(ensure_installed(), face_points=468, threads=1)
    return {name: float(sum(_products(model))) for name, model in zip(NETWORKS, models, strict=True)}


@contextmanager
def _recorded(module: Any, name: str) -> Iterator[list[Any]]:
    """Yield a list that collects the first argument of every call to a module's function in this block."""
    original, arguments = getattr(module, name), []

    def call(argument: Any) -> Any:
        arguments.append(argument)
        return original(argument)

    setattr(module, name, call)
    try:
        yield arguments
    finally:
        setattr(module, name, original)


def _products(model: Any) -> Iterator[float]:
    """Yield the operations of every layer of a `.tflite` model that multiplies by weights."""
    from ai_edge_litert import schema_py_generated as schema

    from phoenix_ray.models.holistic.tflite import builtin_code

    graph = model.subgraphs[0]
    for operator in graph.operators:
        weights = [int(size) for size in graph.tensors[operator.inputs[1]].shape] if len(operator.inputs) > 1 else []
        values = math.prod(graph.tensors[operator.outputs[0]].shape)
        code = builtin_code(model.operatorCodes[operator.opcodeIndex])
        if code == schema.BuiltinOperator.CONV_2D:
            _, height, width, channels = weights
            yield 2.0 * values * height * width * channels
        elif code == schema.BuiltinOperator.DEPTHWISE_CONV_2D:
            _, height, width, _ = weights
            yield 2.0 * values * height * width
        elif code == schema.BuiltinOperator.FULLY_CONNECTED:
            yield 2.0 * values * weights[1]
