"""Measures which batch size suits a device: what `model.batch_size=auto` asks once for a new dataset on GPUs.

`engines.HolisticEntry` offers it, and the driver has it run where a worker would run, before it plans. The result is a
measurement, never the same twice; so the size it gives is recorded with the dataset, and a resume does not measure.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from phoenix_ray.config import ModelSettings
from phoenix_ray.models.base import BatchChoice, PoseModel, TypicalVideo
from phoenix_ray.models.holistic.batching import (
    Trial,
    choose_batch_size,
    is_worth_growing,
    memory_for_a_worker,
    sizes_to_try,
)
from phoenix_ray.models.holistic.torch_engine import HolisticTorch
from phoenix_ray.models.holistic.torch_numerics import choose_device

# No size is begun after this time. Five sizes of a second each are through before, unless the device is slow; then the
# small sizes keep it busy.
PROBE_SECONDS = 10.0
# A trial goes on for this long, and for this many calls at least, of which the median counts.
TRIAL_SECONDS = 1.0
LEAST_CALLS = 3
# Calls before the clock starts: the first chooses kernels, the second finds memory allocated.
WARM_UP_CALLS = 2


def probe_batch_size(settings: ModelSettings, weights: Path, video: TypicalVideo, workers: int) -> BatchChoice:
    """Return the batch size for a device, from about ten seconds of measurement.

    Args:
        settings: Of the model; device, precision, face points and memory fraction are a worker's.
        weights: Folder of the weights.
        video: Frames are made as large as its, and batches grow until they take all of it.
        workers: Workers that will share the device; the memory that is free is divided among them.

    Raises:
        ModelError: What `HolisticTorch` raises: no such device, no weights.
        torch.OutOfMemoryError: Memory does not suffice for a single frame.
    """
    device = choose_device(settings.device)
    limit = _memory_limit(device, settings.memory_fraction, workers)
    sizes = sizes_to_try(video.frames)
    # Which landmarks are found does not matter to the time: networks see as many crops whatever a frame shows.
    image = np.random.default_rng(0).integers(0, 256, (video.height, video.width, 3), dtype=np.uint8)
    largest = settings.model_copy(update={"batch_size": sizes[-1], "enable_batching": True})
    with closing(HolisticTorch(largest, weights)) as model:
        trials = run_trials(model, image, sizes, device, limit)
    rates = ", ".join(f"{trial.rate:,.0f} with {trial.batch_size}" for trial in trials) or "none fitted into memory"
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    measured = f"frames/s of {video.width}x{video.height} on {where}: {rates}"
    return BatchChoice(choose_batch_size(trials, limit), measured)


def run_trials(
    model: PoseModel,
    image: NDArray[np.uint8],
    sizes: Sequence[int],
    device: torch.device,
    memory_limit: float,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Trial]:
    """Return what was measured, size after size, until one does not fit, is no faster, or time is over.

    Args:
        model: Takes up to the largest size.
        image: RGB uint8 (height, width, 3), which fills the batches.
        sizes: Ascending.
        device: The model's.
        memory_limit: Bytes that a batch and the model may take.
        clock: Gives seconds.
    """
    trials: list[Trial] = []
    began = clock()
    for size in sizes:
        trial = _try([image] * size, model, device, clock)
        if trial is None:
            break
        trials.append(trial)
        if not is_worth_growing(trials, memory_limit) or clock() - began > PROBE_SECONDS:
            break
    return trials


def _try(
    images: Sequence[NDArray[np.uint8]], model: PoseModel, device: torch.device, clock: Callable[[], float]
) -> Trial | None:
    """Return what was measured of one size, None where the model ran out of memory."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    durations: list[float] = []
    calls = 0
    while len(durations) < LEAST_CALLS or sum(durations) < TRIAL_SECONDS:
        began = clock()
        found = model.estimate(images)
        if found.events:
            return None
        calls += 1
        if calls > WARM_UP_CALLS:
            durations.append(clock() - began)
    peak = torch.cuda.max_memory_reserved(device) if device.type == "cuda" else 0
    return Trial(len(images), len(images) / statistics.median(durations), peak)


def _memory_limit(device: torch.device, memory_fraction: float, workers: int) -> float:
    if device.type != "cuda":
        return math.inf
    free, total = torch.cuda.mem_get_info(device)
    return memory_for_a_worker(free, total, memory_fraction, workers)
