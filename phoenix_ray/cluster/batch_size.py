"""Has `model.batch_size=auto` measured on a node of the cluster that a worker could run on.

`job` asks for it through `settle`, once for a new dataset. A measurement is worth having, not worth failing for: where
there is none, the run takes the size that holds without.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from phoenix_ray.cluster.resources import plan_workers
from phoenix_ray.config import DecodeSettings, Settings
from phoenix_ray.errors import PhoenixRayError, SourceError
from phoenix_ray.models import registry
from phoenix_ray.models.base import BatchChoice, BatchProbe, TypicalVideo
from phoenix_ray.sources.base import Source, Video
from phoenix_ray.sources.frames import read_frames

# Videos from the beginning of the listing whose median length is the typical one.
VIDEOS_LOOKED_AT = 32
# Allowed for weights, CUDA's start and trials, beside `cluster.start_seconds` for a node to take them on.
PROBE_PATIENCE_SECONDS = 60.0
# Frames of PHOENIX-2014-T, for a source of which no frame can be read.
DEFAULT_HEIGHT, DEFAULT_WIDTH = 260, 210


def measure_batch_size(
    settings: Settings,
    probe: BatchProbe,
    source: Source,
    cluster: Mapping[str, float],
    announce: Callable[[str], None],
) -> int:
    """Return the batch size that suits a worker of this run, and tell what speaks for it.

    Args:
        settings: With the engine settled.
        probe: From `registry.batch_probe`.
        source: Its first videos give the size of the frames and the length of a video.
        cluster: Ray's resources of the whole cluster; Ray has started.
        announce: Told the result in a line.

    Raises:
        SourceError: The source cannot be listed.
        ClusterError: The cluster cannot hold a worker.
        PhoenixRayError: The node has no such device, or lacks torch or weights; a worker would say the same.
    """
    videos = [video for video in islice(source.videos(), VIDEOS_LOOKED_AT) if isinstance(video, Video)]
    worker = plan_workers(settings.cluster, cluster, engine_uses_gpu=registry.uses_gpu(settings.model))
    patience = settings.cluster.start_seconds + PROBE_PATIENCE_SECONDS
    reference = _PROBE.options(**worker.task_options()).remote(
        probe, videos, settings.cluster.shard_frames, settings.decode, settings.cluster.workers_per_gpu
    )
    try:
        choice: BatchChoice = ray.get(reference, timeout=patience)
    except RayTaskError as error:
        if isinstance(error.cause, PhoenixRayError):
            raise error.cause from None
        return _unmeasured(settings, str(error.cause), announce)
    except GetTimeoutError:
        ray.cancel(reference, force=True)
        return _unmeasured(settings, f"no node had done so after {patience:g} s", announce)
    except RayError as error:
        return _unmeasured(settings, str(error), announce)
    announce(f"Batch size {choice.batch_size}, as measured: {choice.measured}")
    return choice.batch_size


def _unmeasured(settings: Settings, reason: str, announce: Callable[[str], None]) -> int:
    size = registry.batch_size(settings.model)
    first_line = reason.strip().partition("\n")[0]
    announce(f"Batch size {size}: it could not be measured ({first_line}).")
    return size


def _probe(
    probe: BatchProbe, videos: Sequence[Video], shard_frames: int, decode: DecodeSettings, workers: int
) -> BatchChoice:
    return probe(typical_video(videos, shard_frames, decode), workers)


# A process of its own, which gives the GPU back; a second try would only take longer.
_PROBE = ray.remote(max_calls=1, max_retries=0)(_probe)


def typical_video(videos: Sequence[Video], shard_frames: int, decode: DecodeSettings) -> TypicalVideo:
    """Return what a worker is mostly given of such videos, and how large the first frame is that can be read."""
    lengths = [min(video.frame_count, shard_frames) for video in videos]
    frames = round(statistics.median(lengths)) if lengths else shard_frames
    for video in videos:
        with suppress(SourceError), closing(read_frames(video, 0, 1, decode)) as decoded:
            for frame in decoded:
                if frame.image is not None:
                    height, width, _ = frame.image.shape
                    return TypicalVideo(height, width, frames)
    return TypicalVideo(DEFAULT_HEIGHT, DEFAULT_WIDTH, frames)
