"""Holds a model's trial (`models.base.Trial`) on a node of the cluster that a worker could run on.

`job` asks for it through `settle`, once for a new dataset. A trial is worth having, not worth failing for: where there
is none, the run takes the settings that hold without.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import GetTimeoutError, RayTaskError

from phoenix_ray.cluster.resources import WorkerPlan, plan_workers
from phoenix_ray.config import DecodeSettings, ModelSettings, Settings
from phoenix_ray.errors import PhoenixRayError, SourceError
from phoenix_ray.models import registry
from phoenix_ray.models.base import Trial, TrialConditions, TrialDecision
from phoenix_ray.sources.base import Source, Video
from phoenix_ray.sources.frames import read_frames

# Videos from the beginning of the listing whose median length is the typical one.
VIDEOS_LOOKED_AT = 32
# Frames for the trial, and from how many videos they are where all of these can be read.
FRAMES, VIDEOS = 48, 12
# Allowed for weights, CUDA's start and the trial itself, beside `cluster.start_seconds` for a node to take it on.
PATIENCE_SECONDS = 120.0


def hold_trial(
    settings: Settings,
    trial: Trial,
    source: Source,
    cluster: Mapping[str, float],
    announce: Callable[[str], None],
) -> ModelSettings:
    """Return the model's settings that the trial decides for, and tell what speaks for them.

    Args:
        settings: Of the run.
        trial: From `registry.trial`.
        source: Its first videos give frames, and the length of a video.
        cluster: Ray's resources of the whole cluster; Ray has started.
        announce: Told the result in a line.

    Raises:
        PhoenixRayError: The trial knows no other settings, and a worker would say the same: the node has no such
            device, or lacks torch or weights; the source cannot be listed; the cluster cannot hold a worker.
    """
    try:
        announce("Trying a GPU, once for this dataset")
        registry.ensure_ready(trial.candidate, announce)
        verdict = _hold_on_a_node(settings, trial, source, cluster)
    except Exception as error:
        # Whatever it is, the drivers and libraries of a GPU included, a trial is no reason to compute nothing.
        if isinstance(error, PhoenixRayError) and trial.fallback == trial.candidate:
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        announce(f"{trial.fallback_notice}: {reason}")
        return trial.fallback
    announce(verdict.reason)
    return verdict.settings


def _hold_on_a_node(settings: Settings, trial: Trial, source: Source, cluster: Mapping[str, float]) -> TrialDecision:
    """Return the verdict of a task that reserves what a worker would.

    Raises:
        TimeoutError: No node had it in time.
        Exception: What the trial raised.
    """
    videos = [video for video in islice(source.videos(), VIDEOS_LOOKED_AT) if isinstance(video, Video)]
    on_gpus, otherwise = (
        plan_workers(settings.cluster, cluster, engine_uses_gpu=registry.facts(model).uses_gpu)
        for model in (trial.candidate, trial.fallback)
    )
    task = _TRIAL.options(**on_gpus.task_options())
    reference = task.remote(trial, videos, settings, cpu_workers_per_gpu(on_gpus, otherwise, cluster))
    patience = settings.cluster.start_seconds + PATIENCE_SECONDS
    try:
        verdict: TrialDecision = ray.get(reference, timeout=patience)
    except RayTaskError as error:
        raise error.cause from None
    except GetTimeoutError:
        ray.cancel(reference, force=True)
        raise TimeoutError(f"no node had done so after {patience:g} s") from None
    return verdict


def cpu_workers_per_gpu(on_gpus: WorkerPlan, otherwise: WorkerPlan, cluster: Mapping[str, float]) -> float:
    """Return how many workers the other plan has for each GPU that the workers of the first take."""
    return otherwise.capacity(cluster) / (on_gpus.capacity(cluster) * on_gpus.gpus)


def _hold(trial: Trial, videos: Sequence[Video], settings: Settings, cpu_workers: float) -> TrialDecision:
    shard_frames = settings.cluster.shard_frames
    images = sample_frames(videos, shard_frames, settings.decode)
    if not images:
        raise LookupError(f"no frame of the first {VIDEOS_LOOKED_AT} videos can be read")
    workers = settings.cluster.workers_per_gpu
    return trial.run(TrialConditions(images, typical_length(videos, shard_frames), workers, cpu_workers))


# A process of its own, which gives the GPU back; a second try would only take longer.
_TRIAL = ray.remote(max_calls=1, max_retries=0)(_hold)


def typical_length(videos: Sequence[Video], shard_frames: int) -> int:
    """Return how many frames a worker mostly has of such videos at once."""
    return max(1, round(statistics.median(min(video.frame_count, shard_frames) for video in videos)))


def sample_frames(videos: Sequence[Video], shard_frames: int, decode: DecodeSettings) -> list[NDArray[np.uint8]]:
    """Return up to `FRAMES` frames from the middle of the first videos, or of their first shards; RGB uint8.

    Signers rest their hands, often out of sight, when a video begins and ends.
    """
    images: list[NDArray[np.uint8]] = []
    each = math.ceil(FRAMES / max(1, min(VIDEOS, len(videos))))
    for video in videos:
        length = min(video.frame_count, shard_frames)
        first = max(0, (length - each) // 2)
        with suppress(SourceError), closing(read_frames(video, first, min(first + each, length), decode)) as frames:
            images += [frame.image for frame in frames if frame.image is not None]
        if len(images) >= FRAMES:
            break
    return images[:FRAMES]
