"""Both pipelines with networks that say whatever a test wants, and do not look at their crops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.geometry import ImageSize, Rect
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
from phoenix_ray.models.holistic.pipeline import HolisticLandmarks, HolisticPipeline
from phoenix_ray.models.holistic.torch_engine.kernels import pipeline as kernels
from phoenix_ray.models.holistic.torch_engine.kernels.regions import Regions
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames
from tests.models.holistic.torch_engine.kernels.fake_networks import SHAPES

Rows = NDArray[np.float32]
# File of a network → what it says of each crop, in the order of `NetworkSpec.outputs`.
Sayings = dict[str, list[NDArray[np.float32]]]


def plausible(frames: int, seed: int, face_points: int = 468) -> Sayings:
    """Return what networks may say of frames: most show a person whose parts are found, some do not."""
    random = np.random.default_rng(seed)
    mesh = FACE_LANDMARK[face_points].file
    counts = {file: frames * (2 if file in (HAND_RECROP.file, HAND_LANDMARK.file) else 1) for file in SHAPES}
    ranges = {
        POSE_LANDMARK.file: [(20, 236), (-1, 5), (-5, 3), (-1, 1)],
        HAND_RECROP.file: [(40, 216)],
        HAND_LANDMARK.file: [(0, 224), (-1, 5)],
        mesh: [(0, 192), (-1, 5), *[(0, 192)] * 5],
    }
    sayings: Sayings = {
        file: [
            random.uniform(*limits, (counts[file], *shape)).astype(np.float32)
            for limits, shape in zip(ranges[file], SHAPES[file], strict=False)
        ]
        for file in ranges
    }
    points = sayings[POSE_LANDMARK.file][0].reshape(frames, 39, 5)
    points[:, :, 3] = random.uniform(-4, 4, (frames, 39))
    for spec, anchors in ((POSE_DETECTION, POSE_ANCHORS), (FACE_DETECTION, FACE_ANCHORS)):
        (_, numbers), _ = SHAPES[spec.file]
        boxes = random.normal(0, 0.1 * spec.size, (frames, len(anchors), numbers))
        boxes[:, :, :2] += (0.5 - anchors) * spec.size
        boxes[:, :, 2:4] = random.uniform(0.1, 0.6, (frames, len(anchors), 2)) * spec.size
        logits = random.normal(-5, 2, (frames, len(anchors), 1))
        sayings[spec.file] = [boxes.astype(np.float32), logits.astype(np.float32)]
    return sayings


def networks_that_say(sayings: Sayings, face_points: int, device_name: str) -> Networks:
    """Return networks that say this of their crops, whatever they show."""

    def load(spec: NetworkSpec) -> Callable[[Any], list[torch.Tensor]]:
        outputs = [torch.from_numpy(values).to(device_name) for values in sayings[spec.file]]

        def network(crops: Any) -> list[torch.Tensor]:
            assert len(crops) == len(outputs[0])
            return outputs

        return network

    return Networks(face_points, load)


@dataclass
class Blind:
    """Images that cannot be seen; a `networks.Cropper`."""

    sides: NDArray[np.int64]

    @property
    def size(self) -> ImageSize:
        return ImageSize(*torch.from_numpy(self.sides.astype(np.float32)))

    def crop(self, image: torch.Tensor, roi: Rect, network: NetworkSpec) -> torch.Tensor:
        return image


def frames_of(sides: NDArray[np.int64], device_name: str) -> DeviceFrames:
    """Return frames of which nothing but the size is known: int64 (2, N), widths and heights."""
    table = np.concatenate([np.zeros_like(sides[:1]), sides])
    return DeviceFrames(torch.empty(0, dtype=torch.uint8).to(device_name), torch.from_numpy(table).to(device_name))


def no_crops(frames: DeviceFrames, regions: Regions, spec: NetworkSpec, dtype: torch.dtype) -> torch.Tensor:
    """Stand in for `crops.cut_crops`: as many crops as there are regions, without pixels."""
    return torch.empty((len(regions.present), 0))


def some_sides(frames: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(40, 1300, (2, frames))


def rows_of(found: HolisticLandmarks, face_points: int) -> Rows:
    """Return the rows of `RowColumns` from what the array pipeline found."""
    parts = [found.pose, found.left_hand, found.right_hand, found.face] if face_points else [found.pose]
    points = [found.pose.points, found.world, *(part.points for part in parts[1:])]
    scores = torch.stack([part.score for part in parts], dim=1)
    rows: Rows = torch.cat([*(values.flatten(1) for values in points), scores], dim=1).numpy()
    return rows


def array_pipeline(sayings: Sayings, face_points: int = 468, window: int = 7) -> HolisticPipeline:
    networks = networks_that_say(sayings, face_points, "cpu")
    return HolisticPipeline(networks, torch.from_numpy(POSE_ANCHORS), torch.from_numpy(FACE_ANCHORS), window, 0.5, 0.5)


def kernel_pipeline(
    sayings: Sayings, device_name: str, face_points: int = 468, window: int = 7
) -> kernels.KernelPipeline:
    return kernels.KernelPipeline(
        networks_that_say(sayings, face_points, device_name),
        torch.device(device_name),
        heatmap_kernel=window,
        min_detection_confidence=0.5,
        min_tracking_confidence=0.5,
    )


def rows_of_arrays(sayings: Sayings, sides: NDArray[np.int64], face_points: int = 468, window: int = 7) -> Rows:
    """Return what the array pipeline makes of it."""
    return rows_of(array_pipeline(sayings, face_points, window).estimate(Blind(sides)), face_points)


def rows_of_kernels(
    sayings: Sayings, sides: NDArray[np.int64], device_name: str, face_points: int = 468, window: int = 7
) -> Rows:
    """Return what the pipeline in kernels makes of it."""
    pipeline = kernel_pipeline(sayings, device_name, face_points, window)
    with patch.object(kernels, "cut_crops", no_crops):
        rows: Rows = pipeline.estimate(frames_of(sides, device_name)).cpu().numpy()
    return rows
