"""The step of `benchmarks.gpu` before all others: compiles the kernels of the networks, on many cores at once.

Triton compiles a kernel when it is first started, one after the other, and keeps it on disk. A network has dozens, so
the steps that follow would spend their minutes on it; here each network is started in a process of its own.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.gpu_measure import network_calls, stages
from benchmarks.gpu_report import COMPILATION
from benchmarks.gpu_results import Chapter, Kernels
from benchmarks.gpu_task import GpuTask, Record, usable_kernels
from benchmarks.machine import this_machine
from benchmarks.table import Table
from phoenix_ray.models.holistic.torch_engine.engine import numerics
from phoenix_ray.setting_types import Precision


def run(task: GpuTask, record: Record) -> None:
    """Start each network once, in each precision."""
    kernels, objection = usable_kernels(task.device)
    if objection:
        record.leave_out(f"compiling the kernels of this package: {objection}")
        return
    networks = [(precision, stage.name) for precision in task.precisions for stage in stages()]
    rows: list[tuple[str, ...]] = []
    # Processes that are forked have no use of a GPU that their parent has used.
    with ProcessPoolExecutor(min(this_machine().cores, len(networks)), get_context("spawn")) as pool:
        begun = {
            pool.submit(start_network, kernels[0], task.weights, *network, task.batch_sizes[0], task.device): network
            for network in networks
        }
        for future in as_completed(begun):
            precision, name = begun[future]
            seconds = record.attempt(f"compiling {name}, {precision}", future.result)
            if seconds is not None:
                rows.append((name, precision, f"{seconds:.1f}"))
                record.put(_chapter(rows))


def start_network(
    kernels: Kernels, weights: Path, precision: Precision, name: str, batch_size: int, device: torch.device
) -> float:
    """Run a network once and return the seconds that it took."""
    with torch.inference_mode(), numerics(precision):
        call = network_calls(kernels, weights, precision, batch_size, device)[name]
        began = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _chapter(rows: list[tuple[str, ...]]) -> Chapter:
    words = "Seconds until a network has run for the first time, with Triton's cache on disk as it was found."
    return Chapter(COMPILATION, words, Table(("network", "precision", "seconds"), sorted(rows)))
