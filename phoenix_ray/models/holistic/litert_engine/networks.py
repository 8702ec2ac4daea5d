"""Holistic's networks in LiteRT, each run on one crop after the other.

LiteRT does not know three operators of the attention network for 478 face points. That network is cut in two around
them: the *trunk* finds the mesh and a map of features, the *branches* refine lips and eyes from samples of that map.
`holistic.attention` computes where to sample, and puts the refined points back into the face.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import flexbuffers
from numpy.typing import NDArray

from phoenix_ray.models.holistic import tflite_surgery
from phoenix_ray.models.holistic.attention import (
    RegionOfFace,
    landmarks_to_transform,
    sample_bilinear,
    transform_landmarks,
)
from phoenix_ray.models.holistic.networks import FACE_LANDMARK, Networks, NetworkSpec, input_values
from phoenix_ray.models.weights import reading

FloatArray = NDArray[np.float32]
Crops = NDArray[np.uint8]

# The attention network's file refines lips, right eye, right iris, left eye, left iris; `FaceOutput` has both eyes
# before both irises.
_ORDER_OF_REFINEMENTS = (0, 1, 3, 2, 4)


class LitertNetworks(Networks):
    """Holistic's networks on numpy arrays.

    Args:
        weights: Folder of the `.tflite` files.
        face_points: 468 or 478, or 0 for the pose alone.
        threads: Threads that compute each network.
        complexity: Of the pose network: 0, 1 or 2.

    Raises:
        ModelError: A file of weights is missing or damaged.
    """

    def __init__(self, weights: Path, face_points: int, threads: int, complexity: int = 1) -> None:
        super().__init__(face_points, lambda spec: load_network(weights, spec, threads), complexity)


def load_network(weights: Path, spec: NetworkSpec, threads: int) -> LitertNetwork | AttentionNetwork:
    """Return one network of a folder of weights; raise ModelError where its file is missing or damaged."""
    with reading(weights / spec.file) as path:
        content = path.read_bytes()
        if spec is FACE_LANDMARK[478]:
            return AttentionNetwork(content, spec, threads)
        model = tflite_surgery.load_model(content)
        tflite_surgery.cut_out(model, spec.outputs)
        tflite_surgery.split_channel_scaling(model)
        tflite_surgery.drop_dead_channels(model)
        return LitertNetwork(tflite_surgery.pack_model(model), spec, threads)


class TensorNetwork:
    """A network in a `.tflite` file, from tensors to tensors, each with a first axis of one item."""

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
        """Return the outputs for the inputs as they are filled."""
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]


class LitertNetwork:
    """A network in a `.tflite` file, from crops to tensors."""

    def __init__(self, model: bytes, spec: NetworkSpec, threads: int) -> None:
        self._network = TensorNetwork(model, threads)
        self._values = input_values(spec.lowest)

    def __call__(self, crops: Crops) -> list[FloatArray]:
        """Return each output for M crops uint8 (M, size, size, 3): float32 (M, ...)."""
        return _stack_items([self._run(crop) for crop in crops])

    def _run(self, crop: Crops) -> list[FloatArray]:
        cv2.LUT(crop, self._values, dst=self._network.input(0)[0])
        return self._network.run()


class AttentionNetwork:
    """The network for 478 face points, as trunk and branches; `content` is that of its `.tflite` file."""

    def __init__(self, content: bytes, spec: NetworkSpec, threads: int) -> None:
        trunk, branches = (tflite_surgery.load_model(content) for _ in range(2))
        operators = tflite_surgery.custom_operators(trunk)
        transforms = [operator for operator in operators if operator.name == "Landmarks2TransformMatrix"]
        samplers = [operator for operator in operators if operator.name == "TransformTensorBilinear"]
        placements = [operator for operator in operators if operator.name == "TransformLandmarks"]

        self._regions = [RegionOfFace(**flexbuffers.Loads(operator.custom_options)) for operator in transforms]
        mesh, logit, *_ = spec.outputs
        found = [mesh, logit, samplers[0].inputs[0], *(operator.inputs[0] for operator in transforms)]
        tflite_surgery.cut_out(trunk, found)
        self._trunk = LitertNetwork(tflite_surgery.pack_model(trunk), spec, threads)

        given = [operator.outputs[0] for operator in (*samplers, *transforms)]
        refined = list(dict.fromkeys(tensor for operator in placements for tensor in operator.inputs))
        tflite_surgery.cut_out(branches, refined, given)
        self._branches = TensorNetwork(tflite_surgery.pack_model(branches), threads)
        self._placements = [tuple(refined.index(tensor) for tensor in operator.inputs) for operator in placements]

    def __call__(self, crops: Crops) -> list[FloatArray]:
        """Return each output for M crops uint8 (M, size, size, 3): float32 (M, ...)."""
        # The arithmetic in between takes all items at once: its many small steps cost as much for one as for eight.
        mesh, logit, features, *landmarks = self._trunk(crops)
        transforms = [
            landmarks_to_transform(points, region) for points, region in zip(landmarks, self._regions, strict=True)
        ]
        samples = [
            sample_bilinear(features, transform, region.output_height, region.output_width)
            for transform, region in zip(transforms, self._regions, strict=True)
        ]
        refined = _stack_items([self._refine([*samples, *transforms], item) for item in range(len(crops))])
        placed = [transform_landmarks(refined[points], refined[transform]) for points, transform in self._placements]
        return [mesh, logit, *(placed[index] for index in _ORDER_OF_REFINEMENTS)]

    def _refine(self, tensors: list[FloatArray], item: int) -> list[FloatArray]:
        """Return what the branches compute for one item of their inputs."""
        for position, tensor in enumerate(tensors):
            np.copyto(self._branches.input(position), tensor[item : item + 1])
        return self._branches.run()


def _stack_items(items: Sequence[list[FloatArray]]) -> list[FloatArray]:
    """Return each of several outputs for all items, from the outputs of one item after the other."""
    return items[0] if len(items) == 1 else [np.concatenate(outputs) for outputs in zip(*items, strict=True)]
