"""Starts all kernels of whole pipelines as on a GPU, up to the compiler, and says what it would be given.

Recorded launches are compiled by other tests. What stands before the compiler, Triton's own start of a kernel, binds
arguments, looks at the kernels' constants and makes variants; it needs a driver, for which `_Driver` stands. A process
has either Triton's interpreter or this, so a test runs it as a program.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget

from phoenix_ray.models.holistic.torch_engine.kernels.launching import recording
from phoenix_ray.models.holistic.torch_engine.kernels.networks import KernelNetworks
from phoenix_ray.models.holistic.torch_engine.kernels.pipeline import KernelPipeline
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames
from phoenix_ray.models.holistic.tracking import Memory
from phoenix_ray.setting_types import Precision
from tests.models.holistic.torch_engine.kernels.compiling import requests_of, variants_of

CPU = torch.device("cpu")
PIPELINES: tuple[tuple[int, Precision], ...] = (
    (468, "exact"),
    (478, "exact"),
    (0, "exact"),
    (468, "tf32"),
    (478, "fp16"),
)
FRAMES = (128, 13)


class _Driver:
    """The driver of an H200 on which nothing runs."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return device

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


class _Kernel:
    """A compiled kernel that does nothing."""

    function = packed_metadata = None

    def launch_metadata(self, *arguments: Any) -> None:
        pass

    def run(self, *arguments: Any) -> None:
        pass


def _steps(pipeline: KernelPipeline, frames: int) -> Iterator[Callable[[], Any]]:
    """Return what a worker computes on frames; their memory is never touched."""
    pixels = torch.empty(frames * 210 * 260 * 3, dtype=torch.uint8)
    some = DeviceFrames(pixels, torch.empty((3, frames), dtype=torch.int64))
    states = torch.empty((frames, Memory.numbers(pipeline.networks.face_points)))
    yield lambda: pipeline.estimate(some)
    yield lambda: pipeline.track(some, states, smooth=True, detect=True)
    yield lambda: pipeline.track(some, states, smooth=False, detect=False)


def _main(weights: Path) -> None:
    started: set[str] = set()

    def note(source: Any, target: Any = None, options: Any = None, **_: Any) -> _Kernel:
        # A compiler looks this up in its cache; it also notes the constants that Triton compares from then on.
        source.hash()
        names, function = list(source.signature), source.fn
        variant = {
            "signature": source.signature,
            "constexprs": {names[place]: value for (place,), value in source.constants.items()},
            "attrs": {place: value for (place,), value in source.attrs.items() if value},
        }
        assert not options["enable_fp_fusion"], function.__name__
        key = (function.__module__, function.__name__, variant, options["num_warps"], options["num_stages"])
        started.add(repr(key))
        return _Kernel()

    triton.runtime.driver.set_active(_Driver())
    # Each kernel takes the compiler from there when it first starts.
    triton.compiler.compile = note
    with torch.inference_mode(), recording() as launches:
        for face_points, precision in PIPELINES:
            pipeline = KernelPipeline(
                KernelNetworks(weights, face_points, CPU, precision),
                CPU,
                heatmap_kernel=7,
                min_detection_confidence=0.5,
                min_tracking_confidence=0.5,
                dtype=torch.float16 if precision == "fp16" else torch.float32,
            )
            for frames in FRAMES:
                for step in _steps(pipeline, frames):
                    step()
    recorded = set(variants_of(requests_of(launches), None))
    found = {
        "started": len(started),
        "only_started": sorted(started - recorded),
        "only_recorded": sorted(recorded - started),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
