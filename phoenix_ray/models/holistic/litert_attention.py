"""The attention network for 478 face points in LiteRT, which does not know three of its operators.

The network is cut in two around them: the *trunk* finds the mesh and a map of features, the *branches* refine lips and
eyes from samples of that map. Where to sample and how the refined points go back into the face is computed in between
and after, by `attention`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from flatbuffers import flexbuffers

from phoenix_ray.models.holistic import graph
from phoenix_ray.models.holistic.attention import (
    RegionOfFace,
    landmarks_to_transform,
    sample_bilinear,
    transform_landmarks,
)
from phoenix_ray.models.holistic.litert_network import (
    Crops,
    FloatArray,
    ImageNetwork,
    TensorNetwork,
    stack_items,
)
from phoenix_ray.models.holistic.networks import FACE_LANDMARK, FaceOutput
from phoenix_ray.models.weights import reading

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
            trunk, branches = (graph.load_model(path.read_bytes()) for _ in range(2))
            operators = graph.custom_operators(trunk)
            transforms = [operator for operator in operators if operator.name == "Landmarks2TransformMatrix"]
            samplers = [operator for operator in operators if operator.name == "TransformTensorBilinear"]
            placements = [operator for operator in operators if operator.name == "TransformLandmarks"]

            self._regions = [RegionOfFace(**flexbuffers.Loads(operator.options)) for operator in transforms]
            found = [MESH, FLAG, samplers[0].inputs[0], *(operator.inputs[0] for operator in transforms)]
            graph.cut(trunk, found)
            self._trunk = ImageNetwork(graph.pack_model(trunk), expects, threads)

            given = [operator.outputs[0] for operator in (*samplers, *transforms)]
            refined = list(dict.fromkeys(tensor for operator in placements for tensor in operator.inputs))
            graph.cut(branches, refined, given)
            self._branches = TensorNetwork(graph.pack_model(branches), threads)
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
