"""The pipeline in kernels: bit for bit the array pipeline with the same networks, and nothing read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.pipeline import HolisticLandmarks, HolisticPipeline
from phoenix_ray.models.holistic.torch_engine.crops import Uploader
from phoenix_ray.models.holistic.torch_engine.kernels import pipeline
from phoenix_ray.models.holistic.torch_engine.kernels.pipeline import KernelPipeline
from phoenix_ray.models.holistic.torch_engine.kernels.regions import DeviceFrames
from phoenix_ray.models.holistic.torch_engine.networks import TorchNetworks
from tests.golden.astronaut import View, render
from tests.models.holistic.torch_engine.kernels.float_networks import plain_crops, plain_networks
from tests.models.holistic.torch_engine.kernels.test_rectangles import assert_same_bits

Image = NDArray[np.uint8]
Rows = NDArray[np.float32]
CPU = torch.device("cpu")


def upload(images: Sequence[Image], device: str = "cpu") -> DeviceFrames:
    shapes = np.array([image.shape[:2] for image in images], np.int64)
    sizes = shapes.prod(axis=1)
    table = np.stack([np.cumsum(sizes) - sizes, shapes[:, 1], shapes[:, 0]])
    pixels = np.concatenate([image.reshape(-1) for image in images])
    return DeviceFrames(torch.from_numpy(pixels).to(device), torch.from_numpy(table).to(device))


def rows_of(found: HolisticLandmarks, face_points: int) -> Rows:
    """Return the rows of `RowColumns` from what the array pipeline found."""
    parts = [found.pose, found.left_hand, found.right_hand, found.face] if face_points else [found.pose]
    points = [found.pose.points, found.world, *(part.points for part in parts[1:])]
    scores = torch.stack([part.score for part in parts], dim=1)
    rows: Rows = torch.cat([*(values.flatten(1) for values in points), scores], dim=1).numpy()
    return rows


class Both:
    """The two pipelines with the same networks and thresholds."""

    def __init__(self, weights: Path, face_points: int = 468, heatmap_kernel: int = 7) -> None:
        self.arrays = HolisticPipeline(
            TorchNetworks(weights, face_points, CPU, "exact"),
            torch.from_numpy(POSE_ANCHORS),
            torch.from_numpy(FACE_ANCHORS),
            heatmap_kernel,
            0.5,
            0.5,
        )
        self.kernels = KernelPipeline(
            plain_networks(weights, face_points),
            CPU,
            heatmap_kernel=heatmap_kernel,
            min_detection_confidence=0.5,
            min_tracking_confidence=0.5,
        )

    def expected(self, images: Sequence[Image]) -> Rows:
        with torch.inference_mode():
            found = self.arrays.estimate(Uploader(CPU).upload(images, len(images)))
            return rows_of(found, self.arrays.networks.face_points)

    def found(self, images: Sequence[Image]) -> Rows:
        with torch.inference_mode():
            rows: Rows = self.kernels.estimate(upload(images)).numpy()
            return rows


@pytest.fixture
def _quick_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops have tests of their own, and take minutes in the interpreter."""
    monkeypatch.setattr(pipeline, "cut_crops", plain_crops)


@pytest.fixture(scope="module")
def frames(astronaut: Image) -> list[Image]:
    """Frames of a person, turned, of other sizes, and one of nobody."""
    views = [
        View(224, 150, 260, degrees=-16),
        View(236, 168, 308, degrees=12),
        View(230, 160, 300, width=150, height=140),
    ]
    return [*(render(astronaut, view) for view in views), np.zeros((90, 160, 3), np.uint8)]


@pytest.mark.usefixtures("_quick_crops")
def test_landmarks_are_those_of_the_array_pipeline(weights: Path, frames: list[Image]) -> None:
    both = Both(weights)
    expected, found = both.expected(frames), both.found(frames)
    assert np.isnan(expected[:, 0]).tolist() == [False, False, False, True]
    assert_same_bits(expected, found)
