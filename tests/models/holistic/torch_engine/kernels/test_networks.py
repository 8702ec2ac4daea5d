"""Holistic's networks as kernels, in Triton's interpreter: the bits of the plain torch path and of LiteRT."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import FakeTensorMode

from phoenix_ray.errors import ModelError
from phoenix_ray.models.holistic.litert_engine.networks import load_network
from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    POSE_LANDMARKS,
    NetworkSpec,
    input_values,
)
from phoenix_ray.models.holistic.tflite import read
from phoenix_ray.models.holistic.tflite_surgery import read_living
from phoenix_ray.models.holistic.torch_engine.graph import build_module
from phoenix_ray.models.holistic.torch_engine.kernels.network_plan import plan_network
from phoenix_ray.models.holistic.torch_engine.kernels.networks import KernelNetwork, KernelNetworks
from phoenix_ray.models.holistic.torch_engine.layers import in_order
from phoenix_ray.setting_types import Precision
from tests.models.holistic.torch_engine.kernels.large_tiles import in_large_tiles, takes_minutes

Array = NDArray[np.float32]
Crops = NDArray[np.uint8]

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
QUICK = (HAND_RECROP, FACE_DETECTION)
SLOW = (FACE_LANDMARK[478],)
# Layer by layer they are tested in test_convolutions.py, and in the whole engine in torch_engine/test_pipelines.py.
LARGE = (FACE_LANDMARK[468], HAND_LANDMARK, POSE_DETECTION, POSE_LANDMARK)
# Sums are LiteRT's on x86-64 with AVX2 or AVX-512.
SUMS_ARE_THOSE_OF_LITERT = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")


def crops_of(picture: Crops, spec: NetworkSpec, count: int) -> Crops:
    """Return the upper middle of a picture, each time a little further down, uint8 (count, size, size, 3)."""
    parts = [picture[9 * step : 400 + 9 * step, 60:460] for step in range(count)]
    return np.stack([cv2.resize(part, (spec.size, spec.size)) for part in parts]).astype(np.uint8)


def images_of(crops: Crops, spec: NetworkSpec) -> torch.Tensor:
    """Return what networks take for crops: float32 (count, 3, size, size)."""
    return torch.from_numpy(input_values(spec.lowest)[crops]).permute(0, 3, 1, 2).contiguous()


def kernel_outputs(
    weights: Path, spec: NetworkSpec, images: torch.Tensor, precision: Precision = "exact"
) -> list[torch.Tensor]:
    plan = plan_network(read_living((weights / spec.file).read_bytes(), spec.outputs))
    network = KernelNetwork(plan, DEVICE, precision)
    with torch.inference_mode(), in_large_tiles():
        return [output.cpu() for output in network(images.to(DEVICE, network.dtype))]


def torch_outputs(weights: Path, spec: NetworkSpec, images: torch.Tensor) -> list[torch.Tensor]:
    """Return the outputs of the plain torch path, with all channels, dead or alive."""
    module = build_module(read((weights / spec.file).read_bytes(), spec.outputs), in_order)
    with torch.inference_mode():
        outputs: list[torch.Tensor] = module(images.transpose(2, 3).contiguous())
    return outputs


def assert_bits_of_torch_and_litert(weights: Path, spec: NetworkSpec, picture: Crops) -> None:
    crops = crops_of(picture, spec, 1)
    images = images_of(crops, spec)
    found = kernel_outputs(weights, spec, images)
    for output, expected in zip(found, torch_outputs(weights, spec, images), strict=True):
        assert output.dtype == torch.float32
        np.testing.assert_array_equal(output.numpy(), expected.numpy())
    if SUMS_ARE_THOSE_OF_LITERT:
        for output, reference in zip(found, load_network(weights, spec, threads=1)(crops), strict=True):
            np.testing.assert_array_equal(output.numpy(), reference.reshape(output.shape))


@pytest.mark.parametrize("spec", QUICK, ids=lambda spec: str(spec.file))
def test_small_networks_give_the_bits_of_torch_and_litert(spec: NetworkSpec, weights: Path, astronaut: Crops) -> None:
    assert_bits_of_torch_and_litert(weights, spec, astronaut)


@takes_minutes
@pytest.mark.slow
@pytest.mark.parametrize("spec", LARGE, ids=lambda spec: str(spec.file))
def test_large_networks_give_the_bits_of_torch_and_litert(spec: NetworkSpec, weights: Path, astronaut: Crops) -> None:
    assert_bits_of_torch_and_litert(weights, spec, astronaut)


@takes_minutes
@pytest.mark.slow
@pytest.mark.parametrize("complexity", [0, 2])
def test_the_lite_and_the_heavy_pose_give_the_bits_of_torch_and_litert(
    complexity: int, all_weights: Path, astronaut: Crops
) -> None:
    assert_bits_of_torch_and_litert(all_weights, POSE_LANDMARKS[complexity], astronaut)


@pytest.mark.slow
@pytest.mark.parametrize("spec", SLOW, ids=lambda spec: str(spec.file))
def test_networks_give_the_bits_of_torch_and_litert(spec: NetworkSpec, weights: Path, astronaut: Crops) -> None:
    assert_bits_of_torch_and_litert(weights, spec, astronaut)


def test_an_item_does_not_depend_on_the_others_of_its_batch(weights: Path, astronaut: Crops) -> None:
    images = images_of(crops_of(astronaut, HAND_RECROP, 3), HAND_RECROP)
    (together,) = kernel_outputs(weights, HAND_RECROP, images)
    (alone,) = kernel_outputs(weights, HAND_RECROP, images[2:])
    np.testing.assert_array_equal(alone[0].numpy(), together[2].numpy())


def test_half_precision_is_near_and_gives_single_precision(weights: Path, astronaut: Crops) -> None:
    images = images_of(crops_of(astronaut, HAND_RECROP, 1), HAND_RECROP)
    (found,) = kernel_outputs(weights, HAND_RECROP, images, "fp16")
    (expected,) = torch_outputs(weights, HAND_RECROP, images)
    assert found.dtype == torch.float32
    assert 0 < float((found - expected).abs().max()) < 0.01 * float(expected.abs().max())


@pytest.mark.parametrize(("face_points", "precision"), [(468, "exact"), (478, "fp16")])
def test_networks_answer_the_pipeline_in_its_shapes(weights: Path, face_points: int, precision: Precision) -> None:
    networks = KernelNetworks(weights, face_points, torch.device("cpu"), precision)
    with FakeTensorMode(allow_non_fake_inputs=True):

        def images(spec: NetworkSpec) -> torch.Tensor:
            return torch.empty((2, 3, spec.size, spec.size), dtype=torch.float16 if precision == "fp16" else None)

        assert networks.pose_detection(images(POSE_DETECTION)).regressors.shape == (2, 2254, 12)
        assert networks.pose_landmark(images(POSE_LANDMARK)).heatmap.shape == (2, 64, 64, 39)
        assert networks.hand_recrop(images(HAND_RECROP)).shape == (2, 2, 2)
        assert networks.hand_landmark(images(HAND_LANDMARK)).logit.shape == (2,)
        assert networks.face_detection(images(FACE_DETECTION)).logits.shape == (2, 896)
        face = networks.face_landmark(images(FACE_LANDMARK[face_points]))
        assert face.mesh.shape == (2, 468, 3)
        assert len(face.refinements) == (5 if face_points == 478 else 0)


def test_damaged_weights_are_named_with_the_way_out(weights: Path, tmp_path: Path) -> None:
    for file in weights.glob("*.tflite"):
        (tmp_path / file.name).symlink_to(file)
    damaged = tmp_path / HAND_RECROP.file
    whole = damaged.read_bytes()
    damaged.unlink()
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=rf"{HAND_RECROP.file} is damaged.*phoenix-ray models install"):
        KernelNetworks(tmp_path, 468, DEVICE, "exact")
