"""One `.tflite` network in LiteRT: loaded from a folder of weights, run on one item at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import flexbuffers
from numpy.typing import NDArray

from phoenix_ray.models.holistic.attention import (
    RegionOfFace,
    landmarks_to_transform,
    sample_bilinear,
    transform_landmarks,
)
from phoenix_ray.models.holistic.litert_engine import tflite_surgery
from phoenix_ray.models.holistic.litert_engine.tflite_surgery import drop_dead_channels
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
    input_values,
)
from phoenix_ray.models.weights import reading

FloatArray = NDArray[np.float32]
Crops = NDArray[np.uint8]


class TensorNetwork:
    """A network from tensors to tensors.

    Args:
        model: Content of a `.tflite` file.
        threads: Threads that compute it.
    """

    def __init__(self, model: bytes, threads: int) -> None:
        self._interpreter = Interpreter(model_content=model, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._inputs = [self._interpreter.tensor(detail["index"]) for detail in self._interpreter.get_input_details()]
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]

    def input(self, position: int) -> FloatArray:
        """Return the memory of an input, to be filled. LiteRT refuses to run while anyone holds on to it."""
        memory: FloatArray = self._inputs[position]()
        return memory

    def run(self) -> list[FloatArray]:
        """Return the outputs for what the inputs were filled with, each with a first axis of one item."""
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


class ImageNetwork:
    """A network from crops to tensors.

    Args:
        model: Content of a `.tflite` file.
        expects: What the network wants to see.
        threads: Threads that compute it.
    """

    def __init__(self, model: bytes, expects: NetworkInput, threads: int) -> None:
        self._network = TensorNetwork(model, threads)
        self._values = input_values(expects.lowest)

    def __call__(self, crops: Crops) -> list[FloatArray]:
        """Return each output for M crops uint8 (M, size, size, 3): float32 (M, ...)."""
        return stack_items([self._run(crop) for crop in crops])

    def _run(self, crop: Crops) -> list[FloatArray]:
        cv2.LUT(crop, self._values, dst=self._network.input(0)[0])
        return self._network.run()


def stack_items(items: Sequence[list[FloatArray]]) -> list[FloatArray]:
    """Return each of several outputs for all items, from the outputs of one item after the other."""
    return items[0] if len(items) == 1 else [np.concatenate(outputs) for outputs in zip(*items, strict=True)]


MESH, FLAG = "output_mesh_identity", "conv_faceflag"
# The file refines lips, right eye, right iris, left eye, left iris; `FaceOutput` has both eyes before both irises.
ORDER_OF_REFINEMENTS = (0, 1, 3, 2, 4)


class AttentionNetwork:
    """The network for 478 face points.

    Args:
        weights: Folder of `.tflite` files.
        threads: Threads that compute it.

    Raises:
        ModelError: The file is missing or damaged.
    """

    def __init__(self, weights: Path, threads: int) -> None:
        expects = FACE_LANDMARK[478]
        with reading(weights / expects.file) as path:
            trunk, branches = (tflite_surgery.load_model(path.read_bytes()) for _ in range(2))
            operators = tflite_surgery.custom_operators(trunk)
            transforms = [operator for operator in operators if operator.name == "Landmarks2TransformMatrix"]
            samplers = [operator for operator in operators if operator.name == "TransformTensorBilinear"]
            placements = [operator for operator in operators if operator.name == "TransformLandmarks"]

            self._regions = [RegionOfFace(**flexbuffers.Loads(operator.options)) for operator in transforms]
            found = [MESH, FLAG, samplers[0].inputs[0], *(operator.inputs[0] for operator in transforms)]
            tflite_surgery.cut(trunk, found)
            self._trunk = ImageNetwork(tflite_surgery.pack_model(trunk), expects, threads)

            given = [operator.outputs[0] for operator in (*samplers, *transforms)]
            refined = list(dict.fromkeys(tensor for operator in placements for tensor in operator.inputs))
            tflite_surgery.cut(branches, refined, given)
            self._branches = TensorNetwork(tflite_surgery.pack_model(branches), threads)
            self._placements = [tuple(refined.index(tensor) for tensor in operator.inputs) for operator in placements]

    def __call__(self, crops: Crops) -> FaceOutput:
        """Return the face in the middle of each crop."""
        # The arithmetic in between takes all items at once: its many small steps cost as much for one as for eight.
        mesh, flag, features, *landmarks = self._trunk(crops)
        transforms = [
            landmarks_to_transform(points, region) for points, region in zip(landmarks, self._regions, strict=True)
        ]
        samples = [
            sample_bilinear(features, transform, region.output_height, region.output_width)
            for transform, region in zip(transforms, self._regions, strict=True)
        ]
        refined = stack_items([self._refine([*samples, *transforms], item) for item in range(len(crops))])
        placed = [transform_landmarks(refined[points], refined[transform]) for points, transform in self._placements]
        refinements = tuple(placed[index] for index in ORDER_OF_REFINEMENTS)
        return FaceOutput(mesh.reshape(len(crops), -1, 3), refinements, flag.reshape(-1))

    def _refine(self, tensors: list[FloatArray], item: int) -> list[FloatArray]:
        """Return what the branches make of one item of their inputs."""
        for position, tensor in enumerate(tensors):
            np.copyto(self._branches.input(position), tensor[item : item + 1])
        return self._branches.run()


class LitertNetworks:
    """Holistic's networks as LiteRT runs them; `networks.Networks` on numpy arrays.

    Raises:
        ModelError: A file of weights is missing or damaged.
    """

    def __init__(self, weights: Path, face_points: int, threads: int) -> None:
        def load(expects: NetworkInput, *outputs: str) -> ImageNetwork:
            with reading(weights / expects.file) as path:
                model = tflite_surgery.load_model(path.read_bytes())
                tflite_surgery.cut(model, outputs)
                tflite_surgery.split_channel_scaling(model)
                drop_dead_channels(model)
                return ImageNetwork(tflite_surgery.pack_model(model), expects, threads)

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
