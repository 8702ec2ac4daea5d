"""Where the time of a frame goes in one worker: the actor's own code, run in this process without Ray.

The methods to be timed are wrapped from outside for as long as the measurement lasts; the code that is measured knows
nothing of it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from phoenix_ray.bench.frames import BenchmarkFrames
from phoenix_ray.bench.results import EngineTimes
from phoenix_ray.cluster.plan import make_plan
from phoenix_ray.cluster.shard import Shard
from phoenix_ray.cluster.worker import ShardWorker, Timings
from phoenix_ray.config import Settings
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.errors import PhoenixRayError
from phoenix_ray.models import registry
from phoenix_ray.models.holistic.crops import WarpCropper
from phoenix_ray.models.holistic.litert import LitertNetworks
from phoenix_ray.sources import frames as frame_reading

NETWORKS = ("pose_detection", "pose_landmark", "hand_recrop", "hand_landmark", "face_detection", "face_landmark")
WATCHED: tuple[tuple[object, tuple[str, ...], str], ...] = (
    (LitertNetworks, NETWORKS, "networks"),
    (WarpCropper, ("crop",), "crops"),
    (frame_reading, ("decode_picture",), "decode"),
)


def time_engine(frames: BenchmarkFrames, output: Path) -> EngineTimes:
    """Measure one worker on all frames, after one shard to warm up.

    Decoding runs one frame ahead in a thread, as little as it can, so that it hardly disturbs what else is timed.

    Args:
        frames: What to compute.
        output: Folder in which the worker commits its partitions.

    Raises:
        PhoenixRayError: A shard failed.
    """
    settings = Settings.model_validate(
        {"model": {"engine": "litert"}, "decode": {"threads": 1, "ahead": 1}, "output": {"path": str(output)}}
    )
    identity = DatasetIdentity(registry.layout(settings.model).name, registry.identity(settings.model).fields)
    worker = ShardWorker(settings, identity)
    worker.ready()
    plan = make_plan(
        frames.videos,
        lambda video: [(0, video.frame_count)],
        settings.cluster.shard_frames,
        registry.batch_size(settings.model),
    )
    *_, shortest = plan.shards
    _process(worker, shortest)
    with ExitStack() as watches:
        seconds: dict[str, float] = defaultdict(float)
        for owner, names, share in WATCHED:
            watches.enter_context(watch(owner, names, share, seconds))
        spent = sum((_process(worker, shard) for shard in plan.shards), Timings())
    frame_ms = 1000 / plan.missing_frames
    return EngineTimes(
        networks=seconds["networks"] * frame_ms,
        crops=seconds["crops"] * frame_ms,
        rest=(spent.inference - seconds["networks"] - seconds["crops"]) * frame_ms,
        decode=seconds["decode"] * frame_ms,
        write=spent.write * frame_ms,
    )


@contextmanager
def watch(owner: object, names: Iterable[str], share: str, seconds: dict[str, float]) -> Iterator[None]:
    """Add the time of every call of some functions of `owner`, a class or module, to `seconds[share]` in this block."""
    originals = {name: getattr(owner, name) for name in names}
    for name, function in originals.items():
        setattr(owner, name, _timed(function, share, seconds))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(owner, name, function)


def _timed(function: Callable[..., Any], share: str, seconds: dict[str, float]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*arguments, **keywords)
        finally:
            seconds[share] += time.perf_counter() - began

    return call


def _process(worker: ShardWorker, shard: Shard) -> Timings:
    receipt = worker.process(shard)
    if receipt.trouble is not None:
        raise PhoenixRayError(f"{shard} cannot be measured: {receipt.trouble.message}")
    return receipt.timings
