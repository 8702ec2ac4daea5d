"""What `auto` means for a run: the model's engine, device, architecture and batch size, decided before anything else.

A resumed dataset keeps its recorded settings, whatever the new machines have. A new one takes what the cluster has,
after a trial (`models.base.Trial`) on a worker's node where the model asks for one. A failed trial never fails the run:
it falls back to the settings that need no trial.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from phoenix_ray.cluster.autoscaler import Cluster
from phoenix_ray.cluster.session import RaySession, result_of_task
from phoenix_ray.cluster.worker_plan import WorkerPlan, plan_workers
from phoenix_ray.config import DecodeSettings, Settings
from phoenix_ray.dataset.identity import DatasetIdentity, read_identity
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import DeviceLostError, OutputError, PhoenixRayError, SourceError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import Trial, TrialConditions, TrialDecision
from phoenix_ray.sources.base import Source, Video
from phoenix_ray.sources.frames import read_frames

# Videos from the beginning of the listing whose median length is the typical one.
VIDEOS_LOOKED_AT = 32
# Frames for the trial, and from how many videos they come where all of these can be read.
FRAMES, VIDEOS = 48, 12
# Allowed for weights, CUDA's start, kernels that are compiled on a new machine (70 s on one core, more if it is busy)
# and the trial itself, beside `cluster.start_seconds` for a node to take it on.
PATIENCE_SECONDS = 300.0


def decide_auto(
    settings: Settings, storage: Storage, source: Source, session: RaySession, say: Callable[[str], None]
) -> Settings:
    """Return the settings with the model's `auto` decided; hold the claim on the output meanwhile.

    The claim matters where two drivers start at once. The second is refused before it takes a GPU for a trial of its
    own, and if the first has finished meanwhile, the second finds its decision recorded: a decision made before the
    claim could differ from the recorded one, and its run would be refused. With `run.force` both may decide; then
    `claim_dataset` records the decision of the driver whose worker is ready first, and refuses the other driver.

    Args:
        settings: The user's settings.
        storage: The output, claimed.
        source: Gives frames for a trial.
        session: Started where the decision depends on the cluster.
        say: Receives lines about a trial.

    Raises:
        PhoenixRayError: The model does not exist, or its trial failed in a way in which each worker would fail.
    """

    def resources() -> Mapping[str, float]:
        cluster = session.cluster()
        # Who asks for torch has nodes with GPUs in mind.
        found = cluster.attainable(settings.cluster, expects_gpu=settings.model.engine == "torch")
        is_unknown = cluster.awaits_nodes and cluster.maximum is None and settings.cluster.num_gpus == "auto"
        if is_unknown and not found.get("GPU") and registry.trial(settings.model, has_gpu=True):
            say(
                "No node has a GPU now, and Ray does not say whether one may come: this dataset is begun on CPUs. If "
                "nodes with GPUs may come, say so: model.engine=torch or cluster.num_gpus=N."
            )
        return found

    decision = decide_without_trial(settings, storage, resources)
    if isinstance(decision, Trial):
        decision = run_trial(settings, decision, source, session.cluster(), say)
    return settings.model_copy(update={"model": decision})


def decide_without_trial(
    settings: Settings, storage: Storage, resources: Callable[[], Mapping[str, float]]
) -> ModelSettings | Trial:
    """Return the model's settings with `auto` decided, or the trial that is to decide it.

    Args:
        settings: The user's settings.
        storage: The output; nothing is written.
        resources: Gives the cluster's resources; called only for a dataset that may use GPUs.
    """
    model, recorded = settings.model, _recorded(storage)
    if (
        recorded
        and recorded.model.get("model") == registry.model_name(model)
        and model.engine in ("auto", recorded.model.get("engine"))
    ):
        return _as_recorded(model, recorded)
    may_use_gpus = model.engine in ("auto", "torch", "onnx") and settings.cluster.num_gpus != 0
    has_gpu = may_use_gpus and resources().get("GPU", 0) > 0
    trial = None if recorded else registry.trial(model, has_gpu=has_gpu)
    return trial or registry.resolve_auto(model, has_gpu=has_gpu)


def _as_recorded(model: ModelSettings, recorded: DatasetIdentity) -> ModelSettings:
    """Return the settings with the recorded value in the place of each 'auto'."""
    names = [name for name in ("engine", "device", "architecture", "batch_size") if getattr(model, name) == "auto"]
    chosen: dict[str, Any] = {name: recorded.model[name] for name in names if name in recorded.model}
    is_same_device = chosen.get("device", model.device) == recorded.model.get("device")
    if model.kernels == "auto" and chosen.get("engine", model.engine) == "torch" and is_same_device:
        # Datasets from before there was a choice, and those of a CPU, have none. Another device is refused when the
        # dataset is opened.
        chosen["kernels"] = recorded.model.get("kernels", "torch")
    size = chosen.pop("batch_size", "")
    # Anything else is left out here, and refused when the dataset is opened.
    if re.fullmatch(r"[1-9][0-9]{0,8}", size):
        chosen["batch_size"] = int(size)
    return model.model_copy(update=chosen)


def _recorded(storage: Storage) -> DatasetIdentity | None:
    """Return the identity of a dataset that has one; what is wrong with it is reported when the dataset is opened."""
    try:
        return read_identity(storage)
    except OutputError:
        return None


def run_trial(
    settings: Settings, trial: Trial, source: Source, cluster: Cluster, say: Callable[[str], None]
) -> ModelSettings:
    """Return the model's settings that the trial decides for, and say why.

    Args:
        settings: The run's settings.
        trial: From `registry.trial`.
        source: Its first videos give frames, and the length of a video.
        cluster: The nodes; Ray has started.
        say: Receives a line before the trial, and a line with its result.

    Raises:
        PhoenixRayError: The trial has nothing to fall back to, and a worker would fail as it did: the node has no such
            device, or lacks torch or weights; the source cannot be listed; the cluster cannot hold a worker.
    """
    try:
        wait = "" if cluster.resources.get("GPU") else ", as soon as a node with one has come"
        say(f"Trying a GPU, once for this dataset{wait}")
        registry.ensure_ready(trial.candidate, say)
        decision = _run_on_a_node(settings, trial, source, cluster)
    except Exception as error:
        # Whatever it is, the drivers and libraries of a GPU included, a failed trial must not stop the run. A worker
        # may keep the GPU that a trial has lost.
        of_each_worker = isinstance(error, PhoenixRayError) and not isinstance(error, DeviceLostError)
        if of_each_worker and trial.fallback == trial.candidate:
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        say(f"{trial.fallback_notice}: {reason}")
        return trial.fallback
    say(decision.reason)
    return decision.settings


def _run_on_a_node(settings: Settings, trial: Trial, source: Source, cluster: Cluster) -> TrialDecision:
    """Return the decision of a task that reserves what a worker would; while it waits, an autoscaler brings a node.

    Raises:
        TimeoutError: No node ran it in time.
        Exception: What the trial raised.
    """
    videos = [video for video in islice(source.videos(), VIDEOS_LOOKED_AT) if isinstance(video, Video)]
    resources = cluster.attainable(settings.cluster, expects_gpu=True)
    on_gpus, on_cpus = (
        plan_workers(settings.cluster, resources, engine_uses_gpu=registry.facts(model).uses_gpu)
        for model in (trial.candidate, trial.fallback)
    )
    task = _TRIAL.options(**on_gpus.task_options())
    reference = task.remote(trial, videos, settings, cpu_workers_per_gpu(on_gpus, on_cpus, resources))
    patience = cluster.start_seconds(settings.cluster) + PATIENCE_SECONDS
    decision: TrialDecision = result_of_task(reference, patience)
    return decision


def cpu_workers_per_gpu(on_gpus: WorkerPlan, on_cpus: WorkerPlan, cluster: Mapping[str, float]) -> float:
    """Return how many workers the CPU plan has for each GPU that the workers of the GPU plan take."""
    return on_cpus.capacity(cluster) / (on_gpus.capacity(cluster) * on_gpus.gpus)


def _try(trial: Trial, videos: Sequence[Video], settings: Settings, cpu_workers: float) -> TrialDecision:
    shard_frames = settings.cluster.shard_frames
    images = sample_frames(videos, shard_frames, settings.decode)
    if not images:
        raise LookupError(f"no frame of the first {VIDEOS_LOOKED_AT} videos can be read")
    workers = settings.cluster.workers_per_gpu
    return trial.run(TrialConditions(images, typical_length(videos, shard_frames), workers, cpu_workers))


# A process of its own, which gives the GPU back; a second try would only take longer.
_TRIAL = ray.remote(max_calls=1, max_retries=0)(_try)


def typical_length(videos: Sequence[Video], shard_frames: int) -> int:
    """Return how many frames of such a video a worker typically gets at once."""
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
