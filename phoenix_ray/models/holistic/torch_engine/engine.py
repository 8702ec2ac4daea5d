"""The engine for GPUs: Holistic's networks and crops in torch, all frames of a batch at once.

A batch's frames go to the device in one copy and its landmarks come back in another; nothing is read back in between,
so the device never waits for Python. Networks see the same number of crops whatever is found, and batches come in a few
sizes: a frame's landmarks do not depend on what its neighbours show, and kernels are chosen once for each size.

It runs on any device that torch supports. On a CPU `litert_engine` is faster; there, this engine is for tests.
docs/engines.md has what a precision costs in pixels.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from phoenix_ray.errors import ModelError
from phoenix_ray.layouts import Layout
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic.batching import batch_size, padded_count
from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.networks import Networks, face_points_of, layout_of
from phoenix_ray.models.holistic.pipeline import HolisticLandmarks, HolisticPipeline
from phoenix_ray.models.holistic.torch_engine.crops import Uploader
from phoenix_ray.models.holistic.torch_engine.networks import TorchNetworks
from phoenix_ray.models.holistic.tracking import Memory
from phoenix_ray.setting_types import Precision


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


_log = logging.getLogger(__name__)


class HolisticTorch:
    """MediaPipe Holistic, or Pose alone, in torch; a `PoseModel`.

    Args:
        settings: All of `ModelSettings` but `engine` is used.
        weights: Folder of the `.tflite` files that `networks` names.

    Raises:
        ModelError: A file of weights is missing or damaged, this machine lacks the device, or the device cannot compute
            what the settings ask for.
    """

    def __init__(self, settings: ModelSettings, weights: Path) -> None:
        device = choose_device(settings.device)
        if device.type == "mps" and face_points_of(settings) == 478:
            raise ModelError(
                "model.device=mps has no double precision, which model.face_points=478 needs between its layers. Use "
                "model.face_points=468, or model.device=cpu."
            )
        torch.set_num_threads(settings.threads)
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(settings.memory_fraction, device)
        self.layout = layout_of(settings)
        self.batch_size = batch_size(settings)
        self._precision = settings.precision
        # Apple's GPUs lack the double precision that crops and geometry need, so only the networks run there.
        self._pipeline_device = torch.device("cpu") if device.type == "mps" else device
        networks = TorchNetworks(
            weights, face_points_of(settings), device, settings.precision, complexity=settings.complexity
        )
        self._pipeline = self._make_pipeline(settings, networks)
        self._uploader = Uploader(self._pipeline_device)

    def _make_pipeline(self, settings: ModelSettings, networks: Networks) -> HolisticPipeline:
        return HolisticPipeline(
            networks=networks,
            pose_anchors=torch.from_numpy(POSE_ANCHORS).to(self._pipeline_device),
            face_anchors=torch.from_numpy(FACE_ANCHORS).to(self._pipeline_device),
            heatmap_kernel=settings.heatmap_kernel,
            min_detection_confidence=settings.min_detection_confidence,
            min_tracking_confidence=settings.min_tracking_confidence,
        )

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        """Return the landmarks of RGB images, each uint8 (height, width, 3); sizes may differ.

        Where memory is too small, the frames go through in halves, quarters and so on, and the result's `events` say
        so.

        Raises:
            torch.OutOfMemoryError: Memory is too small for a single frame.
        """
        columns = _Columns.of(self.layout)
        table = np.empty((len(images), columns.count), dtype=np.float32)
        events = []
        together, first = self.batch_size, 0
        with torch.inference_mode(), numerics(self._precision):
            while first < len(images):
                some = images[first : first + together]
                rows = self._rows_if_they_fit(some, together)
                if rows is None:
                    together = len(some) // 2
                    events.append(f"out of memory with {len(some)} frames at once: went on with {together}")
                    _log.warning("model.engine=torch ran %s", events[-1])
                    continue
                table[first : first + len(some)] = rows
                first += len(some)
        return columns.split(table, tuple(events))

    def close(self) -> None:
        """Free the networks and the memory that torch caches for them."""
        del self._pipeline, self._uploader
        if self._pipeline_device.type == "cuda":
            torch.cuda.empty_cache()

    def _rows_if_they_fit(self, images: Sequence[NDArray[np.uint8]], together: int) -> NDArray[np.float32] | None:
        """Return the landmarks of images as float32 (N, columns), None where memory is too small for so many.

        Args:
            images: Up to `together` images.
            together: Frames of a full batch; smaller batches are padded to fractions of it.
        """
        try:
            return self._rows(images, together)
        except (MemoryError, RuntimeError) as error:
            if len(images) == 1 or not _is_out_of_memory(error):
                raise
        # Memory can be given back only here, after the exception and the tensors of its traceback are gone.
        if self._pipeline_device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _rows(self, images: Sequence[NDArray[np.uint8]], together: int) -> NDArray[np.float32]:
        cropper = self._uploader.upload(images, padded_count(len(images), together))
        found = _join(self._pipeline.estimate(cropper), self.layout)
        rows: NDArray[np.float32] = found[: len(images)].cpu().numpy()
        return rows


class HolisticTorchTracking(HolisticTorch):
    """MediaPipe Holistic in tracking mode in torch; a `TrackingModel`.

    Every batch is padded to `batch_size` videos: on a GPU, a video's landmarks must not depend on how many others are
    tracked beside it.

    Args:
        settings: All of `ModelSettings` but `name` and `engine` is used.
        weights: Folder of the `.tflite` files.

    Raises:
        ModelError: What `HolisticTorch` raises.
    """

    def __init__(self, settings: ModelSettings, weights: Path) -> None:
        super().__init__(settings, weights)
        self._face_points = face_points_of(settings)
        self.state_size = Memory.numbers(self._face_points)
        self._smooth = settings.smooth_landmarks

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        """Return the landmarks of the next frame of each of N videos, and their states after it.

        Args:
            images: RGB images, each uint8 (height, width, 3), at most `batch_size`; sizes may differ.
            states: float32 (N, state_size).

        Raises:
            MemoryError: Memory is too small for a batch.
        """
        columns, count = _Columns.of(self.layout), len(images)
        padded = np.full((self.batch_size, self.state_size), np.nan, np.float32)
        padded[:count] = states
        with torch.inference_mode(), numerics(self._precision):
            detect = not Memory.from_rows(states, self._face_points).body_roi.has_area().all()
            try:
                cropper = self._uploader.upload(images, self.batch_size)
                memory = Memory.from_rows(torch.from_numpy(padded).to(self._pipeline_device), self._face_points)
                found, memory = self._pipeline.track(cropper, memory, smooth=self._smooth, detect=detect)
                table = torch.cat([_join(found, self.layout), memory.rows()], dim=1)[:count].cpu().numpy()
            except (MemoryError, RuntimeError) as error:
                if not _is_out_of_memory(error):
                    raise
                # Half a batch would be other bits on a GPU, and a frame left out would change all after it.
                raise MemoryError(
                    f"{self.batch_size} videos at once do not fit into the device's memory: begin a dataset with a "
                    "smaller model.batch_size."
                ) from error
        return columns.split(table[:, : columns.count], ()), table[:, columns.count :].copy()


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU torch raises a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _join(found: HolisticLandmarks, layout: Layout) -> torch.Tensor:
    """Return all landmarks and scores in one tensor (N, columns), in the order of `_Columns`."""
    parts = [getattr(found, part.name) for part in layout.parts if part.scored]
    pose, *others = (part.points for part in parts)
    points, scores = [pose, found.world, *others], [part.score for part in parts]
    return torch.cat([*(values.flatten(1) for values in points), torch.stack(scores, dim=1)], dim=1)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of a row of landmarks: all points part by part, then the score of each scored part."""

    layout: Layout
    count: int

    @classmethod
    def of(cls, layout: Layout) -> _Columns:
        return cls(layout, sum(len(part.points) * len(part.axes) + part.scored for part in layout.parts))

    def split(self, table: NDArray[np.float32], events: tuple[str, ...]) -> LandmarkBatch:
        points, first = {}, 0
        for part in self.layout.parts:
            last = first + len(part.points) * len(part.axes)
            points[part.name] = table[:, first:last].reshape(-1, len(part.points), len(part.axes))
            first = last
        scored = [part.name for part in self.layout.parts if part.scored]
        scores = {name: table[:, first + position].copy() for position, name in enumerate(scored)}
        return LandmarkBatch(points, scores, events)
