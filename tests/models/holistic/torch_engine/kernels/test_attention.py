"""The attention network's operators in kernels: the bits of the array code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from phoenix_ray.models.holistic import attention as formulas
from phoenix_ray.models.holistic.attention import LEFT_EYE, LIPS, RIGHT_EYE, RegionOfFace
from phoenix_ray.models.holistic.torch_engine.kernels import attention
from phoenix_ray.models.holistic.torch_engine.kernels.launching import recording
from tests.models.holistic.torch_engine.kernels.test_elementary import assert_same_bits

FloatArray = NDArray[np.float32]
# Those of the attention network, and one whose numbers are all different.
REGIONS = {
    "lips": RegionOfFace(61, 291, 0.0, LIPS, 1.5, 1.5, 16, 16),
    "right eye": RegionOfFace(33, 133, 0.0, RIGHT_EYE, 1.5, 1.5, 16, 16),
    "left eye": RegionOfFace(362, 263, 0.0, LEFT_EYE, 1.5, 1.5, 16, 16),
    "uneven": RegionOfFace(5, 467, 0.3, (7, 3, 467), 1.3, 0.7, 12, 7),
}


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(5)


def on(device_name: str, values: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(values).to(device_name)


def faces(random: np.random.Generator, count: int = 9) -> FloatArray:
    """Random faces, the last of them with a NaN in a point of every region, and one that is a point."""
    values = random.normal(20, 12, (count, 468, 3)).astype(np.float32)
    values[-1, 467] = values[-1, LIPS[9]] = values[-1, 133] = math.nan
    values[-2] = values[-2, :1]
    return values


@pytest.mark.parametrize("name", REGIONS)
def test_a_regions_transform_has_the_bits_of_the_array_code(
    name: str, random: np.random.Generator, device_name: str
) -> None:
    landmarks = faces(random)
    found = attention.landmarks_to_transform(on(device_name, landmarks), REGIONS[name])
    assert_same_bits(formulas.landmarks_to_transform(landmarks, REGIONS[name]), found.cpu().numpy())


def grids(random: np.random.Generator, count: int) -> FloatArray:
    """Transforms whose grids lie within features of 12 x 10 cells, partly outside, and on their edges."""
    transforms = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    transforms[:, :2, :2] = random.normal(0, 0.6, (count, 2, 2))
    transforms[:, :2, 3] = random.uniform(-2, 12, (count, 2))
    transforms[0] = np.eye(4)
    transforms[1, 0, 3] = math.nan
    return transforms


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [32, 5])
def test_samples_of_features_have_the_bits_of_the_array_code(
    channels_last: bool, channels: int, random: np.random.Generator, device_name: str
) -> None:
    features = random.normal(0, 1, (6, 10, 12, channels)).astype(np.float32)
    transforms = grids(random, 6)
    expected = formulas.sample_bilinear(features, transforms, 9, 11)
    given = on(device_name, features).permute(0, 3, 1, 2)
    found = attention.sample_bilinear(
        given if channels_last else given.contiguous(), on(device_name, transforms), 9, 11
    )
    assert found.shape == (6, channels, 9, 11)
    assert 0.2 < (expected != 0).mean() < 0.9
    assert_same_bits(expected, found.permute(0, 2, 3, 1).cpu().contiguous().numpy())


@pytest.mark.parametrize("points", [5, 71, 80])
def test_moved_points_have_the_bits_of_the_array_code(
    points: int, random: np.random.Generator, device_name: str
) -> None:
    landmarks, transforms = random.normal(8, 5, (7, points, 2)).astype(np.float32), grids(random, 7)
    found = attention.transform_landmarks(on(device_name, landmarks), on(device_name, transforms))
    assert_same_bits(formulas.transform_landmarks(landmarks, transforms), found.cpu().numpy())


@pytest.mark.parametrize("size", [1, 192])
def test_a_refined_face_has_the_bits_of_the_array_code(
    size: int, random: np.random.Generator, device_name: str
) -> None:
    mesh = faces(random)
    refinements = [random.normal(90, 30, (len(mesh), count, 2)).astype(np.float32) for count in (80, 71, 71, 5, 5)]
    expected = formulas.refine_face(mesh / np.float32(size), [values / np.float32(size) for values in refinements])
    found = attention.refine_face(on(device_name, mesh), [on(device_name, values) for values in refinements], size)
    assert_same_bits(expected, found.cpu().numpy())


def test_each_operator_is_a_single_launch_and_a_refined_face_too(random: np.random.Generator, device_name: str) -> None:
    mesh = on(device_name, faces(random, 2))
    features = on(device_name, random.normal(0, 1, (2, 3, 10, 12)).astype(np.float32))
    with recording() as launches:
        transforms = attention.landmarks_to_transform(mesh, REGIONS["lips"])
        attention.sample_bilinear(features, transforms, 16, 16)
        attention.transform_landmarks(mesh[:, :80, :2], transforms)
        attention.refine_face(mesh, [mesh[:, :count, :2] for count in (80, 71, 71, 5, 5)])
    assert [launch.name for launch in launches] == ["find_transforms", "sample", "move", "refine"]
