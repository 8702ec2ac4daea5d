"""The engine for CPUs: Holistic's networks in LiteRT (XNNPACK), crops by OpenCV.

Networks run on one item at a time: batches make none of them faster on a CPU, and resizing the batch of some of these
`.tflite` files silently gives wrong numbers. A few frames go through the pipeline together all the same, so that a
network's weights stay in the processor's cache for all of them. A frame's landmarks are the same bits whatever frames
it is grouped with.

Crops are bit for bit those of MediaPipe's ImageToTensorCalculator on a CPU, which contains OpenCV 4.10. Its 8-bit
`warpPerspective` counts in 1/32 pixel and rounds to whole grey values, and the networks notice: an exact bilinear crop
moves landmarks. OpenCV 4.10 to 4.13 give the same bits, 5.0 does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import Layout
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch, frames_per_call
from phoenix_ray.models.holistic.batching import tracking_batch_size
from phoenix_ray.models.holistic.crop_transforms import image_from_crop, within_limits
from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.geometry import ImageSize, Rect
from phoenix_ray.models.holistic.litert_engine.networks import LitertNetworks
from phoenix_ray.models.holistic.networks import NetworkSpec, face_points_of, layout_of
from phoenix_ray.models.holistic.pipeline import HolisticLandmarks, HolisticPipeline
from phoenix_ray.models.holistic.tracking import Memory


class WarpCropper:
    """RGB images that are cropped by `cv2.warpPerspective`; a `networks.Cropper`.

    Images with a side longer than OpenCV can warp are reduced first; landmarks are normalised, so nothing else changes.

    Args:
        images: Each uint8 (height, width, 3); sizes may differ.
    """

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images = [within_limits(image) for image in images]
        heights, widths = np.array([image.shape[:2] for image in self._images], dtype=np.float32).T
        self._size = ImageSize(widths, heights)

    @property
    def size(self) -> ImageSize:
        """Width and height that ROIs in pixels refer to."""
        return self._size

    def crop(self, image: NDArray[np.int64], roi: Rect, network: NetworkSpec) -> NDArray[np.uint8]:
        """Return uint8 (M, size, size, 3)."""
        side = network.size
        crops = np.empty((len(image), side, side, 3), dtype=np.uint8)
        border = cv2.BORDER_REPLICATE if network.repeat_border else cv2.BORDER_CONSTANT
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        for target, index, matrix in zip(crops, image, image_from_crop(roi, side).reshape(-1, 3, 3), strict=True):
            cv2.warpPerspective(self._images[index], matrix, (side, side), dst=target, flags=flags, borderMode=border)
        return crops


# Successive networks evict each other's weights from the cache: eight frames together cost 4 % less each than one
# alone, and more gain nothing.
FRAMES_TOGETHER = 8


class HolisticLitert:
    """MediaPipe Holistic, or Pose alone, on the CPU; a `PoseModel`.

    Args:
        settings: `name`, `complexity`, `face_points`, `heatmap_kernel`, the confidences, `threads` and `batch_size` are
            used.
        weights: Folder of the `.tflite` files that `networks` names.

    Raises:
        ModelError: A file of weights is missing or damaged.
    """

    def __init__(self, settings: ModelSettings, weights: Path) -> None:
        # OpenCV's threads belong to the process: a worker that shares a machine must not take all cores for a crop.
        cv2.setNumThreads(settings.threads)
        self.layout = layout_of(settings)
        self.batch_size = frames_per_call(settings)
        self._pipeline = HolisticPipeline(
            networks=LitertNetworks(weights, face_points_of(settings), settings.threads, settings.complexity),
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
            found = _to_batch(self._pipeline.estimate(WarpCropper(images[rows])), self.layout)
            for name, values in found.points.items():
                points[name][rows] = values
            for name, values in found.scores.items():
                scores[name][rows] = values
        return LandmarkBatch(points=points, scores=scores)

    def close(self) -> None:
        """Free the networks."""
        del self._pipeline


class HolisticLitertTracking(HolisticLitert):
    """MediaPipe Holistic in tracking mode on the CPU; a `TrackingModel`.

    Args:
        settings: `smooth_landmarks` and what `HolisticLitert` uses.
        weights: Folder of the `.tflite` files.

    Raises:
        ModelError: A file of weights is missing or damaged.
    """

    def __init__(self, settings: ModelSettings, weights: Path) -> None:
        super().__init__(settings, weights)
        self.batch_size = tracking_batch_size(settings)
        self._face_points = face_points_of(settings)
        self.state_size = Memory.numbers(self._face_points)
        self._smooth = settings.smooth_landmarks

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        """Return the landmarks of the next frame of each of N videos, and their states after it.

        Args:
            images: RGB images, each uint8 (height, width, 3); sizes may differ.
            states: float32 (N, state_size).
        """
        memory = Memory.from_rows(states, self._face_points)
        found, memory = self._pipeline.track(WarpCropper(images), memory, smooth=self._smooth)
        after: NDArray[np.float32] = memory.rows()
        return _to_batch(found, self.layout), after


def _to_batch(found: HolisticLandmarks, layout: Layout) -> LandmarkBatch:
    parts = {part.name: getattr(found, part.name) for part in layout.parts if part.scored}
    points = {name: part.points for name, part in parts.items()} | {"pose_world": found.world}
    return LandmarkBatch(points, {name: part.score for name, part in parts.items()})
