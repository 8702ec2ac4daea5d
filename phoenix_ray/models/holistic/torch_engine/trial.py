"""Tries torch on a worker's GPU before a new dataset is begun: whether its landmarks are right, and how fast it is.

`holistic.entry` offers `try_engine` and `try_batch_sizes`, and `cluster` runs one of them where a worker would run. A
measured batch size is never the same twice; so it is recorded with the dataset, and a resume does not measure.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.agreement import PartAgreement, agree_all
from phoenix_ray.models.base import LandmarkBatch, PoseModel, TrialConditions, TrialDecision
from phoenix_ray.models.holistic.batching import (
    LEAST_TRIED,
    BatchRate,
    batch_size,
    choose_batch,
    is_batch_size_open,
    is_worth_growing,
    memory_for_a_worker,
    sizes_to_try,
)
from phoenix_ray.models.holistic.litert_engine.engine import HolisticLitert
from phoenix_ray.models.holistic.parity import largest_distance, objection_to_gpu
from phoenix_ray.models.holistic.torch_engine.device import choose_device
from phoenix_ray.models.holistic.torch_engine.engine import OUT_OF_MEMORY, HolisticTorch

Images = Sequence[NDArray[np.uint8]]


# No size is begun after this time, in which nothing is compiled. Five sizes of a second each are done before, unless
# the device is slow; then small sizes keep it busy.
ALL_SIZES_SECONDS = 10.0
# A size is measured for this long and for at least this many calls; their median counts.
ONE_SIZE_SECONDS = 1.0
LEAST_CALLS = 3
# Calls before the clock starts: the first chooses kernels, the second finds memory allocated.
WARM_UP_CALLS = 2


@dataclass(frozen=True, slots=True)
class DeviceRates:
    """How fast a device computes, by batch size.

    Attributes:
        device: Its name.
        rates: The rate of each size that was tried.
        best: The size to take; None where none fits into a worker's share of memory.
    """

    device: str
    rates: tuple[BatchRate, ...]
    best: BatchRate | None

    def __str__(self) -> str:
        rates = ", ".join(f"{rate.rate:,.0f} with {rate.batch_size}" for rate in self.rates)
        return f"frames/s on {self.device}: {rates or 'none fitted into memory'}"


def try_batch_sizes(settings: ModelSettings, weights: Path, conditions: TrialConditions) -> TrialDecision:
    """Decide `model.batch_size` alone, where the settings name engine torch.

    Where no size fits, the decision is the smallest, which the engine halves until it fits. Raises what
    `measure_device` raises.
    """
    measured = measure_device(settings, weights, conditions)
    size = measured.best.batch_size if measured.best else LEAST_TRIED
    decided = settings.model_copy(update={"batch_size": size})
    return TrialDecision(decided, f"Batch size {size}, as measured: {measured}")


def try_engine(
    torch_settings: ModelSettings, litert_settings: ModelSettings, weights: Path, conditions: TrialConditions
) -> TrialDecision:
    """Decide between torch and the CPU engine, first by landmarks, then by speed; also the batch size of torch.

    Raises:
        ModelError: An engine cannot be loaded.
        RuntimeError: A library of the GPU fails.
    """
    measured = measure_device(torch_settings, weights, conditions)
    best = measured.best
    if best is None:
        reason = "a batch does not fit into a worker's share of its memory"
        return _keep_cpu_engine(litert_settings, measured.device, reason)
    if is_batch_size_open(torch_settings):
        torch_settings = torch_settings.model_copy(update={"batch_size": best.batch_size})
    expected, cpu_rate = _run_cpu_engine(litert_settings, weights, conditions.images)
    cpu_rate *= conditions.cpu_workers_per_gpu
    parts = _compare(torch_settings, weights, conditions.images, expected)
    objection = objection_to_gpu(parts, best.rate, cpu_rate)
    if objection:
        return _keep_cpu_engine(litert_settings, measured.device, objection)
    return TrialDecision(
        torch_settings,
        f"Engine torch on {measured.device}: the landmarks of {len(conditions.images)} frames are those of the CPU "
        f"engine (at most {largest_distance(parts):.2g} px apart); {best.rate:,.0f} frames/s with batches of "
        f"{best.batch_size}, against {cpu_rate:,.0f} of the CPU workers in its place",
    )


def _keep_cpu_engine(settings: ModelSettings, device: str, reason: str) -> TrialDecision:
    return TrialDecision(
        settings,
        f"Engine litert, since torch was tried on {device} (model.engine=torch takes it all the same): {reason}",
    )


def _run_cpu_engine(settings: ModelSettings, weights: Path, images: Images) -> tuple[LandmarkBatch, float]:
    """Return the landmarks of the CPU engine, and its frames per second."""
    with closing(HolisticLitert(settings, weights)) as model:
        model.estimate(images[:1])
        began = time.perf_counter()
        found = model.estimate(images)
        return found, len(images) / (time.perf_counter() - began)


def _compare(
    settings: ModelSettings, weights: Path, images: Images, expected: LandmarkBatch
) -> tuple[PartAgreement, ...]:
    """Compare torch with what was expected. It computes as in a worker: libraries choose kernels for full batches."""
    with closing(HolisticTorch(settings, weights)) as model:
        whole = -(-len(images) // model.batch_size) * model.batch_size
        found = model.estimate([images[index % len(images)] for index in range(whole)])
        points = {name: values[: len(images)] for name, values in found.points.items()}
        sizes = np.array([(image.shape[1], image.shape[0]) for image in images], np.int32)
        return agree_all(model.layout, sizes, expected, LandmarkBatch(points, {}))


def measure_device(settings: ModelSettings, weights: Path, conditions: TrialConditions) -> DeviceRates:
    """Return the rates of a device, from about ten seconds of measurement.

    Args:
        settings: The settings of a worker's model. If they give a batch size, only that is measured.
        weights: Folder of the weights.
        conditions: Batches are made of its images, and grow until they hold a whole video. Free memory is divided among
            its workers.

    Raises:
        ModelError: As `HolisticTorch`: this machine lacks the device, or weights are missing.
        torch.OutOfMemoryError: Memory is too small for a single frame.
    """
    device = choose_device(settings.device)
    limit = _memory_limit(device, settings.memory_fraction, conditions.workers_per_gpu)
    is_open = is_batch_size_open(settings)
    sizes = sizes_to_try(conditions.video_frames) if is_open else [batch_size(settings)]
    largest = settings.model_copy(update={"batch_size": sizes[-1]})
    with closing(HolisticTorch(largest, weights)) as model:
        rates = measure_sizes(model, conditions.images, sizes, device, limit)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return DeviceRates(name, tuple(rates), choose_batch(rates, limit))


def measure_sizes(
    model: PoseModel,
    images: Sequence[NDArray[np.uint8]],
    sizes: Sequence[int],
    device: torch.device,
    memory_limit: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[BatchRate]:
    """Measure size after size until a size does not fit or is not faster, or time is up.

    Args:
        model: A model that takes batches of up to the largest size.
        images: RGB uint8 (height, width, 3); batches repeat them.
        sizes: Batch sizes, ascending.
        device: The model's device.
        memory_limit: Bytes that a batch and the model may take.
        clock: Returns seconds.
    """
    rates: list[BatchRate] = []
    # A new machine compiles our kernels now, which takes longer than all that is measured; each batch size uses them.
    model.estimate(images[:1])
    began = clock()
    for size in sizes:
        rate = _measure([images[index % len(images)] for index in range(size)], model, device, clock)
        if rate is None:
            break
        rates.append(rate)
        if not is_worth_growing(rates, memory_limit) or clock() - began > ALL_SIZES_SECONDS:
            break
    return rates


def _measure(
    batch: Sequence[NDArray[np.uint8]], model: PoseModel, device: torch.device, clock: Callable[[], float]
) -> BatchRate | None:
    """Return the rate of one batch size, None where the model ran out of memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    durations: list[float] = []
    calls = 0
    while len(durations) < LEAST_CALLS or sum(durations) < ONE_SIZE_SECONDS:
        began = clock()
        found = model.estimate(batch)
        if any(event.startswith(OUT_OF_MEMORY) for event in found.events):
            return None
        calls += 1
        if calls > WARM_UP_CALLS:
            durations.append(clock() - began)
    peak = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0
    return BatchRate(len(batch), len(batch) / statistics.median(durations), peak)


def _memory_limit(device: torch.device, memory_fraction: float, workers: int) -> float:
    if device.type != "cuda":
        return math.inf
    free, total = torch.cuda.mem_get_info(device)
    return memory_for_a_worker(free, total, memory_fraction, workers)
