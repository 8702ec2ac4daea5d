"""All measurements of one device, the most important first, until time is up.

The program `benchmarks.gpu` and the suite `benchmarks.gpu_suite` run it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import torch

from benchmarks.gpu_conditions import take_conditions
from benchmarks.gpu_measure import (
    Image,
    Limits,
    count_work,
    decode,
    measure_limits,
    stages,
    time_crop,
    time_end_to_end,
    time_network,
    time_pipeline,
)
from benchmarks.gpu_results import GpuReport, Rate, StageTime
from benchmarks.parity_report import ParityReport, compare
from phoenix_ray import layouts
from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic.batching import GPU_BATCH_SIZE
from phoenix_ray.models.holistic.torch_engine.crops import Uploader
from phoenix_ray.models.holistic.torch_engine.engine import HolisticTorch
from phoenix_ray.models.holistic.torch_engine.layers import by_library
from phoenix_ray.models.holistic.torch_engine.networks import TorchNetworks
from phoenix_ray.setting_types import Precision

Found = TypeVar("Found")

# The first matters most.
GPU_BATCH_SIZES = (GPU_BATCH_SIZE, 256, 64, 32, 8)
CPU_BATCH_SIZES = (4, 1)
# Defaults: most frames, minutes after which no measurement is begun, least seconds for one measurement.
MOST_FRAMES = 512
MINUTES = 8.0
LEAST_SECONDS = 0.5


class GpuBenchmark:
    """Measures Holistic in torch on one device.

    Args:
        weights: Folder of the `.tflite` files.
        device: Where torch computes.
        face_points: 468 or 478.
        pictures: Bytes of picture files.
        threads: Threads that decode them; torch uses as many if the device is a CPU.
        least_seconds: Least time for one measurement.
        deadline: `time.monotonic()` after which no measurement is begun.
    """

    def __init__(
        self,
        weights: Path,
        device: torch.device,
        face_points: int,
        pictures: Sequence[bytes],
        threads: int,
        least_seconds: float,
        deadline: float,
    ) -> None:
        self._weights = weights
        self._device = device
        self._face_points = face_points
        self._pictures = pictures
        self._images = [decode(picture) for picture in pictures]
        self._threads = threads
        self._least_seconds = least_seconds
        self._deadline = deadline
        # On Apple's GPUs only the networks run; the engine says why.
        self._pipeline_device = torch.device("cpu") if device.type == "mps" else device
        self._left_out: list[str] = []
        self._conditions = take_conditions(device, self._images, face_points, threads)

    def run(
        self, precisions: Sequence[Precision], batch_sizes: Sequence[int], reference: Path | None
    ) -> Iterator[GpuReport]:
        """Measure everything there is time for, yielding all results so far after each precision and batch size.

        Args:
            precisions: The first matters most.
            batch_sizes: The first matters most; stages and landmarks are measured only with the first.
            reference: File of the CPU engine's landmarks; read if it exists, else written.

        Raises:
            ModelError: Weights are missing or damaged, or `reference` belongs to other frames.
        """
        limits = measure_limits(self._device, precisions, self._least_seconds)
        expected = self._cpu_landmarks(reference)
        rates: list[Rate] = []
        stage_times: list[StageTime] = []
        parity: dict[str, ParityReport] = {}
        for batch_size in batch_sizes:
            for precision in precisions:
                rate, times = self._measure(Rate(precision, batch_size), limits)
                rates.append(rate)
                if batch_size == batch_sizes[0]:
                    stage_times += times
                    if expected is not None and (found := self._landmarks(rate)) is not None:
                        parity[precision] = self._compare(expected, found)
                in_order = sorted(rates, key=lambda rate: (precisions.index(rate.precision), rate.batch_size))
                yield GpuReport(
                    self._conditions, limits.memory, limits.products, in_order, stage_times, parity, self._left_out
                )

    def _measure(self, case: Rate, limits: Limits) -> tuple[Rate, list[StageTime]]:
        """Return the rates of a precision and batch size, and the times of their stages."""
        rate = case
        times = self._attempt(case, "stages", lambda: self._time_stages(case, limits)) or []
        if times:
            of_networks = sum(stage.microseconds for stage in times)
            of_crops = sum(stage.crop_microseconds for stage in times)
            rate = replace(case, networks=1e6 / of_networks, with_crops=1e6 / (of_networks + of_crops))
        rate = self._attempt(case, "pipeline", lambda: self._time_model(rate)) or rate
        click.echo(f"{case.precision}, batch size {case.batch_size}: {rate.pipeline or 0:,.1f} frames/s", err=True)
        return rate, times

    def _landmarks(self, case: Rate) -> LandmarkBatch | None:
        def estimate() -> LandmarkBatch:
            with closing(self._load(case)) as model:
                return model.estimate(self._images)

        return self._attempt(case, "landmarks", estimate)

    def _attempt(self, case: Rate, subject: str, measure: Callable[[], Found]) -> Found | None:
        """Return the result of `measure`; None, with a note in the report, if time or memory is up or torch fails."""
        what = f"{case.precision}, batch size {case.batch_size}: {subject}"
        if time.monotonic() > self._deadline:
            self._left_out.append(f"{what}: time was up")
            return None
        try:
            return measure()
        except torch.OutOfMemoryError:
            self._left_out.append(f"{what}: did not fit into the GPU's memory")
        except RuntimeError as error:
            # A library of the device refused. The other measurements are still useful.
            self._left_out.append(f"{what}: {str(error).splitlines()[0]}")
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _time_stages(self, rate: Rate, limits: Limits) -> list[StageTime]:
        networks, by_libraries = (
            TorchNetworks(self._weights, self._face_points, self._device, rate.precision, make_layer)
            for make_layer in (None, by_library)
        )
        work = count_work(self._weights, self._face_points, rate.precision)
        with torch.inference_mode():
            cropper = Uploader(self._pipeline_device).upload(self._some_images(rate.batch_size), rate.batch_size)
        times = []
        for stage in stages(self._face_points):
            of_network, of_libraries = (
                time_network(some, stage, rate.batch_size, self._device, rate.precision, self._least_seconds)
                for some in (networks, by_libraries)
            )
            done = work[stage.name]
            bound = max(done.operations / limits.products[rate.precision], done.bytes_moved / limits.memory)
            times.append(
                StageTime(
                    stage.name,
                    rate.precision,
                    rate.batch_size,
                    microseconds=1e6 * of_network,
                    crop_microseconds=1e6 * time_crop(cropper, stage, self._least_seconds),
                    library_microseconds=1e6 * of_libraries,
                    operations=done.operations,
                    bytes_moved=done.bytes_moved,
                    bound_microseconds=1e6 * bound,
                )
            )
        return times

    def _time_model(self, rate: Rate) -> Rate:
        on_gpu = self._device.type == "cuda"
        with closing(self._load(rate)) as model:
            if on_gpu:
                torch.cuda.reset_peak_memory_stats(self._device)
            images = self._some_images(rate.batch_size)
            in_memory = time_pipeline(model, images, self._device, self._least_seconds)
            end_to_end = time_end_to_end(model, self._pictures, self._threads, self._least_seconds)
        memory = torch.cuda.max_memory_allocated(self._device) / 2**20 if on_gpu else None
        return replace(rate, pipeline=1 / in_memory, end_to_end=1 / end_to_end, memory_mb=memory)

    def _load(self, rate: Rate) -> HolisticTorch:
        settings = ModelSettings(
            engine="torch",
            device=self._device.type,
            precision=rate.precision,
            batch_size=rate.batch_size,
            face_points=self._face_points,
            threads=self._threads if self._device.type == "cpu" else 1,
        )
        return HolisticTorch(settings, self._weights)

    def _some_images(self, count: int) -> list[Image]:
        return [self._images[index % len(self._images)] for index in range(count)]

    def _compare(self, expected: LandmarkBatch, found: LandmarkBatch) -> ParityReport:
        sizes = np.array([(image.shape[1], image.shape[0]) for image in self._images])
        layout = layouts.holistic(self._face_points)
        return compare(layout, sizes, expected, found, names=("CPU engine", "torch"))

    def _cpu_landmarks(self, file: Path | None) -> LandmarkBatch | None:
        """Return the CPU engine's landmarks: from the file, else from LiteRT; None without either."""
        digest = hashlib.sha256(b"".join(self._pictures)).hexdigest()
        if file is not None and file.exists():
            with np.load(file) as stored:
                if str(stored["digest"]) != digest:
                    raise ModelError(f"{file} holds the landmarks of other frames: choose another --reference.")
                return LandmarkBatch({name: stored[name] for name in stored if name != "digest"}, {})
        try:
            from phoenix_ray.models.holistic.litert_engine.engine import HolisticLitert
        except ImportError as error:
            self._left_out.append(f"landmarks: {error}, and there is no --reference")
            return None
        settings = ModelSettings(engine="litert", face_points=self._face_points)
        found = HolisticLitert(settings, self._weights).estimate(self._images)
        if file is not None:
            arrays: dict[str, Any] = {"digest": np.array(digest), **found.points}
            np.savez_compressed(file, **arrays)
        return found
