"""The conditions under which torch is measured: device, versions, environment, frames."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from benchmarks.gpu_frames import GpuFrames
from benchmarks.gpu_results import Conditions
from benchmarks.machine import this_machine

# Beginnings of the names of variables that change how libraries multiply and add.
VARIABLES = ("CUBLAS", "CUDNN_", "CUDA_", "NVIDIA_TF32", "TORCH_ALLOW_TF32", "TORCH_BLAS", "TRITON_", "NPY_", "ONEDNN_")
# Vector instructions, the widest first, by their names in /proc/cpuinfo.
_INSTRUCTIONS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX", "asimd": "NEON"}


def take_conditions(device: torch.device, frames: GpuFrames, threads: int, commit: str | None = None) -> Conditions:
    """Return the conditions at this moment.

    Args:
        device: Where torch computes.
        frames: The frames.
        threads: Decoding threads.
        commit: The code's commit; None asks Git.
    """
    return Conditions(
        date=datetime.datetime.now().astimezone().isoformat(timespec="minutes"),
        machine=this_machine(),
        instructions=_instructions(),
        device=_name(device),
        versions=_versions(device),
        environment={name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)},
        commit=commit or describe_commit(),
        frames=str(frames),
        threads=threads,
    )


def describe_commit() -> str:
    """Return the commit of the checkout around this file, with '-changed' if files differ from it; else 'unknown'."""
    home = Path(__file__).parent
    commands = (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(home), *command], capture_output=True, text=True, check=True).stdout
            for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit.strip() + ("-changed" if changes.strip() else "")


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        return f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GB)"
    return "an Apple GPU" if device.type == "mps" else "the CPU"


def _versions(device: torch.device) -> dict[str, str]:
    found = {
        "Python": platform.python_version(),
        "torch": torch.__version__,
        "Triton": _installed("triton"),
        "CUDA": torch.version.cuda,
        "cuDNN": torch.backends.cudnn.version(),
        "driver": _driver() if device.type == "cuda" else None,
        "NumPy": _installed("numpy"),
        "OpenCV": _installed("opencv-python-headless"),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return found.splitlines()[0].strip() if found.strip() else None


def _instructions() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "").split()
    return next((name for flag, name in _INSTRUCTIONS.items() if flag in flags), platform.machine())
