"""The conditions under which torch is measured: device, versions, frames. `gpu_benchmark` records them first."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import torch

from benchmarks.gpu_measure import Image
from benchmarks.gpu_results import Conditions
from benchmarks.machine import this_machine


def take_conditions(device: torch.device, images: Sequence[Image], face_points: int, threads: int) -> Conditions:
    """Return the conditions at this moment.

    Args:
        device: Where torch computes.
        images: The frames, RGB uint8 (height, width, 3).
        face_points: 468 or 478.
        threads: Decoding threads.
    """
    sizes = sorted({f"{image.shape[1]}x{image.shape[0]}" for image in images})
    return Conditions(
        date=datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        machine=this_machine(),
        device=_name(device),
        versions=_versions(),
        frames=f"{len(images)} frames ({', '.join(sizes)})",
        face_points=face_points,
        threads=threads,
    )


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        return f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GB)"
    return "an Apple GPU" if device.type == "mps" else "the CPU"


def _versions() -> dict[str, str]:
    found = {"torch": torch.__version__, "CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()}
    return {name: str(version) for name, version in found.items() if version is not None}
