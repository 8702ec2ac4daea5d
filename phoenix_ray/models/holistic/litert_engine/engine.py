"""The engine for CPUs: Holistic's networks in LiteRT (XNNPACK), crops by OpenCV.

Networks run on one item at a time: batches make none of them faster on a CPU, and resizing the batch of some of these
`.tflite` files silently gives wrong numbers. A few frames go through the pipeline together all the same, so that a
network's weights stay in the processor's cache for all of them. A frame's landmarks are the same bits whatever frames
it is grouped with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray import landmarks
from phoenix_ray.config import ModelSettings
from phoenix_ray.models.base import LandmarkBatch, frames_per_call
from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.litert_engine.crops import WarpCropper
from phoenix_ray.models.holistic.litert_engine.networks import LitertNetworks
from phoenix_ray.models.holistic.pipeline import HolisticPipeline

# Successive networks evict each other's weights from the cache: eight frames together cost 4 % less each than one
# alone, and more gain nothing.
FRAMES_TOGETHER = 8


class HolisticLitert:
    """MediaPipe Holistic on the CPU; a `PoseModel`.

    Args:
        settings: `face_points`, `heatmap_kernel`, the confidences, `threads` and `batch_size` are used.
        weights: Folder of the `.tflite` files that `networks` names.

    Raises:
        ModelError: A file of weights is missing or damaged.
    """

    def __init__(self, settings: ModelSettings, weights: Path) -> None:
        # OpenCV's threads belong to the process: a worker that shares a machine must not take all cores for a crop.
        cv2.setNumThreads(settings.threads)
        self.layout = landmarks.holistic(settings.face_points)
        self.batch_size = frames_per_call(settings)
        self._pipeline = HolisticPipeline(
            networks=LitertNetworks(weights, settings.face_points, settings.threads),
            pose_anchors=POSE_ANCHORS,
            face_anchors=FACE_ANCHORS,
            heatmap_kernel=settings.heatmap_kernel,
            min_detection_confidence=settings.min_detection_confidence,
            min_tracking_confidence=settings.min_tracking_confidence,
        )

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        """Return the landmarks of RGB images, each uint8 (height, width, 3); sizes may differ."""
        count = len(images)
        points = {
            part.name: np.empty((count, len(part.points), len(part.axes)), dtype=np.float32)
            for part in self.layout.parts
        }
        scores = {part.name: np.empty(count, dtype=np.float32) for part in self.layout.parts if part.scored}
        for first in range(0, count, FRAMES_TOGETHER):
            rows = slice(first, first + FRAMES_TOGETHER)
            found = self._pipeline.estimate(WarpCropper(images[rows]))
            points["pose_world"][rows] = found.world
            for name in scores:
                part = getattr(found, name)
                points[name][rows], scores[name][rows] = part.points, part.score
        return LandmarkBatch(points=points, scores=scores)

    def close(self) -> None:
        """Free the networks."""
        del self._pipeline
