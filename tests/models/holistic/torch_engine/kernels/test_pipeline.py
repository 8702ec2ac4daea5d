"""The pipeline in kernels: bit for bit the array pipeline with the same networks, and nothing read back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from phoenix_ray.models.holistic import elementary as formulas
from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.pipeline import HolisticPipeline
from phoenix_ray.models.holistic.torch_engine.kernels import pipeline as kernels
from phoenix_ray.models.holistic.torch_engine.kernels.launching import Launch, recording
from phoenix_ray.models.holistic.torch_engine.kernels.pipeline import KernelPipeline
from phoenix_ray.models.holistic.torch_engine.networks import TorchNetworks
from tests.golden.astronaut import LEFT_HAND, RIGHT_HAND, render
from tests.models.holistic.torch_engine.kernels.fake_networks import pipeline_of_nothing
from tests.models.holistic.torch_engine.kernels.float_networks import plain_crops, plain_networks
from tests.models.holistic.torch_engine.kernels.frames import on_device
from tests.models.holistic.torch_engine.kernels.large_tiles import takes_minutes
from tests.models.holistic.torch_engine.kernels.saying_networks import (
    Rows,
    Sayings,
    plausible,
    rows_of,
    rows_of_arrays,
    rows_of_kernels,
    some_sides,
)
from tests.models.holistic.torch_engine.kernels.test_rectangles import assert_same_bits
from tests.models.holistic.torch_engine.uploaded import cropper_of

Image = NDArray[np.uint8]
CPU = torch.device("cpu")


class Both:
    """The two pipelines with the same networks and thresholds."""

    def __init__(self, weights: Path, face_points: int = 468, heatmap_kernel: int = 7) -> None:
        self.face_points = face_points
        networks = TorchNetworks(weights, face_points, CPU, "exact")
        anchors = torch.from_numpy(POSE_ANCHORS), torch.from_numpy(FACE_ANCHORS)
        self.arrays = HolisticPipeline(networks, *anchors, heatmap_kernel, 0.5, 0.5)
        self.kernels = KernelPipeline(
            plain_networks(weights, face_points),
            CPU,
            heatmap_kernel=heatmap_kernel,
            min_detection_confidence=0.5,
            min_tracking_confidence=0.5,
        )

    def expected(self, images: Sequence[Image]) -> Rows:
        with torch.inference_mode():
            return rows_of(self.arrays.estimate(cropper_of(images)), self.face_points)

    def found(self, images: Sequence[Image]) -> Rows:
        """Return the same without the crop kernel, which takes minutes in the interpreter."""
        with patch.object(kernels, "cut_crops", plain_crops):
            return self.found_in_crops_of_the_kernel(images)

    def found_in_crops_of_the_kernel(self, images: Sequence[Image]) -> Rows:
        with torch.inference_mode():
            rows: Rows = self.kernels.estimate(on_device(images, "cpu")).numpy()
            return rows


@pytest.mark.slow
def test_landmarks_are_those_of_the_array_pipeline(weights: Path, astronaut: Image) -> None:
    both = Both(weights)
    frames = [*(render(astronaut, view) for view in (LEFT_HAND[2], RIGHT_HAND[0])), np.zeros((90, 160, 3), np.uint8)]
    expected, columns = both.expected(frames), both.kernels.columns.points
    assert np.isfinite(expected[:, [0, columns["face"]]]).tolist() == [[True, True]] * 2 + [[False, False]]
    assert np.isfinite(expected[[0, 1], [columns["left_hand"], columns["right_hand"]]]).all()
    assert_same_bits(expected, both.found(frames))


@takes_minutes
@pytest.mark.slow
def test_poses_alone_are_those_of_the_array_pipeline_in_crops_of_the_kernel_too(
    weights: Path, moving_astronaut: list[Image]
) -> None:
    both = Both(weights, face_points=0, heatmap_kernel=9)
    expected = both.expected(moving_astronaut[:1])
    assert np.isfinite(expected).all()
    assert_same_bits(expected, both.found_in_crops_of_the_kernel(moving_astronaut[:1]))


@pytest.mark.slow
@pytest.mark.samples
def test_landmarks_of_signers_are_those_of_the_array_pipeline(weights: Path, phoenix_sample: Path) -> None:
    files = sorted(phoenix_sample.glob("**/*.png"))[20::150]
    frames = [np.asarray(cv2.imread(str(file)), dtype=np.uint8)[:, :, ::-1].copy() for file in files]
    both = Both(weights)
    expected = both.expected(frames)
    assert np.isfinite(expected).mean() > 0.9
    assert_same_bits(expected, both.found(frames))


@pytest.mark.parametrize("face_points", [468, 0])
def test_whatever_networks_say_becomes_the_rows_of_the_array_pipeline(face_points: int, device_name: str) -> None:
    sayings, sides = plausible(6, seed=7), some_sides(6, seed=7)
    expected = rows_of_arrays(sayings, sides, face_points)
    assert 0 < np.isnan(expected).mean() < 0.7
    assert_same_bits(expected, rows_of_kernels(sayings, sides, device_name, face_points))


def test_a_frame_gives_the_same_row_whatever_its_neighbours(device_name: str) -> None:
    sayings, sides = plausible(4, seed=9), some_sides(4, seed=9)
    together = rows_of_kernels(sayings, sides, device_name)
    order = [2, 0]
    apart = rows_of_kernels(of_frames(sayings, order, 4), np.ascontiguousarray(sides[:, order]), device_name)
    assert_same_bits(together[order], apart)


def of_frames(sayings: Sayings, order: list[int], frames: int) -> Sayings:
    """Return what networks say of some frames; of hands, of those on the left, then of those on the right."""
    both_sides = [*order, *(frames + index for index in order)]
    return {
        file: [values[order if len(values) == frames else both_sides] for values in outputs]
        for file, outputs in sayings.items()
    }


class Operators(TorchDispatchMode):  # type: ignore[misc]  # torch is not analysed
    """Counts the operators of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names[str(operator)] += 1
        return operator(*args, **(kwargs or {}))


@pytest.fixture
def _no_cache() -> Iterator[None]:
    """Tables that are made of fake tensors must not be found by other tests, nor theirs here."""
    formulas.powers_of_two.cache_clear()
    yield
    formulas.powers_of_two.cache_clear()


def launches_and_operators(face_points: int, frames: int = 128) -> tuple[list[Launch], Counter[str]]:
    """Return what a batch launches on a GPU that is not there, but for the networks."""
    with FakeTensorMode(), torch.inference_mode():
        device = torch.device("cuda:0")
        pipeline, some = pipeline_of_nothing(face_points, frames, device)
        with recording() as launches, Operators() as operators:
            rows = pipeline.estimate(some)
    assert (rows.shape, rows.dtype, rows.device) == ((frames, pipeline.columns.count), torch.float32, device)
    return launches, operators.names


@pytest.mark.usefixtures("_no_cache")
@pytest.mark.parametrize(("face_points", "count"), [(468, 20), (0, 6)])
def test_a_batch_takes_few_launches_reads_nothing_back_and_brings_nothing_to_the_device(
    face_points: int, count: int
) -> None:
    launches, operators = launches_and_operators(face_points)
    # Memory is set aside, and the networks' outputs get their shape: neither computes, and no value is asked for.
    assert operators.keys() <= {"aten.empty.memory_format", "aten.reshape.default", "aten.view.default"}
    assert len(launches) == count
    assert Counter(launch.name for launch in launches)["warp"] == (6 if face_points else 2)


@pytest.mark.usefixtures("_no_cache")
def test_around_crops_and_networks_a_batch_moves_less_than_a_megabyte_a_frame() -> None:
    launches, _ = launches_and_operators(468)
    moved = sum(launch.bytes_moved for launch in launches if launch.name != "warp")
    assert moved < 128 * 1e6
