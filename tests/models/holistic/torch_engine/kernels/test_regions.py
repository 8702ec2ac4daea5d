"""Regions: the views of ROIs, or of whole frames where there is none, with the bits of the array code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from phoenix_ray.models.holistic import geometry
from phoenix_ray.models.holistic.crop_transforms import image_from_crop
from phoenix_ray.models.holistic.geometry import ImageSize, Rect
from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    NetworkSpec,
)
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from phoenix_ray.models.holistic.torch_engine.kernels.regions import (
    BOX_ROWS,
    Regions,
    regions_at,
    store_region,
    whole_frames,
)
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames
from tests.models.holistic.floats import float32
from tests.models.holistic.torch_engine.kernels.saying_networks import frames_of, some_sides
from tests.models.holistic.torch_engine.kernels.test_elementary import assert_same_bits

COUNT, LANES = 1000, 1024
FRAMES = 20
SPECS = [POSE_DETECTION, HAND_RECROP, FACE_DETECTION, FACE_LANDMARK[468]]


@triton.jit
def store_regions(
    rois,
    sizes,
    worthwhile,
    present,
    boxes,
    matrices,
    count,
    side: tl.constexpr,
    stretches: tl.constexpr,
    lanes: tl.constexpr,
):
    region = tl.arange(0, lanes)
    inside = region < count
    x, y = tl.load(rois + region, mask=inside), tl.load(rois + count + region, mask=inside)
    width = tl.load(rois + 2 * count + region, mask=inside)
    height = tl.load(rois + 3 * count + region, mask=inside)
    rect = x, y, width, height, tl.load(rois + 4 * count + region, mask=inside)
    size = tl.load(sizes + region, mask=inside, other=1), tl.load(sizes + count + region, mask=inside, other=1)
    some = tl.load(worthwhile + region, mask=inside, other=0) != 0
    store_region(present, boxes, matrices, region, count, inside, some, rect, size, side, stretches)


def assert_regions(found: Regions, roi: Rect, size: ImageSize, present: NDArray[np.bool_], spec: NetworkSpec) -> None:
    """Fail unless regions are what `HolisticPipeline` looks at."""
    stand_in = geometry.whole_image(size)
    roi = Rect(*(np.where(present, values, others) for values, others in zip(roi, stand_in, strict=True)))
    with np.errstate(all="ignore"):
        view = (geometry.stretched_view if spec.stretches else geometry.padded_view)(roi, size)
        matrices = np.ascontiguousarray(image_from_crop(view.crop, spec.size).T)
    np.testing.assert_array_equal(found.present.cpu().numpy(), present.astype(np.uint8))
    assert_same_bits(np.stack([*view.roi, *view.crop[:4], *view.letterbox]), found.boxes.cpu().numpy())
    assert_same_bits(matrices, found.matrices.cpu().numpy())


@pytest.mark.parametrize("spec", SPECS, ids=[spec.file for spec in SPECS])
def test_a_region_is_written_with_its_view_and_its_matrix(spec: NetworkSpec, device_name: str) -> None:
    random = np.random.default_rng(1)
    x, y, rotation = random.uniform(-1, 2, COUNT), random.uniform(-1, 2, COUNT), random.uniform(-4, 4, COUNT)
    width, height = np.exp(random.uniform(-4, 2, (2, COUNT)))
    rois = float32(np.stack([x, y, width, height, rotation]))
    rois[:, :200] = random.choice(float32([0, -0.0, 1, -1, 1e-30, 1e38, math.inf, math.nan]), (5, 200))
    sizes = float32(random.integers(1, 2000, (2, COUNT)))
    # Many ROIs are squares in pixels, as those of most networks are.
    rois[3, ::2] = rois[2, ::2] * sizes[0, ::2] / sizes[1, ::2]
    worthwhile = random.random(COUNT) < 0.8
    regions = Regions.empty(COUNT, torch.device(device_name))
    arguments = {
        "rois": torch.from_numpy(rois).to(device_name),
        "sizes": torch.from_numpy(sizes).to(device_name),
        "worthwhile": torch.from_numpy(worthwhile.astype(np.uint8)).to(device_name),
        **regions._asdict(),
        "count": COUNT,
    }
    launch(store_regions, (1,), arguments, {"side": spec.size, "stretches": spec.stretches, "lanes": LANES})
    roi = Rect(*rois)
    assert_regions(regions, roi, ImageSize(*sizes), roi.has_area() & worthwhile, spec)


@pytest.mark.parametrize("count", [1, 32, 70])
def test_frames_as_a_whole_are_regions(count: int, device_name: str) -> None:
    sizes = np.random.default_rng(count).integers(1, 2000, (2, count))
    table = torch.from_numpy(np.stack([0 * sizes[0], *sizes])).to(device_name)
    frames = DeviceFrames(torch.zeros(1, dtype=torch.uint8, device=device_name), table)
    size = ImageSize(*sizes.astype(np.float32))
    regions = whole_frames(frames, POSE_DETECTION)
    assert regions.boxes.shape == (BOX_ROWS, count)
    assert_regions(regions, geometry.whole_image(size), size, np.ones(count, dtype=bool), POSE_DETECTION)


@pytest.mark.parametrize("spec", [HAND_LANDMARK, FACE_LANDMARK[468]], ids=lambda spec: spec.file)
def test_regions_are_the_views_of_rois_or_of_whole_frames(spec: NetworkSpec, device_name: str) -> None:
    sides = some_sides(FRAMES, seed=1)
    rois = np.random.default_rng(1).uniform(0.1, 0.9, (5, 2 * FRAMES)).astype(np.float32)
    rois[:, [0, 33]] = math.nan
    rois[2, 7], rois[3, 39] = 0, -0.5
    size = ImageSize(*np.concatenate([sides, sides], axis=1).astype(np.float32))
    present = np.ones(2 * FRAMES, bool)
    present[[0, 7, 33, 39]] = False
    roi = Rect(*np.where(present, rois, np.stack(geometry.whole_image(size))).astype(np.float32))
    view = geometry.stretched_view(roi, size) if spec.stretches else geometry.padded_view(roi, size)

    regions = regions_at(frames_of(sides, device_name), torch.from_numpy(rois).to(device_name), spec)
    np.testing.assert_array_equal(regions.present.cpu(), present)
    expected = np.stack([*view.roi, *view.crop[:4], *view.letterbox])
    assert len(expected) == BOX_ROWS
    assert_same_bits(expected, regions.boxes.cpu().numpy())
    np.testing.assert_array_equal(regions.matrices.cpu(), image_from_crop(view.crop, spec.size).T)
