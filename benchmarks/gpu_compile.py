"""The first step of `benchmarks.gpu`: compiles the package's kernels, on many cores at once.

Triton compiles a kernel when it is first started, one after the other, and keeps it on disk. There are hundreds, on
which the steps that follow would spend their minutes; so here each network is started in a process of its own, and then
each whole pipeline.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from functools import partial
from multiprocessing import get_context

import numpy as np
import torch

from benchmarks.gpu_cases import Case
from benchmarks.gpu_measure import network_calls, stages
from benchmarks.gpu_report import COMPILATION
from benchmarks.gpu_results import Chapter
from benchmarks.gpu_task import GpuTask, Record, usable_kernels
from benchmarks.machine import this_machine
from benchmarks.table import Table
from phoenix_ray.models.holistic.torch_engine.device import numerics
from phoenix_ray.models.holistic.torch_engine.engine import HolisticTorchTracking
from phoenix_ray.setting_types import Precision

# What, and in which precision → a function that starts it and returns the seconds that it took. It can be pickled.
Starts = Mapping[tuple[str, Precision], Callable[[], float]]


def run(task: GpuTask, record: Record) -> None:
    """Start each network once in each precision, then the pipeline of each case."""
    kernels, objection = usable_kernels(task.device)
    if "triton" not in kernels:
        record.leave_out(f"compiling the kernels of this package: {objection}")
        return
    networks: Starts = {
        (f"network {stage.name}", precision): partial(start_network, task, stage.name, precision)
        for precision in task.precisions
        for stage in stages()
    }
    pipelines: Starts = {
        (f"pipeline {case.name}", precision): partial(start_pipeline, task, case, precision)
        for case in task.cases
        for precision in (task.precisions if case == task.cases[0] else task.precisions[:1])
    }
    rows: list[tuple[str, ...]] = []
    # A forked process could not use the GPU if this one has.
    with ProcessPoolExecutor(this_machine().cores, get_context("spawn")) as pool:
        for starts in (networks, pipelines):
            begun = {pool.submit(start): name for name, start in starts.items()}
            for future in as_completed(begun):
                name, precision = begun[future]
                seconds = record.attempt(f"compiling {name}, {precision}", future.result)
                if seconds is not None:
                    rows.append((name, precision, f"{seconds:.1f}"))
                    record.put(_chapter(rows))


def start_network(task: GpuTask, name: str, precision: Precision) -> float:
    """Run a network once on a batch and return the seconds that it took."""
    with torch.inference_mode(), numerics(precision):
        call = network_calls("triton", task.weights, precision, task.batch_sizes[0], task.device)[name]
        began = time.perf_counter()
        call()
        if task.device.type == "cuda":
            torch.cuda.synchronize(task.device)
    return time.perf_counter() - began


def start_pipeline(task: GpuTask, case: Case, precision: Precision) -> float:
    """Run a batch through the engine, in tracking mode with and without states, and return the seconds that it took."""
    images = task.frames.repeated(task.batch_sizes[0])
    began = time.perf_counter()
    with closing(task.load("triton", precision, task.batch_sizes[0], case)) as model:
        if isinstance(model, HolisticTorchTracking):
            states = np.full((len(images), model.state_size), np.nan, np.float32)
            for _ in range(2):
                _, states = model.track(images, states)
        else:
            model.estimate(images)
    return time.perf_counter() - began


def _chapter(rows: list[tuple[str, ...]]) -> Chapter:
    words = "Seconds until it has run for the first time, with Triton's cache on disk as it was found."
    return Chapter(COMPILATION, words, Table(("what", "precision", "seconds"), sorted(rows)))
