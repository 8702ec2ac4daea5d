"""Single measurements of Holistic in torch on one device: the device's limits, and each network's work and time.

`gpu_benchmark` decides what is measured. All times are wall time with the device idle before and after.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from phoenix_ray.config import DecodeSettings
from phoenix_ray.models.base import PoseModel
from phoenix_ray.models.holistic.geometry import Rect
from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    NetworkSpec,
)
from phoenix_ray.models.holistic.torch_engine.crops import DeviceCropper
from phoenix_ray.models.holistic.torch_engine.engine import numerics
from phoenix_ray.models.holistic.torch_engine.networks import TorchNetworks
from phoenix_ray.setting_types import Precision
from phoenix_ray.sources.decode import decode_picture

Image = NDArray[np.uint8]

# Calls before the clock starts: the first chooses kernels, and from the second on memory is allocated.
WARM_UP_CALLS = 2
# Side of the square matrices, and bytes copied, by which the limits of a device are measured.
GPU_MATRIX, CPU_MATRIX = 8192, 1024
GPU_COPY_BYTES, CPU_COPY_BYTES = 2**30, 2**26


@dataclass(frozen=True, slots=True)
class Limits:
    """The measured limits of a device.

    Attributes:
        memory: Bytes read and written per second by a copy within its memory.
        products: Precision → floating-point operations per second of a large matrix product.
    """

    memory: float
    products: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Stage:
    """A network of the pipeline, and how many crops it gets from a frame."""

    name: str
    expects: NetworkSpec
    crops_per_frame: int


@dataclass(frozen=True, slots=True)
class Work:
    """What a stage does for a frame: multiplications and additions, and bytes that its operators read and write."""

    operations: float
    bytes_moved: float


def stages(face_points: int) -> tuple[Stage, ...]:
    """Return the networks in the order of the pipeline."""
    return (
        Stage("pose_detection", POSE_DETECTION, 1),
        Stage("pose_landmark", POSE_LANDMARK, 1),
        Stage("hand_recrop", HAND_RECROP, 2),
        Stage("hand_landmark", HAND_LANDMARK, 2),
        Stage("face_detection", FACE_DETECTION, 1),
        Stage("face_landmark", FACE_LANDMARK[face_points], 1),
    )


def seconds_per_call(run: Callable[[], object], device: torch.device, least_seconds: float) -> float:
    """Return the mean time of a call, over at least two calls and at least `least_seconds`."""
    for _ in range(WARM_UP_CALLS):
        run()
    _wait_for(device)
    calls, began = 0, time.perf_counter()
    while calls < 2 or time.perf_counter() - began < least_seconds:
        run()
        calls += 1
        if calls % 8 == 0:
            # Launches run ahead of the device; without this only the launches would be timed.
            _wait_for(device)
    _wait_for(device)
    return (time.perf_counter() - began) / calls


def measure_limits(device: torch.device, precisions: Sequence[Precision], least_seconds: float) -> Limits:
    """Return the rates that a copy and matrix products reach on the device."""
    on_gpu = device.type == "cuda"
    source = torch.ones((GPU_COPY_BYTES if on_gpu else CPU_COPY_BYTES) // 4, device=device)
    target = torch.empty_like(source)
    memory = 2 * 4 * len(source) / seconds_per_call(lambda: target.copy_(source), device, least_seconds)
    side = GPU_MATRIX if on_gpu else CPU_MATRIX
    products: dict[str, float] = {}
    for precision in precisions:
        matrix = torch.rand(side, side, device=device, dtype=torch.float16 if precision == "fp16" else torch.float32)
        with numerics(precision):
            seconds = seconds_per_call(partial(torch.matmul, matrix, matrix), device, least_seconds)
        products[precision] = 2 * side**3 / seconds
    return Limits(memory, products)


def count_work(weights: Path, face_points: int, precision: Precision) -> dict[str, Work]:
    """Return the name of each stage → its work for one more frame. It is counted on shapes, without a device.

    The weights, which a batch reads once however many frames it has, are not counted.
    """
    nowhere = torch.device("meta")
    networks = TorchNetworks(weights, face_points, nowhere, precision)
    work = {}
    for stage in stages(face_points):
        side, counters = stage.expects.size, []
        for frames in (1, 2):
            shape = (frames * stage.crops_per_frame, side, side, 3)
            crops = torch.empty(shape, dtype=torch.uint8, device=nowhere)
            with torch.no_grad(), _Counter() as counter:
                getattr(networks, stage.name)(crops)
            counters.append(counter)
        of_one, of_two = counters
        work[stage.name] = Work(of_two.operations - of_one.operations, of_two.bytes_moved - of_one.bytes_moved)
    return work


class _Counter(TorchDispatchMode):  # type: ignore[misc]  # torch is not analysed
    """Adds up the work of operators."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0.0
        self.bytes_moved = 0.0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operator(*args, **(kwargs or {}))
        if not operator.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
            self.bytes_moved += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        if operator is torch.ops.aten.convolution.default:
            self.operations += 2 * result.numel() * args[1][0].numel()
        elif operator in (torch.ops.aten.bmm.default, torch.ops.aten.mm.default):
            self.operations += 2 * result.numel() * args[-1].shape[-2]
        return result


def time_network(
    networks: TorchNetworks, stage: Stage, frames: int, device: torch.device, precision: Precision, least_seconds: float
) -> float:
    """Return the seconds per frame of a stage's network, on noise that lies on the device."""
    side = stage.expects.size
    generator = torch.Generator(device).manual_seed(0)
    shape = (frames * stage.crops_per_frame, side, side, 3)
    crops = torch.randint(256, shape, dtype=torch.uint8, device=device, generator=generator)
    run = getattr(networks, stage.name)
    with torch.inference_mode(), numerics(precision):
        return seconds_per_call(lambda: run(crops), device, least_seconds) / frames


def time_crop(cropper: DeviceCropper, stage: Stage, least_seconds: float) -> float:
    """Return the seconds per frame of cutting a stage's crops: turned squares as wide as the image."""
    width = cropper.size.width
    frames, device = len(width), width.device
    image = torch.arange(frames, device=device).repeat(stage.crops_per_frame)
    roi = Rect(*(values.repeat(stage.crops_per_frame) for values in _turned_squares(cropper)))
    with torch.inference_mode():
        return seconds_per_call(lambda: cropper.crop(image, roi, stage.expects), device, least_seconds) / frames


def _turned_squares(cropper: DeviceCropper) -> Rect:
    width, height = cropper.size
    return Rect(width / 2, height / 2, width, width, torch.full_like(width, 0.2))


def time_pipeline(model: PoseModel, images: Sequence[Image], device: torch.device, least_seconds: float) -> float:
    """Return a model's seconds per frame, from frames in memory to landmarks in memory."""
    return seconds_per_call(lambda: model.estimate(images), device, least_seconds) / len(images)


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

        source = batches()
        following = start(next(source))
        calls, began = -WARM_UP_CALLS, time.perf_counter()
        while calls < 2 or time.perf_counter() - began < least_seconds:
            if calls == 0:
                began = time.perf_counter()
            images, following = [future.result() for future in following], start(next(source))
            model.estimate(images)
            calls += 1
        seconds = time.perf_counter() - began
        for future in following:
            future.cancel()
    return seconds / (calls * size)


def decode(picture: bytes) -> Image:
    """Return the pixels of a picture file, RGB uint8 (height, width, 3), decoded as in a run."""
    return decode_picture(BytesIO(picture), DecodeSettings().max_pixels)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
