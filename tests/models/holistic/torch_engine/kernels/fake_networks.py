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
from phoenix_ray.models.holistic.torch_engine.kernels.pipeline import KernelPipeline
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames

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


def pipeline_of_nothing(face_points: int, frames: int, device: torch.device) -> tuple[KernelPipeline, DeviceFrames]:
    """Return a pipeline around such networks, and frames of 210x260 that nobody has written."""
    pipeline = KernelPipeline(
        networks_of_nothing(face_points),
        device,
        heatmap_kernel=9,
        min_detection_confidence=0.5,
        min_tracking_confidence=0.5,
    )
    pixels = torch.empty(frames * 210 * 260 * 3, dtype=torch.uint8, device=device)
    return pipeline, DeviceFrames(pixels, torch.empty((3, frames), dtype=torch.int64, device=device))
