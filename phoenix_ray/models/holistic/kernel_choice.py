"""Which kernels the torch engine computes with: ours, in Triton, or torch's own operators (`model.kernels`).

The driver asks, which need not have torch: the answer belongs to a dataset's identity on CUDA. On a CPU torch's
operators give the CPU engine's bits and Triton does not compute, so there the answer is always the same.
"""

from __future__ import annotations

import os
from typing import Literal

from phoenix_ray.errors import ConfigError
from phoenix_ray.model_settings import ModelSettings

# Triton reads this variable when it is imported: '1' lets kernels run in its interpreter, in numpy on a CPU.
INTERPRETER_VARIABLE = "TRITON_INTERPRET"


def kernels_of(settings: ModelSettings, device: str) -> Literal["triton", "torch"]:
    """Return the kernels that compute on a device: 'cuda', 'cpu', 'mps', or 'auto' where it is not known yet.

    Raises:
        ConfigError: The settings ask for Triton where it does not compute.
    """
    if settings.kernels == "auto":
        return "triton" if device == "cuda" else "torch"
    if settings.kernels == "triton" and device in ("cpu", "mps") and not (device == "cpu" and is_interpreted()):
        raise ConfigError(
            f"model.kernels=triton is for CUDA devices, but model.device is {device}. Leave model.kernels out: 'auto' "
            "takes torch's operators there."
        )
    return settings.kernels


def is_interpreted() -> bool:
    """Return whether kernels run in Triton's interpreter, which is for tests."""
    return os.environ.get(INTERPRETER_VARIABLE) == "1"
