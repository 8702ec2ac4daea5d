"""How many frames go through the torch engine at once: known to the driver, which need not have torch.

`entry` plans with it, `torch_engine.engine` keeps to it. Landmarks depend on it in their last digits, and all workers
of a run must agree, so a size that was measured (`torch_engine.trial`) becomes a setting before anything is planned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import frames_per_call

# The size if none was measured. A PHOENIX video has 116 frames on average, so most go through in one batch: the 3,200
# operations of a batch take as long to launch as dozens of frames take to compute. With frames of 210x260 the tensors
# of such a batch take 2 GB.
GPU_BATCH_SIZE = 128
# On a CPU more frames at once are no faster, only larger.
CPU_BATCH_SIZE = 8
# Videos that are tracked together if the settings leave it open; each is a file that is being decoded. On a CPU, eight
# together cost 15 % less each than one alone: weights stay in the processor's cache, and Python's share is divided.
GPU_TRACKED_TOGETHER, CPU_TRACKED_TOGETHER = 32, 8
# Number of sizes in which batches come that are not full: a GPU needs seconds to choose kernels for each size.
SIZES_OF_BATCHES = 16

# Range of the sizes that a measurement tries. Fewer frames keep no GPU busy; to try more takes too long.
LEAST_TRIED, MOST_TRIED = 8, 512
# A size counts as fast as the fastest if it reaches this share of its rate: repeated measurements differ by as much,
# and smaller batches take less memory and fill up with fewer frames.
NEARLY_BEST = 0.97
# Share of the memory that a batch may take. The rest is for frames larger than the typical one, and for what CUDA
# itself keeps for each process.
MEMORY_TO_USE = 0.9


@dataclass(frozen=True, slots=True)
class BatchRate:
    """How fast a device computes batches of one size.

    Attributes:
        batch_size: Frames per batch.
        rate: Frames per second.
        peak_bytes: Largest memory of the device that model and batch took; 0 where the device does not report it.
    """

    batch_size: int
    rate: float
    peak_bytes: int


def batch_size(settings: ModelSettings) -> int:
    """Return the frames per call."""
    if settings.mode == "tracking":
        return tracking_batch_size(settings)
    return frames_per_call(settings, CPU_BATCH_SIZE if settings.device == "cpu" else GPU_BATCH_SIZE)


def tracking_batch_size(settings: ModelSettings) -> int:
    """Return the videos per call in tracking mode; MediaPipe itself tracks one."""
    if settings.engine == "mediapipe":
        return 1
    on_gpu = settings.engine == "torch" and settings.device != "cpu"
    return frames_per_call(settings, GPU_TRACKED_TOGETHER if on_gpu else CPU_TRACKED_TOGETHER)


def is_batch_size_open(settings: ModelSettings) -> bool:
    """Return whether the settings leave the batch size to a measurement."""
    return settings.batch_size == "auto" and settings.enable_batching


def padded_count(count: int, size: int) -> int:
    """Return to how many frames a batch of `count` is padded, where full batches have `size`."""
    step = max(1, size // SIZES_OF_BATCHES)
    return -(-count // step) * step


def sizes_to_try(frames: int) -> list[int]:
    """Return the batch sizes to measure, ascending, for videos (or the shards they are cut into) of so many frames.

    They are powers of two up to the first that holds such a video whole: batches never cross videos, so larger batches
    would stay unfilled. All are whole steps of `padded_count` for the largest, so one model computes each of them
    without padding.
    """
    largest = min(MOST_TRIED, max(LEAST_TRIED, 2 ** math.ceil(math.log2(frames))))
    return [size for halvings in range(4, -1, -1) if (size := largest >> halvings) >= LEAST_TRIED]


def memory_for_a_worker(free: float, total: float, memory_fraction: float, workers: int) -> float:
    """Return the bytes of a GPU that one worker's model and batches may take.

    Args:
        free: Free bytes of the GPU.
        total: All bytes of the GPU.
        memory_fraction: The setting `model.memory_fraction`, a share of all memory.
        workers: Workers that share the GPU.
    """
    return MEMORY_TO_USE * min(memory_fraction * total, free / workers)


def is_worth_growing(rates: Sequence[BatchRate], memory_limit: float) -> bool:
    """Return whether a larger size may be better: the last was faster than all before it, and fitted."""
    *before, last = rates
    rises = all(NEARLY_BEST * last.rate > earlier.rate for earlier in before)
    return rises and last.peak_bytes <= memory_limit


def choose_batch(rates: Sequence[BatchRate], memory_limit: float) -> BatchRate | None:
    """Return the smallest size that is nearly as fast as the fastest, of those that fit into `memory_limit` bytes."""
    fitting = [rate for rate in rates if rate.peak_bytes <= memory_limit]
    best = max((rate.rate for rate in fitting), default=0.0)
    nearly_best = [rate for rate in fitting if rate.rate >= NEARLY_BEST * best]
    return min(nearly_best, key=lambda rate: rate.batch_size, default=None)
