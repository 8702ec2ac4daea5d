"""Networks that compute nothing: outputs of the right shapes, to see what a pipeline does around them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    Networks,
    NetworkSpec,
)

# Shapes of what each file's `NetworkSpec.outputs` hold for a crop.
SHAPES: dict[str, list[tuple[int, ...]]] = {
    POSE_DETECTION.file: [(2254, 12), (2254, 1)],
    POSE_LANDMARK.file: [(195,), (1,), (64, 64, 39), (117,)],
    HAND_RECROP.file: [(4,)],
    HAND_LANDMARK.file: [(63,), (1,)],
    FACE_DETECTION.file: [(896, 16), (896, 1)],
    FACE_LANDMARK[468].file: [(1, 1, 1404), (1, 1, 1)],
    FACE_LANDMARK[478].file: [(1, 1, 1404), (1, 1, 1), (160,), (142,), (142,), (10,), (10,)],
}


def networks_of_nothing(face_points: int) -> Networks:
    """Return networks whose outputs are empty memory on the device of their crops."""

    def load(spec: NetworkSpec) -> Callable[[torch.Tensor], list[torch.Tensor]]:
        def network(crops: torch.Tensor) -> list[torch.Tensor]:
            assert crops.shape[1:] == (3, spec.size, spec.size)
            return [torch.empty((len(crops), *shape), device=crops.device) for shape in SHAPES[spec.file]]

        return network

    return Networks(face_points, load)
