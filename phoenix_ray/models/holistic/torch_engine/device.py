"""Where torch computes and how exactly: devices, precisions, and the same bits each time.

`engine` chooses a device once and computes within `numerics`. docs/engines.md has what a precision costs in pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from phoenix_ray.config import Precision
from phoenix_ray.errors import ModelError


def choose_device(asked: str) -> torch.device:
    """Return the device for the setting `model.device`; 'auto' takes a CUDA device where there is one, else the CPU.

    Raises:
        ModelError: This machine, or this build of torch, has no such device.
    """
    has_cuda = torch.cuda.is_available()
    if asked == "cuda" and not has_cuda:
        raise ModelError(f"model.device=cuda: torch {torch.__version__} sees no CUDA device here{_why_no_cuda()}")
    if asked == "mps" and not torch.backends.mps.is_available():
        raise ModelError(
            f"model.device=mps: torch {torch.__version__} sees no Apple GPU here. Use model.device=cpu, or auto."
        )
    if asked == "cuda" or (asked == "auto" and has_cuda):
        # cuBLAS gives the same bits each time only with a workspace of fixed size, which must be set before it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu" if asked == "auto" else asked)


def device_name(asked: str) -> str:
    """Return the name of the GPU behind the setting `model.device`, empty for the CPU."""
    device = choose_device(asked)
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return "" if device.type == "cpu" else device.type


def _why_no_cuda() -> str:
    if torch.version.cuda is None:
        return ": it is a build without CUDA. Install a CUDA build of torch, or use model.device=cpu, or auto."
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not visible.strip("-1"):
        return ": CUDA_VISIBLE_DEVICES hides all. Give the worker a GPU (cluster.num_gpus), or use model.device=cpu."
    return ". Check the driver with nvidia-smi, or use model.device=cpu, or auto."


@contextmanager
def numerics(precision: Precision) -> Iterator[None]:
    """Compute with deterministic algorithms and, unless `precision` is 'tf32', with full float32 products.

    These are settings of the process; their earlier values are restored at the end.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory
    products = torch.backends.cuda.matmul.allow_tf32
    allow_tf32 = precision == "tf32"
    # A warning instead of an error: an operator that is not deterministic moves the last bit; the run continues.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory before it is written; filling it first would cost half as much again as computing.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cuda.matmul.allow_tf32 = allow_tf32
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=allow_tf32):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = products
        torch.utils.deterministic.fill_uninitialized_memory = fills
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
