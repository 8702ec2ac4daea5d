"""The engine for GPUs: Holistic's networks and crops in torch, all frames of a batch at once.

A batch's frames go to the device in one copy and its landmarks come back in another; nothing is read back in between,
so the device never waits for Python. Networks see the same number of crops whatever is found, and batches come in a few
sizes: a frame's landmarks do not depend on what its neighbours show, and kernels are chosen once for each size.

It runs on any device that torch supports. On a CPU `litert_engine` is faster; there, this engine is for tests.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from phoenix_ray import landmarks
from phoenix_ray.config import ModelSettings
from phoenix_ray.errors import ModelError
from phoenix_ray.landmarks import Layout
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic.batching import batch_size, padded_count
from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.networks import Networks
from phoenix_ray.models.holistic.pipeline import HolisticLandmarks, HolisticPipeline
from phoenix_ray.models.holistic.torch_engine.crops import Uploader
from phoenix_ray.models.holistic.torch_engine.device import choose_device, numerics
from phoenix_ray.models.holistic.torch_engine.networks import TorchNetworks

_log = logging.getLogger(__name__)


class HolisticTorch:
    """MediaPipe Holistic in torch; a `PoseModel`.

    Args:
        settings: All of `ModelSettings` but `name` and `engine` is used.
        weights: Folder of the `.tflite` files that `networks` names.

    Raises:
        ModelError: A file of weights is missing or damaged, this machine lacks the device, or the device cannot compute
            what the settings ask for.
    """

    def __init__(self, settings: ModelSettings, weights: Path) -> None:
        device = choose_device(settings.device)
        if device.type == "mps" and settings.face_points == 478:
            raise ModelError(
                "model.device=mps has no double precision, which model.face_points=478 needs between its layers. Use "
                "model.face_points=468, or model.device=cpu."
            )
        torch.set_num_threads(settings.threads)
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(settings.memory_fraction, device)
        self.layout = landmarks.holistic(settings.face_points)
        self.batch_size = batch_size(settings)
        self._precision = settings.precision
        # Apple's GPUs lack the double precision that crops and geometry need, so only the networks run there.
        self._pipeline_device = torch.device("cpu") if device.type == "mps" else device
        self._pipeline = self._make_pipeline(
            settings, TorchNetworks(weights, settings.face_points, device, settings.precision)
        )
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
        found = _join(self._pipeline.estimate(cropper))
        rows: NDArray[np.float32] = found[: len(images)].cpu().numpy()
        return rows


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU torch raises a plain RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _join(found: HolisticLandmarks) -> torch.Tensor:
    """Return all landmarks and scores in one tensor (N, columns), in the order of `_Columns`."""
    parts = (found.left_hand, found.right_hand, found.face)
    points = [found.pose.points, found.world, *(part.points for part in parts)]
    scores = [found.pose.score, *(part.score for part in parts)]
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
