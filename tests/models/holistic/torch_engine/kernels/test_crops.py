"""The crop kernel: the bits of OpenCV."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from phoenix_ray.models.holistic.crop_transforms import MAX_SIDE, image_from_crop
from phoenix_ray.models.holistic.geometry import Rect
from phoenix_ray.models.holistic.networks import NetworkSpec, input_values
from phoenix_ray.models.holistic.torch_engine.kernels import crops
from phoenix_ray.models.holistic.torch_engine.kernels.regions import BOX_ROWS, Regions
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames
from tests.models.holistic.floats import float32
from tests.models.holistic.torch_engine.kernels.conftest import INTERPRETED
from tests.models.holistic.torch_engine.kernels.frames import on_device, random_frames

SIZES = [(260, 210), (1, 1), (30, 300), (299, 7), (64, 48)]
INSIDE_AND_OUTSIDE = [
    # The whole of a PHOENIX frame, whose pixels lie between two steps, half outside, wholly outside, and without area.
    *[(105.0, 130.0, 260.0, 260.0, 0.0), (0.0, 130.0, 260.0, 260.0, 0.3), (-900.0, 0.0, 99.0, 99.0, 0.0)],
    *[(1e7, 1e7, 1e-6, 1e-6, 0.4), (20.0, 20.0, 0.05, 0.05, math.pi / 2), (105.0, 130.0, 5e4, 5e4, 0.1)],
]


@pytest.fixture
def _large_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes as long for a small tile as for a large one."""
    if INTERPRETED:
        monkeypatch.setattr(crops, "TILE_ROWS", 256)
        monkeypatch.setattr(crops, "ROWS_AT_ONCE", 256)
        monkeypatch.setattr(crops, "TILE_COLUMNS", 64)


def random_rois(random: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Return ROIs in pixels, float32 (count, 5), half of them about the frames, the others anywhere; some are known."""
    near = np.arange(count) % 2 == 0
    x = np.where(near, random.uniform(-20, 230, count), random.uniform(-2000, 2400, count))
    y = np.where(near, random.uniform(-20, 280, count), random.uniform(-2000, 2400, count))
    side = np.exp(np.where(near, random.uniform(2, 6, count), random.uniform(-3, 11, count)))
    aspect = random.choice([1.0, 1.0, 0.2, 1.01, 7.0], count)
    right_angles = random.choice([0.0, math.pi / 2, math.pi, -math.pi / 4], count)
    rotation = np.where(random.random(count) < 0.3, right_angles, random.uniform(-7, 7, count))
    rois = float32(np.stack([x, y, side, side * aspect, rotation], axis=1))
    known = INSIDE_AND_OUTSIDE[: count // 2]
    rois[: len(known)] = known
    return rois


def by_opencv(
    frames: Sequence[NDArray[np.uint8]], matrices: NDArray[np.float64], spec: NetworkSpec
) -> NDArray[np.float32]:
    """Return what a network sees of the crops that `litert_engine` makes, (M, 3, size, size)."""
    border = cv2.BORDER_REPLICATE if spec.repeat_border else cv2.BORDER_CONSTANT
    flags, shape = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (spec.size, spec.size)
    warped = [
        cv2.warpPerspective(
            frames[item % len(frames)], matrix.reshape(3, 3), shape, flags=flags, borderMode=border, borderValue=0
        )
        for item, matrix in enumerate(matrices)
    ]
    seen: NDArray[np.float32] = input_values(spec.lowest)[np.stack(warped)].transpose(0, 3, 1, 2)
    return seen


def by_kernel(
    frames: Sequence[NDArray[np.uint8]],
    matrices: NDArray[np.float64],
    spec: NetworkSpec,
    device_name: str,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    return cut(on_device(frames, device_name), matrices, spec, dtype)


def cut(
    frames: DeviceFrames, matrices: NDArray[np.float64], spec: NetworkSpec, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    count = len(matrices)
    regions = Regions(
        torch.ones(count, dtype=torch.uint8),
        torch.zeros((BOX_ROWS, count)),
        torch.from_numpy(np.ascontiguousarray(matrices.T)).to(frames.pixels.device),
    )
    return crops.cut_crops(frames, regions, spec, dtype).cpu()


def assert_same_crops(expected: NDArray[np.float32], found: torch.Tensor) -> None:
    same = (expected.view(np.uint32) == found.numpy().view(np.uint32)).all(axis=(1, 2, 3))
    assert same.all(), f"crops {np.flatnonzero(~same)} differ"


def check(seed: int, count: int, spec: NetworkSpec, device_name: str) -> None:
    random = np.random.default_rng(seed)
    frames = random_frames(random, [*SIZES, tuple(random.integers(1, 300, 2))])
    matrices = image_from_crop(Rect(*random_rois(random, count).T), spec.size)
    assert_same_crops(by_opencv(frames, matrices, spec), by_kernel(frames, matrices, spec, device_name))


@pytest.mark.usefixtures("_large_tiles")
@pytest.mark.parametrize("repeat_border", [True, False])
@pytest.mark.parametrize("lowest", [0.0, -1.0])
@pytest.mark.parametrize(("size", "count"), [(24, 40), (80, 10), pytest.param(24, 250, marks=pytest.mark.slow)])
def test_crops_are_the_same_bits_as_those_of_opencv(
    size: int, count: int, lowest: float, repeat_border: bool, device_name: str
) -> None:
    check(count, count, NetworkSpec("", size, lowest, repeat_border), device_name)


@pytest.mark.usefixtures("_large_tiles")
@pytest.mark.parametrize("repeat_border", [True, False])
@pytest.mark.parametrize("size", [128, 192, 224, 256])
def test_crops_of_the_networks_sizes_are_those_of_opencv(size: int, repeat_border: bool, device_name: str) -> None:
    check(size, 4, NetworkSpec("", size, 0.0, repeat_border), device_name)


@pytest.mark.parametrize("size", [96, 70])
def test_tiles_make_up_a_crop(size: int, device_name: str) -> None:
    check(size, 2, NetworkSpec("", size, -1.0, repeat_border=False), device_name)


@pytest.mark.usefixtures("_large_tiles")
@pytest.mark.parametrize("repeat_border", [True, False])
def test_any_matrix_looks_where_opencv_looks(repeat_border: bool, device_name: str) -> None:
    """Numbers that are none, divisors of 0, and places beyond int32 and beyond 16 bits; never outside of the frame."""
    frames = random_frames(np.random.default_rng(3), [(20, 30), (9, 5)])
    usual = np.array([1.0, 0, 3, 0, 1, 4, 0, 0, 1])
    strange = (0.0, math.nan, math.inf, -math.inf, 1e300, -1e300, 1e-300, 2.0**31, 67108863.984375)
    # Just below and above what int32 holds in steps of 1/32 pixel, and 16 bits in pixels.
    ends = (2.0**26 - 1 / 64, 2.0**26, -(2.0**26), 32767.5, 32768.5, -32768.5, -32769.5, -1.5, -0.5)
    matrices = np.stack(
        [
            *(usual, -usual, 0 * usual, np.full(9, math.nan), np.full(9, math.inf)),
            *(np.where(np.arange(9) == entry, value, usual) for entry in range(9) for value in strange),
            *(np.array([0, 0, end, 0, 1, 4, 0, 0, 1.0]) for end in ends),
            # A divisor that is 0 within the crop.
            np.array([1.0, 0, 3, 0, 1, 4, 1, 0, -8]),
        ]
    )
    spec = NetworkSpec("", 16, 0.0, repeat_border)
    assert_same_crops(by_opencv(frames, matrices, spec), by_kernel(frames, matrices, spec, device_name))


def test_frames_as_long_as_opencv_warps_are_cropped_to_their_end(device_name: str) -> None:
    frames = random_frames(np.random.default_rng(4), [(2, MAX_SIDE), (MAX_SIDE, 2)])
    rois = float32([(MAX_SIDE - 3, 1, 16, 16, 0.2), (1, MAX_SIDE - 3, 16, 16, 0.1), (9000, 1, 12, 12, 0)])
    spec = NetworkSpec("", 16, 0.0, repeat_border=True)
    matrices = image_from_crop(Rect(*rois.T), spec.size)
    assert_same_crops(by_opencv(frames, matrices, spec), by_kernel(frames, matrices, spec, device_name))


def test_a_frame_of_more_bytes_than_int32_counts_is_cropped_at_its_end(device_name: str) -> None:
    # The zeros take no memory until they are written.
    frame = np.zeros((MAX_SIDE, 22_000, 3), dtype=np.uint8)
    assert frame.size > 2**31
    frame[-20:, -20:] = np.random.default_rng(5).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    height, width = frame.shape[:2]
    table = torch.tensor([[0], [width], [height]], device=device_name)
    spec = NetworkSpec("", 16, 0.0, repeat_border=True)
    roi = float32([(width - 9, height - 9, 16, 16, 0.3)])
    matrices = image_from_crop(Rect(*roi.T), spec.size)
    found = cut(DeviceFrames(torch.from_numpy(frame.reshape(-1)).to(device_name), table), matrices, spec)
    assert_same_crops(by_opencv([frame], matrices, spec), found)


@pytest.mark.parametrize("lowest", [0.0, -1.0])
def test_every_grey_value_becomes_what_a_network_sees_of_it(lowest: float, device_name: str) -> None:
    greys = np.arange(256, dtype=np.uint8).reshape(16, 16)
    spec, matrix = NetworkSpec("", 16, lowest, repeat_border=True), np.eye(3).reshape(1, 9)
    found = by_kernel([np.stack([greys, greys[::-1], greys.T], axis=2)], matrix, spec, device_name)[0].numpy()
    values = input_values(lowest).reshape(16, 16)
    np.testing.assert_array_equal(found, [values, values[::-1], values.T])
    half = by_kernel([np.stack([greys] * 3, axis=2)], matrix, spec, device_name, torch.float16)
    np.testing.assert_array_equal(half.numpy()[0, 0], values.astype(np.float16))
