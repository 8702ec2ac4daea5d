"""What the steps of `benchmarks.gpu` share: what to measure, and the record of what they found and had no time for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.gpu_cases import Case
from benchmarks.gpu_frames import GpuFrames
from benchmarks.gpu_report import to_markdown
from benchmarks.gpu_results import Chapter, GpuResults, Kernels, write_whole
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.holistic.batching import GPU_BATCH_SIZE
from phoenix_ray.models.holistic.torch_engine.engine import HolisticTorch, HolisticTorchTracking
from phoenix_ray.setting_types import Precision

Found = TypeVar("Found")

# The first matters most. Smaller batches are bound by launches and say nothing new.
GPU_BATCH_SIZES = (GPU_BATCH_SIZE, 256, 64)
CPU_BATCH_SIZES = (4,)
# The setting that chooses between the kernels of this package and the operators of torch's libraries.
KERNELS_SETTING = "kernels"


@dataclass(frozen=True, slots=True)
class GpuTask:
    """What is to be measured.

    Attributes:
        weights: Folder of the `.tflite` files.
        frames: The frames.
        device: Where torch computes.
        threads: Threads that decode; torch uses as many if the device is a CPU.
        least_seconds: Least time for one measurement.
        precisions: The first matters most.
        batch_sizes: The first matters most.
        cases: What is compared with the CPU engine; the first matters most.
        references: Folder of the CPU engine's landmarks; None if they are not stored.
    """

    weights: Path
    frames: GpuFrames
    device: torch.device
    threads: int
    least_seconds: float
    precisions: tuple[Precision, ...]
    batch_sizes: tuple[int, ...]
    cases: tuple[Case, ...]
    references: Path | None = None

    def settings(self, kernels: Kernels, precision: Precision, batch_size: int, case: Case) -> ModelSettings:
        """Return the settings of the engine."""
        return case.settings(
            engine="torch",
            device=self.device.type,
            precision=precision,
            batch_size=batch_size,
            threads=self.threads if self.device.type == "cpu" else 1,
            **({KERNELS_SETTING: kernels} if has_kernels_setting() else {}),
        )

    def load(self, kernels: Kernels, precision: Precision, batch_size: int, case: Case) -> HolisticTorch:
        """Return the engine.

        Raises:
            ModelError: Weights are missing or damaged.
        """
        settings = self.settings(kernels, precision, batch_size, case)
        return (HolisticTorchTracking if case.mode == "tracking" else HolisticTorch)(settings, self.weights)


def has_kernels_setting() -> bool:
    """Return whether the engine can choose its kernels."""
    return KERNELS_SETTING in ModelSettings.model_fields


def usable_kernels(device: torch.device) -> tuple[tuple[Kernels, ...], str]:
    """Return what can compute on the device, the first for users, and why the package's kernels cannot, else ''."""
    if not has_kernels_setting():
        return ("torch",), f"this version has no setting model.{KERNELS_SETTING}"
    if device.type != "cuda":
        return ("torch",), f"they are for CUDA devices, not for {device.type}"
    return ("triton", "torch"), ""


@dataclass
class Record:
    """Takes what steps find, and writes `gpu.md` and `gpu.json` after each table.

    Attributes:
        folder: Where the files are written.
        deadline: `time.time()` after which no measurement is begun.
        results: Everything so far.
    """

    folder: Path
    deadline: float
    results: GpuResults = field(default_factory=GpuResults)

    @classmethod
    def resume(cls, folder: Path, deadline: float) -> Record:
        """Return a record that goes on with the files of a folder, if it has any."""
        file = folder / "gpu.json"
        return cls(folder, deadline, GpuResults.from_json(file.read_text("utf-8")) if file.exists() else GpuResults())

    def put(self, chapter: Chapter, **data: Any) -> None:
        """Add a table and the figures behind it, in place of earlier ones, and write the files."""
        self.results.put(chapter)
        self.results.data |= data
        self.save()

    def save(self) -> None:
        """Write the files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / "gpu.json", self.results.to_json())
        write_whole(self.folder / "gpu.md", to_markdown(self.results))

    def leave_out(self, reason: str) -> None:
        """Note what was not measured, and why."""
        self.results.left_out.append(reason)
        self.save()

    def has_time(self, subject: str) -> bool:
        """Return whether there is time for a measurement; if not, note that it was left out."""
        if time.time() <= self.deadline:
            return True
        self.leave_out(f"{subject}: time was up")
        return False

    def attempt(self, subject: str, measure: Callable[[], Found]) -> Found | None:
        """Return the result of `measure`; None, with a note, if time or memory is up or it raises anything else."""
        if not self.has_time(subject):
            return None
        try:
            return measure()
        except torch.OutOfMemoryError:
            self.leave_out(f"{subject}: did not fit into the GPU's memory")
        except Exception as error:
            # Such as a library of the device that refuses. The other measurements are still useful.
            lines = str(error).splitlines() or [""]
            self.leave_out(f"{subject}: {type(error).__name__}: {lines[0]}")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
