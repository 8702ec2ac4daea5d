"""Tries torch on a worker's GPU before a new dataset is begun: whether its landmarks are right, and how fast it is.

`engines.HolisticEntry.trial` offers both functions here, and `cluster.auto` has one of them run where a worker would.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.config import ModelSettings
from phoenix_ray.models.agreement import PartAgreement, agree_all
from phoenix_ray.models.base import LandmarkBatch, TrialConditions, Verdict
from phoenix_ray.models.holistic.batching import LEAST_TRIED, is_batch_size_open
from phoenix_ray.models.holistic.engine_choice import largest_distance, objection
from phoenix_ray.models.holistic.litert import HolisticLitert
from phoenix_ray.models.holistic.torch_batch_size import measure_device
from phoenix_ray.models.holistic.torch_engine import HolisticTorch

Images = Sequence[NDArray[np.uint8]]


def try_batch_sizes(settings: ModelSettings, weights: Path, conditions: TrialConditions) -> Verdict:
    """Decide `model.batch_size` alone, for an engine that is settled.

    Where no size fits it is the least, which the engine halves until it does. Raises what `measure_device` raises.
    """
    measured = measure_device(settings, weights, conditions)
    size = measured.best.batch_size if measured.best else LEAST_TRIED
    return Verdict(settings.model_copy(update={"batch_size": size}), f"Batch size {size}, as measured: {measured}")


def try_engine(
    candidate: ModelSettings, otherwise: ModelSettings, weights: Path, conditions: TrialConditions
) -> Verdict:
    """Decide between torch and the CPU engine, by landmarks first and speed second; the batch size of torch as well.

    Args:
        candidate: Settings with torch.
        otherwise: The same with the CPU engine.
        weights: Folder of the weights.
        conditions: Its images are what both engines compute.

    Raises:
        ModelError: An engine cannot be loaded.
        RuntimeError: A library of the GPU fails.
    """
    measured = measure_device(candidate, weights, conditions)
    if measured.best is None:
        return _refusal(otherwise, measured.device, "a batch does not fit into a worker's share of its memory")
    best = measured.best
    if is_batch_size_open(candidate):
        candidate = candidate.model_copy(update={"batch_size": best.batch_size})
    expected, cpu_rate = _by_cpu(otherwise, weights, conditions.images)
    cpu_rate *= conditions.cpu_workers_per_gpu
    parts = _compare(candidate, weights, conditions.images, expected)
    against = objection(parts, best.rate, cpu_rate)
    if against:
        return _refusal(otherwise, measured.device, against)
    return Verdict(
        candidate,
        f"Engine torch on {measured.device}: the landmarks of {len(conditions.images)} frames are those of the CPU "
        f"engine (at most {largest_distance(parts):.2g} px apart); {best.rate:,.0f} frames/s with batches of "
        f"{best.batch_size}, against {cpu_rate:,.0f} of the CPU workers in its place",
    )


def _refusal(otherwise: ModelSettings, device: str, against: str) -> Verdict:
    told = f"Engine litert, since torch was tried on {device} (model.engine=torch takes it all the same): {against}"
    return Verdict(otherwise, told)


def _by_cpu(settings: ModelSettings, weights: Path, images: Images) -> tuple[LandmarkBatch, float]:
    """Return the landmarks of the CPU engine, and its frames a second."""
    with closing(HolisticLitert(settings, weights)) as model:
        model.estimate(images[:1])
        began = time.perf_counter()
        found = model.estimate(images)
        return found, len(images) / (time.perf_counter() - began)


def _compare(
    settings: ModelSettings, weights: Path, images: Images, expected: LandmarkBatch
) -> tuple[PartAgreement, ...]:
    """Compare what torch finds as a worker computes it: in full batches, for which libraries choose their kernels."""
    with closing(HolisticTorch(settings, weights)) as model:
        whole = -(-len(images) // model.batch_size) * model.batch_size
        found = model.estimate([images[index % len(images)] for index in range(whole)])
        points = {name: values[: len(images)] for name, values in found.points.items()}
        sizes = np.array([(image.shape[1], image.shape[0]) for image in images], np.int32)
        return agree_all(model.layout, sizes, expected, LandmarkBatch(points, {}))
