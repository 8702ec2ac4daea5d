"""What the pipeline asks of an engine: seven networks, and a cropper that cuts their inputs out of the images.

An engine implements `Networks` and `Cropper` on the arrays of one library. Crops travel from one to the other as the
cropper made them; the pipeline never looks inside. Networks must not depend on what else is in a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.holistic.arrays import Array
from phoenix_ray.models.holistic.geometry import ImageSize, Rect


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """What one network wants to see.

    Attributes:
        file: Its file in the folder of weights.
        size: Pixels per side of its square input.
        lowest: The value of black, 0 or -1; white is 1.
        repeat_border: What lies outside of the image: its border repeated, or black.
        stretches: Whether a ROI that is not quite square is stretched to the input, or padded.
    """

    file: str
    size: int
    lowest: float
    repeat_border: bool
    stretches: bool = False


# From the expanded graph of mediapipe 0.10.21's holistic_landmark_cpu.
POSE_DETECTION = NetworkInput("pose_detection.tflite", 224, -1.0, repeat_border=False)
POSE_LANDMARK = NetworkInput("pose_landmark_full.tflite", 256, 0.0, repeat_border=True)
HAND_RECROP = NetworkInput("hand_recrop.tflite", 256, 0.0, repeat_border=True)
HAND_LANDMARK = NetworkInput("hand_landmark_full.tflite", 224, 0.0, repeat_border=True)
# Tensors before the last operator, a logistic function that XNNPACK computes otherwise on each kind of processor.
POSE_LOGIT = (
    "model_1/model/conv_poseflag/BiasAdd;model_1/model/conv_poseflag/Conv2D;"
    "model_1/model/conv_poseflag/BiasAdd/ReadVariableOp/resource1"
)
HAND_LOGIT = "model_1/model/conv_handflag/MatMul;model_1/model/conv_handflag/BiasAdd"
FACE_DETECTION = NetworkInput("face_detection_short_range.tflite", 128, -1.0, repeat_border=False)
FACE_LANDMARK = {
    468: NetworkInput("face_landmark.tflite", 192, 0.0, repeat_border=True, stretches=True),
    478: NetworkInput("face_landmark_with_attention.tflite", 192, 0.0, repeat_border=True, stretches=True),
}


def input_values(lowest: float) -> NDArray[np.float32]:
    """Return what a network sees of each grey value, float32 (256,): `lowest` for black, 1 for white.

    MediaPipe computes it with a multiply-add that rounds once, as going through double precision does.
    """
    scale = np.float32((1 - lowest) / 255)
    return np.asarray(np.arange(256) * np.float64(scale) + lowest, dtype=np.float32)


class Detections(NamedTuple):
    """Raw output of a detector: regressors float32 (M, A, 4 + 2 K), logits float32 (M, A)."""

    regressors: Array
    logits: Array


class PoseOutput(NamedTuple):
    """Raw output of the pose network.

    Attributes:
        landmarks: float32 (M, 39, 5): x, y, z in input pixels, logits of visibility and presence.
        logit: float32 (M,): logit that there is a pose.
        heatmap: float32 (M, 64, 64, 39): logits.
        world: float32 (M, 39, 3): metres from the middle of the hips, not yet turned upright.
    """

    landmarks: Array
    logit: Array
    heatmap: Array
    world: Array


class HandOutput(NamedTuple):
    """Raw output of the hand network.

    Attributes:
        landmarks: float32 (M, 21, 3) in input pixels.
        logit: float32 (M,): logit that there is a hand.
    """

    landmarks: Array
    logit: Array


class FaceOutput(NamedTuple):
    """Raw output of the face network.

    Attributes:
        mesh: float32 (M, 468, 3) in input pixels.
        refinements: With 478 points, x and y in input pixels of lips, right eye, left eye, right iris and left iris:
            float32 (M, 80, 71, 71, 5 and 5, 2); else empty.
        logit: float32 (M,): logit that there is a face.
    """

    mesh: Array
    refinements: tuple[Array, ...]
    logit: Array


class Networks(Protocol):
    """The networks of an engine, each on M crops made for its `NetworkInput`; M is at least 1."""

    @property
    def face_points(self) -> int:
        """468, or 478 with the attention network."""
        ...

    def pose_detection(self, crops: Array) -> Detections:
        """Return 2254 boxes with 4 keypoints."""
        ...

    def pose_landmark(self, crops: Array) -> PoseOutput:
        """Return the pose in the middle of each crop."""
        ...

    def hand_recrop(self, crops: Array) -> Array:
        """Return float32 (M, 2, 2): x, y in input pixels of a hand's middle and of a point on its edge."""
        ...

    def hand_landmark(self, crops: Array) -> HandOutput:
        """Return the hand in the middle of each crop."""
        ...

    def face_detection(self, crops: Array) -> Detections:
        """Return 896 boxes with 6 keypoints."""
        ...

    def face_landmark(self, crops: Array) -> FaceOutput:
        """Return the face in the middle of each crop."""
        ...


class Cropper(Protocol):
    """N images, and the way to cut ROIs out of them."""

    @property
    def size(self) -> ImageSize:
        """Size of each image."""
        ...

    def crop(self, image: Array, roi: Rect, network: NetworkInput) -> Array:
        """Return M crops for a network.

        Args:
            image: int64 (M,): index of the image each crop comes from.
            roi: M squares in pixels.
            network: Whose input is cropped.
        """
        ...
