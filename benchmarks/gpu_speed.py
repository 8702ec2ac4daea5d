"""The fourth step of `benchmarks.gpu`: the device's limits, then frames per second beside them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial, reduce
from operator import add

import numpy as np
import torch

from benchmarks.gpu_cases import Case
from benchmarks.gpu_limits import captured, measure_limits, seconds_per_call
from benchmarks.gpu_measure import (
    count_networks,
    counting,
    network_calls,
    pipeline_call,
    time_end_to_end,
    time_pipeline,
)
from benchmarks.gpu_report import STAGES, rates_chapter, roofline_chapter
from benchmarks.gpu_results import Chapter, Kernels, Limits, Rate, Work
from benchmarks.gpu_task import GpuTask, Record, usable_kernels
from benchmarks.table import Table
from phoenix_ray.models.holistic.torch_engine.device import numerics
from phoenix_ray.models.holistic.torch_engine.engine import HolisticTorchTracking

STATIC, TRACKING = Case("static-468"), Case("tracking-468", mode="tracking")


def run(task: GpuTask, record: Record) -> None:
    """Measure the limits, then the rates; those that matter most first."""
    limits = record.attempt(
        "the device's limits",
        lambda: measure_limits(task.device, task.precisions, task.frames, task.threads, task.least_seconds),
    )
    if limits is None:
        return
    frame_bytes = statistics.fmean(image.nbytes for image in task.frames.images)
    record.put(roofline_chapter(limits), limits=asdict(limits), frame_bytes=frame_bytes)
    kernels, objection = usable_kernels(task.device)
    if objection:
        record.leave_out(f"rates of the kernels of this package: {objection}")
    rates: dict[Rate, Rate] = {}
    stage_rows: list[tuple[str, ...]] = []

    def put(case: Rate, rate: Rate) -> None:
        rates[case] = rate
        shown = sorted(rates.values(), key=lambda rate: (rate.kernels, rate.precision, rate.batch_size))
        record.put(rates_chapter(shown), rates=[asdict(rate) for rate in shown])

    for case in _plan(task, kernels):
        name = f"{case.kernels}, {case.precision}, batch size {case.batch_size}"
        rate = record.attempt(f"{name}: networks", partial(_time_networks, task, record, case)) or case
        put(case, rate)
        rate = record.attempt(f"{name}: pipeline", partial(_time_model, task, rate)) or rate
        put(case, rate)
        rate = record.attempt(f"{name}: on the device", partial(_time_on_device, task, record, rate)) or rate
        put(case, rate)
        if case.precision == "exact" and case.batch_size == task.batch_sizes[0]:
            tracked = record.attempt(f"{name}: tracking", partial(_time_tracking, task, rate))
            put(case, replace(rate, tracking=tracked))
            measure = partial(_stage_cells, task, case, limits)
            stage_rows += record.attempt(f"{name}: each network", measure) or []
            record.put(_stages(stage_rows))


def _plan(task: GpuTask, kernels: tuple[Kernels, ...]) -> Iterator[Rate]:
    """Yield what to measure: all precisions in the first batch size, 'exact' by all kernels, then other sizes."""
    for batch_size in task.batch_sizes:
        for precision in task.precisions:
            yield Rate(kernels[0], precision, batch_size)
        if batch_size == task.batch_sizes[0]:
            for which in kernels[1:]:
                yield Rate(which, "exact", batch_size)


def _time_networks(task: GpuTask, record: Record, case: Rate) -> Rate:
    with torch.inference_mode(), numerics(case.precision):
        calls = network_calls(case.kernels, task.weights, case.precision, case.batch_size, task.device)
        work = count_networks(case.kernels, task.weights, case.precision, calls, case.batch_size)

        def run_all() -> list[object]:
            return [call() for call in calls.values()]

        networks = case.batch_size / seconds_per_call(run_all, task.device, task.least_seconds)
        rate = replace(case, networks=networks, network_work=reduce(add, work.values()))
        if task.device.type == "cuda":
            subject = f"{case.kernels}, {case.precision}, batch size {case.batch_size}: networks as a graph"
            replayed = record.attempt(subject, partial(_time_replay, task, run_all))
            rate = replace(rate, replayed=None if replayed is None else case.batch_size / replayed)
    return rate


def _time_replay(task: GpuTask, run_all: Callable[[], object]) -> float:
    return seconds_per_call(captured(run_all), task.device, task.least_seconds)


def _time_model(task: GpuTask, rate: Rate) -> Rate:
    on_gpu = task.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(task.device)
    images = task.frames.repeated(rate.batch_size)
    with closing(task.load(rate.kernels, rate.precision, rate.batch_size, STATIC)) as model:
        seconds = time_pipeline(model, images, task.device, task.least_seconds)
        end_to_end = time_end_to_end(model, task.frames.pictures, task.threads, task.least_seconds)
    memory = torch.cuda.max_memory_allocated(task.device) / 2**20 if on_gpu else None
    return replace(
        rate,
        pipeline=1 / seconds,
        end_to_end=1 / end_to_end,
        memory_mb=memory,
    )


def _time_on_device(task: GpuTask, record: Record, rate: Rate) -> Rate:
    settings = task.settings(rate.kernels, rate.precision, rate.batch_size, STATIC)
    with torch.inference_mode(), numerics(rate.precision):
        call = pipeline_call(settings, task.weights, task.frames.repeated(rate.batch_size), task.device)
        if call is None:
            return rate
        seconds = seconds_per_call(call, task.device, task.least_seconds)
        with counting() as counter:
            call()
        operations = rate.network_work.operations if rate.network_work else counter.operations / rate.batch_size
        work = Work(operations, counter.bytes_moved / rate.batch_size, counter.launches)
        rate = replace(rate, started=rate.batch_size / seconds, pipeline_work=work)
        if task.device.type == "cuda":
            subject = f"{rate.kernels}, {rate.precision}, batch size {rate.batch_size}: pipeline as a graph"
            replayed = record.attempt(subject, partial(_time_replay, task, call))
            rate = replace(rate, started_replayed=None if replayed is None else rate.batch_size / replayed)
    return rate


def _time_tracking(task: GpuTask, rate: Rate) -> float:
    """Return frames per second in tracking mode, all videos on their way: the detector is not needed."""
    images = task.frames.repeated(rate.batch_size)
    with closing(task.load(rate.kernels, rate.precision, rate.batch_size, TRACKING)) as model:
        assert isinstance(model, HolisticTorchTracking)
        fresh = np.full((rate.batch_size, model.state_size), np.nan, np.float32)
        _, states = model.track(images, fresh)
        seconds = seconds_per_call(lambda: model.track(images, states), task.device, task.least_seconds)
    return rate.batch_size / seconds


def _stage_cells(task: GpuTask, case: Rate, limits: Limits) -> list[tuple[str, ...]]:
    """Return a row for each network: its time, its work, and the time that the device's limits would allow."""
    rows = []
    with torch.inference_mode(), numerics(case.precision):
        calls = network_calls(case.kernels, task.weights, case.precision, case.batch_size, task.device)
        works: Mapping[str, Work] = count_networks(case.kernels, task.weights, case.precision, calls, case.batch_size)
        for name, call in calls.items():
            timed = captured(call) if task.device.type == "cuda" else call
            seconds = seconds_per_call(timed, task.device, task.least_seconds / 2) / case.batch_size
            work = works[name]
            bound = max(work.operations / limits.operations(case.precision), work.bytes_moved / limits.memory)
            figures = (1e6 * seconds, 1e6 * bound, work.operations / 1e6, work.bytes_moved / 1e6)
            cells = (f"{value:,.1f}" for value in figures)
            counts = (str(work.launches), f"{bound / seconds:.0%}")
            rows.append((name, case.kernels, case.precision, str(case.batch_size), *cells, *counts))
    return rows


def _stages(rows: list[tuple[str, ...]]) -> Chapter:
    head = (
        "network",
        "kernels",
        "precision",
        "batch",
        "µs a frame",
        "bound µs",
        "MFLOP",
        "MB",
        "launches",
        "bound / time",
    )
    words = (
        "Times of captured graphs on a GPU. The bound is the time that operations or bytes need at the measured "
        "limits, whichever is longer; bytes are what operators or kernels read and write."
    )
    return Chapter(STAGES, words, Table(head, rows))
