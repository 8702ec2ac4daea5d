"""Regions made of ROIs: the view of each, or of the whole frame where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from phoenix_ray.models.holistic import geometry
from phoenix_ray.models.holistic.crop_transforms import image_from_crop
from phoenix_ray.models.holistic.geometry import ImageSize, Rect
from phoenix_ray.models.holistic.networks import FACE_LANDMARK, HAND_LANDMARK, NetworkSpec
from phoenix_ray.models.holistic.torch_engine.kernels.regions import BOX_ROWS
from phoenix_ray.models.holistic.torch_engine.kernels.rois import regions_at
from tests.models.holistic.torch_engine.kernels.saying_networks import frames_of, some_sides
from tests.models.holistic.torch_engine.kernels.test_rectangles import assert_same_bits

FRAMES = 20


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
