"""The engine for CPUs: Holistic's networks in LiteRT (XNNPACK), crops by OpenCV.

Frames go through one at a time. Batches make no network faster on a CPU, and resizing the batch of some of these
`.tflite` files gives wrong numbers without a word; and so a frame's landmarks are the same bits whatever it is batched
with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from phoenix_ray import landmarks
from phoenix_ray.config import ModelSettings
from phoenix_ray.errors import ModelError
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic import graph
from phoenix_ray.models.holistic.anchors import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.crops import WarpCropper
from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    Detections,
    FaceOutput,
    HandOutput,
    NetworkInput,
    PoseOutput,
)
from phoenix_ray.models.holistic.pipeline import HolisticPipeline

FloatArray = NDArray[np.float32]
Crops = NDArray[np.uint8]

# A call costs the same whatever the number of frames; this one only bounds the frames held at once.
DEFAULT_BATCH_SIZE = 16


class HolisticLitert:
    """MediaPipe Holistic on the CPU; a `PoseModel`.

    Args:
        settings: `face_points`, `heatmap_kernel`, the confidences, `threads` and `batch_size` are honoured.
        weights: Folder of the `.tflite` files that `networks` names.

    Raises:
        ModelError: A file of weights is missing or damaged.
    """

    def __init__(self, settings: ModelSettings, weights: Path) -> None:
        cv2.setNumThreads(settings.threads)
        self.layout = landmarks.holistic(settings.face_points)
        self.batch_size = DEFAULT_BATCH_SIZE if settings.batch_size == "auto" else settings.batch_size
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
        for row, image in enumerate(images):
            found = self._pipeline.estimate(WarpCropper([image]))
            points["pose_world"][row] = found.world[0]
            for name in scores:
                part = getattr(found, name)
                points[name][row], scores[name][row] = part.points[0], part.score[0]
        return LandmarkBatch(points=points, scores=scores)

    def close(self) -> None:
        """Free the networks."""
        del self._pipeline


class LitertNetworks:
    """Holistic's networks as LiteRT runs them; `networks.Networks` on numpy arrays."""

    def __init__(self, weights: Path, face_points: int, threads: int) -> None:
        self.face_points = face_points
        self._pose_detection = Network(weights, POSE_DETECTION, ["Identity", "Identity_1"], threads)
        self._pose_landmark = Network(
            weights, POSE_LANDMARK, ["Identity", "Identity_1", "Identity_3", "Identity_4"], threads
        )
        self._hand_recrop = Network(weights, HAND_RECROP, ["output_crop"], threads)
        self._hand_landmark = Network(weights, HAND_LANDMARK, ["Identity", "Identity_1"], threads)
        self._face_detection = Network(weights, FACE_DETECTION, ["regressors", "classificators"], threads)
        self._face_landmark = Network(weights, FACE_LANDMARK[face_points], ["conv2d_21", "conv2d_31"], threads)

    def pose_detection(self, crops: Crops) -> Detections:
        """Return 2254 boxes with 4 keypoints."""
        regressors, logits = self._pose_detection(crops)
        return Detections(regressors, logits[:, :, 0])

    def pose_landmark(self, crops: Crops) -> PoseOutput:
        """Return the pose in the middle of each crop."""
        points, score, heatmap, world = self._pose_landmark(crops)
        return PoseOutput(points.reshape(-1, 39, 5), score[:, 0], heatmap, world.reshape(-1, 39, 3))

    def hand_recrop(self, crops: Crops) -> FloatArray:
        """Return the middle of a hand and a point on its edge."""
        (points,) = self._hand_recrop(crops)
        return points.reshape(-1, 2, 2)

    def hand_landmark(self, crops: Crops) -> HandOutput:
        """Return the hand in the middle of each crop."""
        points, score = self._hand_landmark(crops)
        return HandOutput(points.reshape(-1, 21, 3), score[:, 0])

    def face_detection(self, crops: Crops) -> Detections:
        """Return 896 boxes with 6 keypoints."""
        regressors, logits = self._face_detection(crops)
        return Detections(regressors, logits[:, :, 0])

    def face_landmark(self, crops: Crops) -> FaceOutput:
        """Return the face in the middle of each crop."""
        points, logit = self._face_landmark(crops)
        return FaceOutput(points.reshape(-1, 468, 3), (), logit.reshape(-1))


def input_values(lowest: float) -> FloatArray:
    """Return the network's value of each grey value, float32 (256,): `lowest` for black, 1 for white.

    MediaPipe computes them with one multiply-add that rounds once, which double precision does as well.
    """
    scale = np.float32((1 - lowest) / 255)
    return np.asarray(np.arange(256) * np.float64(scale) + lowest, dtype=np.float32)


class Network:
    """The wanted outputs of one network, for crops one at a time."""

    def __init__(self, weights: Path, expects: NetworkInput, outputs: Sequence[str], threads: int) -> None:
        path = weights / expects.file
        try:
            model = graph.cut(path.read_bytes(), outputs)
            self._interpreter = Interpreter(model_content=model, num_threads=threads)
            self._interpreter.allocate_tensors()
        except OSError as error:
            raise ModelError(f"{path} cannot be read ({error.strerror}): run `phoenix-ray models install`.") from error
        except Exception as error:
            raise ModelError(f"{path} is damaged ({error}): run `phoenix-ray models install`.") from error
        self._values = input_values(expects.lowest)
        self._input = self._interpreter.tensor(self._interpreter.get_input_details()[0]["index"])
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]

    def __call__(self, crops: Crops) -> list[FloatArray]:
        """Return each output for M crops uint8 (M, size, size, 3): float32 (M, ...)."""
        rows = [self._run(crop) for crop in crops]
        if len(rows) == 1:
            return rows[0]
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    def _run(self, crop: Crops) -> list[FloatArray]:
        # LiteRT refuses to run while a view of its memory is held, so the view must be gone before `invoke`.
        cv2.LUT(crop, self._values, dst=self._input()[0])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]
