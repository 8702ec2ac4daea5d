"""The person that MediaPipe's pose detector finds, as the box of a network from an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.holistic import geometry
from phoenix_ray.models.holistic.decoding import POSE_ANCHORS, best_detection
from phoenix_ray.models.holistic.litert_engine.engine import WarpCropper
from phoenix_ray.models.holistic.litert_engine.networks import load_network
from phoenix_ray.models.holistic.networks import POSE_DETECTION, Detections
from phoenix_ray.models.onnx.boxes import Box
from phoenix_ray.models.weights import ensure_installed

# Keypoints of the detector: the middle of the hips, and a point on the circle around the whole person.
MIDDLE, EDGE = 0, 1


class BlazeposeBox:
    """The upright square around the detector's circle; a `BoxFinder`. No picture depends on another.

    MediaPipe enlarges the square by 1.25 and turns it with the person; a manifest's `input.padding` enlarges it here.

    Args:
        settings: `min_detection_confidence`, `threads` and `weights_path` are used.

    Raises:
        ModelError: The detector's weights are missing or damaged.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self._network = load_network(ensure_installed(settings), POSE_DETECTION, settings.threads)
        self._min_score = settings.min_detection_confidence

    def find(self, images: Sequence[NDArray[np.uint8]]) -> list[Box | None]:
        """Return the square of the most prominent person in each picture; None where the detector finds nobody."""
        if not images:
            return []
        cropper = WarpCropper(images)
        view = geometry.padded_view(geometry.whole_image(cropper.size), cropper.size)
        crops = cropper.crop(np.arange(len(images)), view.crop, POSE_DETECTION)
        regressors, logits = self._network(crops)
        found = Detections(regressors, logits[:, :, 0])
        keypoints = best_detection(found.regressors, found.logits, POSE_ANCHORS, POSE_DETECTION.size, self._min_score)
        normalised = geometry.remove_letterbox(keypoints, view)
        sizes = np.array([image.shape[1::-1] for image in images], np.float32)
        pixels = normalised[:, :, :2] * sizes[:, np.newaxis]
        middle, away = pixels[:, MIDDLE], pixels[:, EDGE] - pixels[:, MIDDLE]
        radius = np.sqrt((away * away).sum(axis=1, keepdims=True))
        boxes = np.concatenate([middle - radius, middle + radius], axis=1).astype(np.float32)
        return [box if np.isfinite(box).all() and box[2] > box[0] else None for box in boxes]
