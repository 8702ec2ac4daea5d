"""Which of onnxruntime's providers computes a network, and with which options its numbers stay the same.

`session` makes its sessions with it, `entry` asks it for the name of a GPU. Nothing here imports onnxruntime before it
is needed. CUDA's and CoreML's options are as onnxruntime documents them; they have not run on a GPU yet.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings

CPU: Final = "CPUExecutionProvider"
CUDA: Final = "CUDAExecutionProvider"
COREML: Final = "CoreMLExecutionProvider"
_OF_DEVICE = {"auto": CPU, "cpu": CPU, "cuda": CUDA, "mps": COREML}

Providers = list[tuple[str, dict[str, str]]]


def providers_for(settings: ModelSettings, onnxruntime: ModuleType) -> Providers:
    """Return the providers to ask for, and their options; operators that the first lacks go to the CPU.

    Raises:
        ModelError: This onnxruntime has no provider for `model.device`.
    """
    wanted = _OF_DEVICE[settings.device]
    if wanted not in onnxruntime.get_available_providers():
        raise ModelError(
            f"model.device={settings.device}: onnxruntime {onnxruntime.__version__} here has no {wanted}. "
            f"{_way_out(wanted)}"
        )
    if wanted == CUDA:
        return [(CUDA, cuda_options(settings)), (CPU, {})]
    if wanted == COREML:
        return [(COREML, _COREML_OPTIONS), (CPU, {})]
    return [(CPU, {})]


def refuse_fallback(settings: ModelSettings, used: Sequence[str], path: Path) -> None:
    """Raise ModelError where onnxruntime has quietly taken the CPU in place of the device that was asked for.

    Args:
        settings: Name the device.
        used: `get_providers()` of the session.
        path: The network's file.
    """
    wanted = _OF_DEVICE[settings.device]
    if wanted not in used:
        raise ModelError(
            f"model.device={settings.device}: onnxruntime could not start {wanted} for {path} and went to the CPU. "
            f"{_way_out(wanted)}"
        )


def cuda_options(settings: ModelSettings) -> dict[str, str]:
    """Return CUDA's options, by which a network gives the same numbers in each run on a kind of GPU.

    The search for the fastest convolution (onnxruntime's default, EXHAUSTIVE) measures time, so it may choose another
    algorithm in each process: DEFAULT always takes the same. TF32 rounds factors to 10 bits.
    """
    options = {
        "device_id": "0",
        "cudnn_conv_algo_search": "DEFAULT",
        "use_tf32": str(int(settings.precision == "tf32")),
        # Not powers of two: a batch that nearly fits shall fit.
        "arena_extend_strategy": "kSameAsRequested",
    }
    if settings.memory_fraction < 1:
        options["gpu_mem_limit"] = str(int(settings.memory_fraction * gpu_memory()))
    return options


# Apple's neural engine computes in half precision only; CPU and GPU do not have to.
_COREML_OPTIONS = {
    "ModelFormat": "MLProgram",
    "MLComputeUnits": "CPUAndGPU",
    "AllowLowPrecisionAccumulationOnGPU": "0",
}


def load_cuda_libraries(onnxruntime: ModuleType) -> None:
    """Load CUDA and cuDNN from the packages of pip, where they are installed; the system's are found anyway."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    if preload is not None:
        preload()


def gpu_memory() -> int:
    """Return the bytes of the first GPU that this process may see; raise ModelError where there is none."""
    driver, device = _first_gpu()
    size = ctypes.c_size_t()
    _check(driver.cuDeviceTotalMem_v2(ctypes.byref(size), device))
    return size.value


def gpu_name(device: str) -> str:
    """Return the name of the GPU behind the setting `model.device`, empty for the CPU."""
    if device != "cuda":
        return "" if device in ("auto", "cpu") else device
    driver, number = _first_gpu()
    name = ctypes.create_string_buffer(256)
    _check(driver.cuDeviceGetName(name, len(name), number))
    return name.value.decode(errors="replace")


def _first_gpu() -> tuple[Any, ctypes.c_int]:
    """Return CUDA's driver and its handle of the first GPU: onnxruntime itself reports neither name nor memory."""
    try:
        driver: Any = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise ModelError(f"model.device=cuda: there is no NVIDIA driver on this machine. {_way_out(CUDA)}") from None
    device = ctypes.c_int()
    _check(driver.cuInit(0))
    _check(driver.cuDeviceGet(ctypes.byref(device), 0))
    return driver, device


def _check(code: int) -> None:
    if code:
        raise ModelError(
            f"model.device=cuda: NVIDIA's driver shows no GPU to this process (error {code}). {_way_out(CUDA)}"
        )


def _way_out(provider: str) -> str:
    if provider == CUDA:
        return (
            "Install the extra [onnx-gpu] in place of onnxruntime, which it cannot stand beside (pip uninstall "
            "onnxruntime; pip install 'phoenix-ray[onnx-gpu]'), with CUDA and cuDNN as its version needs them; check "
            "the driver with nvidia-smi; give the worker a GPU (cluster.num_gpus); or use model.device=cpu."
        )
    return "Apple's GPUs need macOS and an onnxruntime with CoreML. Use model.device=cpu."
