"""The engine for CPUs: Holistic's networks in LiteRT (XNNPACK), crops by OpenCV.

Networks run on one item at a time: batches make none of them faster on a CPU, and resizing the batch of some of these
`.tflite` files gives wrong numbers without a word. A few frames go through the pipeline together all the same, so that
a network's weights stay in the processor's cache for all of them. A frame's landmarks are the same bits whatever frames
it goes with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray import landmarks
from phoenix_ray.config import ModelSettings
from phoenix_ray.models.base import LandmarkBatch, frames_per_call
from phoenix_ray.models.holistic import graph
from phoenix_ray.models.holistic.anchors import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.crops import WarpCropper
from phoenix_ray.models.holistic.dead_channels import drop_dead_channels
from phoenix_ray.models.holistic.litert_attention import AttentionNetwork
from phoenix_ray.models.holistic.litert_network import Crops, FloatArray, ImageNetwork
from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_LOGIT,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    POSE_LOGIT,
    Detections,
    FaceOutput,
    HandOutput,
    NetworkInput,
    PoseOutput,
)
from phoenix_ray.models.holistic.pipeline import HolisticPipeline
from phoenix_ray.models.weights import reading

# Networks that follow each other evict each other's weights: eight frames together cost 4 % less each than one alone,
# and more gain nothing.
FRAMES_TOGETHER = 8


class HolisticLitert:
    """MediaPipe Holistic on the CPU; a `PoseModel`.

    Args:
        settings: `face_points`, `heatmap_kernel`, the confidences, `threads` and `batch_size` are honoured.
        weights: Folder of the `.tflite` files that `networks` names.

    Raises:
        ModelError: A file of weights is missing or damaged.
    """

    def __init__(self, settings: ModelSettings, weights: Path) -> None:
        # OpenCV's threads are the process's: a worker that shares a machine must not take all cores for a crop.
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


class LitertNetworks:
    """Holistic's networks as LiteRT runs them; `networks.Networks` on numpy arrays.

    Raises:
        ModelError: A file of weights is missing or damaged.
    """

    def __init__(self, weights: Path, face_points: int, threads: int) -> None:
        def load(expects: NetworkInput, *outputs: str) -> ImageNetwork:
            with reading(weights / expects.file) as path:
                model = graph.load_model(path.read_bytes())
                graph.cut(model, outputs)
                graph.split_channel_scaling(model)
                drop_dead_channels(model)
                return ImageNetwork(graph.pack_model(model), expects, threads)

        self.face_points = face_points
        self._pose_detection = load(POSE_DETECTION, "Identity", "Identity_1")
        self._pose_landmark = load(POSE_LANDMARK, "Identity", POSE_LOGIT, "Identity_3", "Identity_4")
        self._hand_recrop = load(HAND_RECROP, "output_crop")
        self._hand_landmark = load(HAND_LANDMARK, "Identity", HAND_LOGIT)
        self._face_detection = load(FACE_DETECTION, "regressors", "classificators")
        self._face_landmark: Callable[[Crops], FaceOutput] = (
            AttentionNetwork(weights, threads)
            if face_points == 478
            else MeshNetwork(load(FACE_LANDMARK[468], "conv2d_21", "conv2d_31"))
        )

    def pose_detection(self, crops: Crops) -> Detections:
        """Return 2254 boxes with 4 keypoints."""
        regressors, logits = self._pose_detection(crops)
        return Detections(regressors, logits[:, :, 0])

    def pose_landmark(self, crops: Crops) -> PoseOutput:
        """Return the pose in the middle of each crop."""
        points, logit, heatmap, world = self._pose_landmark(crops)
        return PoseOutput(points.reshape(-1, 39, 5), logit.reshape(-1), heatmap, world.reshape(-1, 39, 3))

    def hand_recrop(self, crops: Crops) -> FloatArray:
        """Return the middle of a hand and a point on its edge."""
        (points,) = self._hand_recrop(crops)
        return points.reshape(-1, 2, 2)

    def hand_landmark(self, crops: Crops) -> HandOutput:
        """Return the hand in the middle of each crop."""
        points, logit = self._hand_landmark(crops)
        return HandOutput(points.reshape(-1, 21, 3), logit[:, 0])

    def face_detection(self, crops: Crops) -> Detections:
        """Return 896 boxes with 6 keypoints."""
        regressors, logits = self._face_detection(crops)
        return Detections(regressors, logits[:, :, 0])

    def face_landmark(self, crops: Crops) -> FaceOutput:
        """Return the face in the middle of each crop."""
        return self._face_landmark(crops)


@dataclass(frozen=True, slots=True)
class MeshNetwork:
    """The network for 468 face points."""

    network: ImageNetwork

    def __call__(self, crops: Crops) -> FaceOutput:
        """Return the face in the middle of each crop."""
        mesh, logit = self.network(crops)
        return FaceOutput(mesh.reshape(-1, 468, 3), (), logit.reshape(-1))
