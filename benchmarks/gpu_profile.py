"""The last step of `benchmarks.gpu`: which kernels a batch runs, and how long each takes."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_limits import WARM_UP_CALLS, wait_for
from benchmarks.gpu_report import PROFILE
from benchmarks.gpu_results import Chapter, Kernels
from benchmarks.gpu_speed import STATIC
from benchmarks.gpu_task import GpuTask, Record, usable_kernels
from benchmarks.table import Table

MOST_KERNELS = 30
# Names of C++ templates run to hundreds of characters.
LONGEST_NAME = 90


def run(task: GpuTask, record: Record) -> None:
    """Profile a batch of the first size in 'exact' with each of the kernels."""
    kernels, objection = usable_kernels(task.device)
    if objection:
        record.leave_out(f"profile of the kernels of this package: {objection}")
    rows: list[tuple[str, ...]] = []
    data: dict[str, list[dict[str, Any]]] = {}
    for which in kernels:
        found = record.attempt(f"profile, {which}", partial(profile_batch, task, which))
        if found is None:
            continue
        data[which] = found
        total = sum(each["microseconds"] for each in found) or 1.0
        calls = sum(each["calls"] for each in found)
        rows.append((which, "all", str(calls), f"{total:,.0f}", "100%"))
        rows += [
            (which, _shortened(each["name"]), str(each["calls"]), f"{each['microseconds']:,.0f}",
             f"{each['microseconds'] / total:.1%}")
            for each in found[:MOST_KERNELS]
        ]  # fmt: skip
        record.put(_chapter(rows), profile=data)


def profile_batch(task: GpuTask, kernels: Kernels) -> list[dict[str, Any]]:
    """Return name, calls and microseconds of each kernel of a batch, off a GPU of each operator; the longest first."""
    size = task.batch_sizes[0]
    images = task.frames.repeated(size)
    on_gpu = task.device.type == "cuda"
    with closing(task.load(kernels, "exact", size, STATIC)) as model:
        for _ in range(WARM_UP_CALLS):
            model.estimate(images)
        wait_for(task.device)
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        with profile(activities=activities) as profiler:
            model.estimate(images)
            wait_for(task.device)
    found = []
    for event in profiler.key_averages():
        on_device = event.device_type == torch.autograd.DeviceType.CUDA
        if on_device != on_gpu:
            continue
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        found.append({"name": event.key, "calls": event.count, "microseconds": float(microseconds)})
    return sorted(found, key=lambda each: -each["microseconds"])


def _chapter(rows: list[tuple[str, ...]]) -> Chapter:
    return Chapter(
        PROFILE,
        f"One batch of the pipeline by torch.profiler, the {MOST_KERNELS} that take longest.",
        Table(("kernels", "name", "calls", "µs a batch", "share"), rows),
    )


def _shortened(name: str) -> str:
    plain = name.replace("|", "/")
    return plain if len(plain) <= LONGEST_NAME else f"{plain[: LONGEST_NAME - 1]}…"
