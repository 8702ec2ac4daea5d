"""What the pipeline asks of an engine: networks, and a cropper that cuts their inputs out of the images.

An engine loads each network and implements `Cropper`, both on the arrays of its library. Crops travel from one to the
other as the cropper made them; the pipeline never looks inside. What a network computes for a crop must not depend on
the other crops of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import BLAZEPOSE, Layout, holistic
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.holistic.arrays import Array
from phoenix_ray.models.holistic.geometry import ImageSize, Rect


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """What one network takes, and which of its tensors are read.

    Attributes:
        file: Its file in the folder of weights.
        size: Pixels per side of its square input.
        lowest: The value of black, 0 or -1; white is 1.
        repeat_border: What lies outside of the image: its border repeated, or black.
        stretches: Whether a ROI that is not quite square is stretched to the input, or padded.
        outputs: Names of the tensors that `Networks` reads, in its order.
    """

    file: str
    size: int
    lowest: float
    repeat_border: bool
    stretches: bool = False
    outputs: tuple[str, ...] = ()


# Inputs are those of the expanded graph of mediapipe 0.10.21's holistic_landmark_cpu. Where a network ends in a
# logistic function, which XNNPACK computes differently on each kind of processor, the tensor before it is read.
POSE_DETECTION = NetworkSpec(
    "pose_detection.tflite", 224, -1.0, repeat_border=False, outputs=("Identity", "Identity_1")
)
POSE_LOGIT = (
    "model_1/model/conv_poseflag/BiasAdd;model_1/model/conv_poseflag/Conv2D;"
    "model_1/model/conv_poseflag/BiasAdd/ReadVariableOp/resource1"
)
POSE_LANDMARK = NetworkSpec(
    "pose_landmark_full.tflite",
    256,
    0.0,
    repeat_border=True,
    outputs=("Identity", POSE_LOGIT, "Identity_3", "Identity_4"),
)
# By complexity: lite, full, heavy. They differ in nothing that the pipeline sees; it crops for `POSE_LANDMARK`.
POSE_LANDMARKS = {
    0: replace(POSE_LANDMARK, file="pose_landmark_lite.tflite"),
    1: POSE_LANDMARK,
    2: replace(POSE_LANDMARK, file="pose_landmark_heavy.tflite"),
}
HAND_RECROP = NetworkSpec("hand_recrop.tflite", 256, 0.0, repeat_border=True, outputs=("output_crop",))
HAND_LOGIT = "model_1/model/conv_handflag/MatMul;model_1/model/conv_handflag/BiasAdd"
HAND_LANDMARK = NetworkSpec("hand_landmark_full.tflite", 224, 0.0, repeat_border=True, outputs=("Identity", HAND_LOGIT))
FACE_DETECTION = NetworkSpec(
    "face_detection_short_range.tflite", 128, -1.0, repeat_border=False, outputs=("regressors", "classificators")
)
FACE_LANDMARK = {
    468: NetworkSpec(
        "face_landmark.tflite", 192, 0.0, repeat_border=True, stretches=True, outputs=("conv2d_21", "conv2d_31")
    ),
    478: NetworkSpec(
        "face_landmark_with_attention.tflite",
        192,
        0.0,
        repeat_border=True,
        stretches=True,
        # Left and right in these names are those of the picture; `FaceOutput` has the person's right eye first.
        outputs=(
            *("output_mesh_identity", "conv_faceflag", "output_lips"),
            *("output_left_eye", "output_right_eye", "output_left_iris", "output_right_iris"),
        ),
    ),
}


def layout_of(settings: ModelSettings) -> Layout:
    """Return the layout of MediaPipe Pose or Holistic."""
    return BLAZEPOSE if settings.name == "blazepose" else holistic(settings.face_points)


def face_points_of(settings: ModelSettings) -> int:
    """Return what `Networks` takes: the points of the face, 0 for MediaPipe Pose."""
    return 0 if settings.name == "blazepose" else settings.face_points


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


class Networks:
    """The networks of one engine, each on M crops made for its `NetworkSpec`; M is at least 1.

    Args:
        face_points: 468, or 478 with the attention network; 0 for the pose alone, without the other networks.
        load: Loads a network of the engine. What it returns takes crops and returns an array (M, ...) for each of
            `NetworkSpec.outputs`.
        complexity: Of the pose network: 0, 1 or 2.
    """

    def __init__(
        self,
        face_points: int,
        load: Callable[[NetworkSpec], Callable[[Array], Sequence[Array]]],
        complexity: int = 1,
    ) -> None:
        self.face_points = face_points
        self._pose_detection = load(POSE_DETECTION)
        self._pose_landmark = load(POSE_LANDMARKS[complexity])
        if not face_points:
            return
        self._hand_recrop = load(HAND_RECROP)
        self._hand_landmark = load(HAND_LANDMARK)
        self._face_detection = load(FACE_DETECTION)
        self._face_landmark = load(FACE_LANDMARK[face_points])

    def pose_detection(self, crops: Array) -> Detections:
        """Return 2254 boxes with 4 keypoints."""
        regressors, logits = self._pose_detection(crops)
        return Detections(regressors, logits.reshape(logits.shape[:2]))

    def pose_landmark(self, crops: Array) -> PoseOutput:
        """Return the pose in the middle of each crop."""
        points, logit, heatmap, world = self._pose_landmark(crops)
        return PoseOutput(points.reshape(-1, 39, 5), logit.reshape(-1), heatmap, world.reshape(-1, 39, 3))

    def hand_recrop(self, crops: Array) -> Array:
        """Return float32 (M, 2, 2): x, y in input pixels of a hand's middle and of a point on its edge."""
        (points,) = self._hand_recrop(crops)
        return points.reshape(-1, 2, 2)

    def hand_landmark(self, crops: Array) -> HandOutput:
        """Return the hand in the middle of each crop."""
        points, logit = self._hand_landmark(crops)
        return HandOutput(points.reshape(-1, 21, 3), logit.reshape(-1))

    def face_detection(self, crops: Array) -> Detections:
        """Return 896 boxes with 6 keypoints."""
        regressors, logits = self._face_detection(crops)
        return Detections(regressors, logits.reshape(logits.shape[:2]))

    def face_landmark(self, crops: Array) -> FaceOutput:
        """Return the face in the middle of each crop."""
        mesh, logit, *refinements = self._face_landmark(crops)
        contours = tuple(points.reshape(len(points), -1, 2) for points in refinements)
        return FaceOutput(mesh.reshape(-1, 468, 3), contours, logit.reshape(-1))


class Cropper(Protocol):
    """N images, and the way to cut ROIs out of them."""

    @property
    def size(self) -> ImageSize:
        """Size of each image."""

    def crop(self, image: Array, roi: Rect, network: NetworkSpec) -> Array:
        """Return M crops for a network.

        Args:
            image: int64 (M,): index of the image from which each crop is taken.
            roi: M squares in pixels.
            network: The network that will take the crops.
        """
