"""The device that torch computes on: which it is, how it multiplies, and what its errors mean."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch

from phoenix_ray.errors import DeviceLostError, ModelError
from phoenix_ray.setting_types import Precision

# Variables by which NVIDIA's libraries and torch multiply otherwise than the settings say, and what each does. Sources:
# cuBLAS's and cuDNN's manuals; torch's `aten/src/ATen/Context.cpp`. '0' and an empty text switch them off.
MISLEADING_VARIABLES = {
    "NVIDIA_TF32_OVERRIDE": "cuBLAS and cuDNN round the factors of float32 products to TF32",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "torch lets cuBLAS round the factors of float32 products to TF32",
    "TORCH_BLAS_PREFER_CUBLASLT": "cuBLASLt multiplies, which adds up in another order",
    "CUBLAS_EMULATE_SINGLE_PRECISION": "cuBLAS puts float32 products together from products of bfloat16",
}
# What a library says when memory is too small and torch does not raise OutOfMemoryError: the CUDA driver (for a
# context, or page-locked memory), cuBLAS and cuDNN (for a handle or a workspace), and the allocator of the CPU.
_OUT_OF_MEMORY = ("out of memory", "alloc_failed", "allocation_failed", "can't allocate memory")
# What the CUDA driver says when a process can use the device no longer ("sticky" errors); Triton raises them as a plain
# RuntimeError. Source: the descriptions of cudaError_t in the CUDA Runtime API.
_DEVICE_LOST = (
    "illegal memory access",
    "illegal address",
    "illegal instruction",
    "misaligned address",
    "invalid address space",
    "invalid program counter",
    "hardware stack error",
    "device-side assert",
    "unspecified launch failure",
    "the launch timed out",
    "uncorrectable ecc error",
    "uncorrectable nvlink error",
)


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


def misleading_environment(precision: Precision, environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return a line for each environment variable by which a CUDA device multiplies otherwise than the settings say.

    Args:
        precision: The setting `model.precision`.
        environment: The variables; by default the process's.

    Raises:
        ModelError: Such a variable is set, and the precision is 'exact'.
    """
    environment = os.environ if environment is None else environment
    is_set = {name: environment.get(name, "0") not in ("", "0") for name in MISLEADING_VARIABLES}
    lines = [f"{name}={environment[name]}: {MISLEADING_VARIABLES[name]}" for name, on in is_set.items() if on]
    if lines and precision == "exact":
        names = " ".join(name for name, on in is_set.items() if on)
        raise ModelError(
            f"model.precision=exact is not what this machine would compute: {'; '.join(lines)}. Take the variable out "
            f"of the workers' environment (`unset {names}` before Ray starts), or ask for model.precision=tf32."
        )
    if precision == "tf32" and environment.get("NVIDIA_TF32_OVERRIDE") == "0":
        lines.append(
            "NVIDIA_TF32_OVERRIDE=0: cuBLAS and cuDNN do not use TF32, though model.precision=tf32 asks for it"
        )
    return tuple(lines)


@contextmanager
def numerics(precision: Precision) -> Iterator[None]:
    """Compute with deterministic algorithms and, unless `precision` is 'tf32', with full float32 products.

    These are settings of the process; their earlier values are restored at the end.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory
    benchmark, kept = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    # A warning instead of an error: an operator that is not deterministic moves the last bit; the run continues.
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory before it is written; filling it first would cost half as much again as computing.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    try:
        with _products(allow_tf32=precision == "tf32"):
            yield
    finally:
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = benchmark, kept
        torch.utils.deterministic.fill_uninitialized_memory = fills
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@contextmanager
def _products(*, allow_tf32: bool) -> Iterator[None]:
    """Let products of float32 be rounded to TF32 or not, by both of torch's interfaces.

    Torch has an older pair of switches (`allow_tf32`) and newer ones (`fp32_precision`). Setting one kind after the
    other leaves them in disagreement, and then each look at an older one raises "mix of the legacy and new APIs". So
    both are set, the newer last: they are what counts.
    """
    older = (torch.backends.cuda.matmul, torch.backends.cudnn)
    newer = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    allowed = [_allows_tf32(switch) for switch in older]
    precisions = [switch.fp32_precision for switch in newer]
    try:
        for switch in older:
            switch.allow_tf32 = allow_tf32
        for switch in newer:
            switch.fp32_precision = "tf32" if allow_tf32 else "ieee"
        yield
    finally:
        for switch, value in zip(older, allowed, strict=True):
            if value is not None:
                switch.allow_tf32 = value
        for switch, name in zip(newer, precisions, strict=True):
            switch.fp32_precision = name


def _allows_tf32(switch: Any) -> bool | None:
    """Return the value of an older switch; None where the process has set the newer ones to something else."""
    try:
        return bool(switch.allow_tf32)
    except RuntimeError:
        return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a batch was too large for some memory; a smaller one may fit."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _OUT_OF_MEMORY)


def is_device_lost(error: BaseException) -> bool:
    """Return whether an error means that this process cannot use the device any more, whatever it computes next."""
    return isinstance(error, RuntimeError) and any(text in str(error).lower() for text in _DEVICE_LOST)


@contextmanager
def device_errors() -> Iterator[None]:
    """Raise DeviceLostError where the CUDA driver refuses to go on; what is only out of memory passes as it is."""
    try:
        yield
    except RuntimeError as error:
        from_the_driver = isinstance(error, torch.AcceleratorError) or is_device_lost(error)
        if is_out_of_memory(error) or not from_the_driver:
            raise
        reason = str(error).strip().partition("\n")[0]
        raise DeviceLostError(
            f"This process cannot use its GPU any more ({reason}). Only a new process can: a run replaces the worker. "
            "If it happens on a single node, check its GPU (`nvidia-smi -q`, `dmesg`)."
        ) from error


def limit_memory(device: torch.device, fraction: float) -> None:
    """Let torch's tensors take at most a share of a CUDA device's memory; other devices have no limit."""
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(fraction, device)


def give_memory_back(device: torch.device) -> None:
    """Return the memory that torch keeps for later tensors, on a CUDA device and page-locked on the host."""
    if device.type == "cuda":
        # An error here would hide the one that led here; a device that is lost says so with the next batch.
        with suppress(RuntimeError):
            torch.cuda.empty_cache()
            if hasattr(torch._C, "_host_emptyCache"):
                torch._C._host_emptyCache()
