"""Single measurements of Holistic in torch on one device: each network's work and time, the pipeline, and end to end.

The steps of `benchmarks.gpu` decide what is measured. All times are wall time with the device idle before and after.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.gpu_frames import Image, decode
from benchmarks.gpu_limits import WARM_UP_CALLS, seconds_per_call
from benchmarks.gpu_results import Kernels, Work
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import PoseModel
from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    Networks,
    NetworkSpec,
)
from phoenix_ray.models.holistic.torch_engine.networks import TorchNetworks
from phoenix_ray.setting_types import Precision

FACE_POINTS = 468
ENGINE = "phoenix_ray.models.holistic.torch_engine"
# Needs Triton, so it is imported where it is used.
OWN_KERNELS = f"{ENGINE}.kernels"


@dataclass(frozen=True, slots=True)
class Stage:
    """A network of the pipeline, and how many crops it gets from a frame."""

    name: str
    expects: NetworkSpec
    crops_per_frame: int


def stages(face_points: int = FACE_POINTS) -> tuple[Stage, ...]:
    """Return the networks in the order of the pipeline."""
    return (
        Stage("pose_detection", POSE_DETECTION, 1),
        Stage("pose_landmark", POSE_LANDMARK, 1),
        Stage("hand_recrop", HAND_RECROP, 2),
        Stage("hand_landmark", HAND_LANDMARK, 2),
        Stage("face_detection", FACE_DETECTION, 1),
        Stage("face_landmark", FACE_LANDMARK[face_points], 1),
    )


def network_calls(
    kernels: Kernels, weights: Path, precision: Precision, batch_size: int, device: torch.device
) -> dict[str, Callable[[], object]]:
    """Return the name of each stage → a function that runs its network on noise that lies on the device.

    Call them within `torch.inference_mode` and `device.numerics`.
    """
    generator = torch.Generator(device).manual_seed(0)
    networks: Networks
    if kernels == "triton":
        networks = import_module(f"{OWN_KERNELS}.networks").KernelNetworks(weights, FACE_POINTS, device, precision)
    else:
        networks = TorchNetworks(weights, FACE_POINTS, device, precision)
    calls: dict[str, Callable[[], object]] = {}
    for stage in stages():
        side, count = stage.expects.size, batch_size * stage.crops_per_frame
        if kernels == "triton":
            noise = torch.rand((count, 3, side, side), device=device, generator=generator)
            crops = stage.expects.lowest + (1 - stage.expects.lowest) * noise
            crops = crops.half() if precision == "fp16" else crops
        else:
            crops = torch.randint(256, (count, side, side, 3), dtype=torch.uint8, device=device, generator=generator)
        calls[stage.name] = partial(getattr(networks, stage.name), crops)
    return calls


def pipeline_call(
    settings: ModelSettings, weights: Path, images: Sequence[Image], device: torch.device
) -> Callable[[], object] | None:
    """Return a function that computes a batch from frames to landmarks that both lie on the device.

    Call it within `torch.inference_mode` and `device.numerics`. None where the engine has no part that does this alone.
    """
    try:
        pipelines, uploading = (import_module(f"{ENGINE}.{name}") for name in ("pipelines", "uploading"))
    except ImportError:
        return None
    sizes = np.array([image.shape[1::-1] for image in images]).T
    ends = np.cumsum(sizes.prod(axis=0))
    table = np.concatenate([(ends - sizes.prod(axis=0))[None], sizes]).astype(np.int64)
    pixels = np.concatenate([image.reshape(-1) for image in images])
    frames = uploading.DeviceFrames(torch.from_numpy(pixels).to(device), torch.from_numpy(table).to(device))
    return partial(pipelines.make_pipeline(settings, weights, device, device).estimate, frames)


def count_networks(
    kernels: Kernels, weights: Path, precision: Precision, calls: Mapping[str, Callable[[], object]], batch_size: int
) -> dict[str, Work]:
    """Return the name of each stage → what it costs.

    Kernels of this package say themselves what they move, and are called once for that; torch's operators are counted
    on shapes, without a device.
    """
    if kernels == "torch":
        return count_work(weights, FACE_POINTS, precision)
    plain = count_work(weights, FACE_POINTS, "fp16")
    work = {}
    for name, call in calls.items():
        with counting() as counter:
            call()
        work[name] = Work(plain[name].operations, counter.bytes_moved / batch_size, counter.launches)
    return work


@cache
def count_work(weights: Path, face_points: int, precision: Precision) -> dict[str, Work]:
    """Return the name of each stage → its work with torch's operators, counted on shapes.

    The weights, which a batch reads once however many frames it has, are not counted.
    """
    nowhere = torch.device("meta")
    work = {}
    # In inference mode a counter would see convolutions whole, before they are taken apart into the operators it knows.
    with torch.inference_mode(False), torch.no_grad():
        networks = TorchNetworks(weights, face_points, nowhere, precision)
        for stage in stages(face_points):
            side, counters = stage.expects.size, []
            for frames in (1, 2):
                shape = (frames * stage.crops_per_frame, side, side, 3)
                crops = torch.empty(shape, dtype=torch.uint8, device=nowhere)
                with Counter() as counter:
                    getattr(networks, stage.name)(crops)
                counters.append(counter)
            of_one, of_two = counters
            work[stage.name] = Work(
                of_two.operations - of_one.operations, of_two.bytes_moved - of_one.bytes_moved, of_one.launches
            )
    return work


# They reserve memory and start nothing on a device.
_ALLOCATIONS = (
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.empty_strided.default,
    torch.ops.aten.empty_like.default,
    torch.ops.aten.new_empty.default,
    torch.ops.aten.new_empty_strided.default,
)


class Counter(TorchDispatchMode):  # type: ignore[misc]  # torch is not analysed
    """Adds up the work of operators.

    Attributes:
        operations: Multiplications and additions of convolutions and products.
        bytes_moved: Bytes that operators read and write, if none is fused with another.
        launches: Operators that compute.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0.0
        self.bytes_moved = 0.0
        self.launches = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operator(*args, **(kwargs or {}))
        if not operator.is_view and operator not in _ALLOCATIONS:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
            self.bytes_moved += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            self.launches += 1
        if operator is torch.ops.aten.convolution.default:
            self.operations += 2 * result.numel() * args[1][0].numel()
        elif operator in (torch.ops.aten.bmm.default, torch.ops.aten.mm.default):
            self.operations += 2 * result.numel() * args[-1].shape[-2]
        return result


@contextmanager
def counting() -> Iterator[Counter]:
    """Count torch's operators and the kernels of this package until the block ends."""
    try:
        from phoenix_ray.models.holistic.torch_engine.kernels.launching import recording
    except ImportError:
        with Counter() as counter:
            yield counter
        return
    with Counter() as counter, recording() as launches:
        yield counter
    counter.launches += len(launches)
    counter.bytes_moved += sum(launch.bytes_moved for launch in launches)


class BatchFlow:
    """Gives batches to a model, the next before the last is over where the model can begin it."""

    def __init__(self, model: PoseModel) -> None:
        self._model = model
        self._begin: Callable[[Sequence[Image]], Any] | None = getattr(model, "begin", None)
        self._pending: Any = None

    def put(self, images: Sequence[Image]) -> None:
        """Compute a batch, or begin it and wait for the one before."""
        if self._begin is None:
            self._model.estimate(images)
            return
        following = self._begin(images)
        self.drain()
        self._pending = following

    def drain(self) -> None:
        """Wait for a batch that was begun."""
        if self._pending is not None:
            self._pending.result()
            self._pending = None


def time_pipeline(model: PoseModel, images: Sequence[Image], device: torch.device, least_seconds: float) -> float:
    """Return a model's seconds per frame, from frames in memory to landmarks in memory."""
    flow = BatchFlow(model)
    seconds = seconds_per_call(lambda: flow.put(images), device, least_seconds)
    flow.drain()
    return seconds / len(images)


def time_end_to_end(model: PoseModel, pictures: Sequence[bytes], threads: int, least_seconds: float) -> float:
    """Return the seconds per frame from bytes of picture files to landmarks, decoding the next batch meanwhile."""
    size = model.batch_size

    def batches() -> Iterator[Sequence[bytes]]:
        for number in itertools.count():
            first = number * size
            yield [pictures[(first + index) % len(pictures)] for index in range(size)]

    with ThreadPoolExecutor(threads) as pool:

        def start(batch: Sequence[bytes]) -> list[Future[Image]]:
            return [pool.submit(decode, picture) for picture in batch]

        flow, source = BatchFlow(model), batches()
        following = start(next(source))
        calls, began = -WARM_UP_CALLS, time.perf_counter()
        while calls < 2 or time.perf_counter() - began < least_seconds:
            if calls == 0:
                began = time.perf_counter()
            images, following = [future.result() for future in following], start(next(source))
            flow.put(images)
            calls += 1
        flow.drain()
        seconds = time.perf_counter() - began
        for future in following:
            future.cancel()
    return seconds / (calls * size)
