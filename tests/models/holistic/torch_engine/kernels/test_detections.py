"""Detectors read in a kernel: the bits of the array code, whatever the detector says."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray.models.holistic import geometry, tracking
from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS, best_detection
from phoenix_ray.models.holistic.geometry import LEVEL, ImageSize, Rect, View
from phoenix_ray.models.holistic.networks import FACE_DETECTION, POSE_DETECTION, Detections
from phoenix_ray.models.holistic.pipeline import FACE_MARGIN, LEFT_EYE, RIGHT_EYE
from phoenix_ray.models.holistic.torch_engine.kernels import detections
from phoenix_ray.models.holistic.torch_engine.kernels.regions import Regions
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames
from tests.models.holistic.torch_engine.kernels.test_rectangles import assert_same_bits

Values = NDArray[np.float32]
MIN_SCORE = 0.5


class Boxes(NamedTuple):
    regressors: Values
    logits: Values

    @classmethod
    def nothing(cls, images: int, anchors: Values, keypoints: int) -> Boxes:
        return cls(
            np.zeros((images, len(anchors), 4 + 2 * keypoints), np.float32),
            np.full((images, len(anchors)), -20, np.float32),
        )

    @classmethod
    def crowd(cls, images: int, anchors: Values, keypoints: int, seed: int) -> Boxes:
        """Boxes around one place in each image: a few dozen that count, some equally sure, some apart from them."""
        random = np.random.default_rng(seed)
        regressors = random.normal(0, 30, (images, len(anchors), 4 + 2 * keypoints)).astype(np.float32)
        target = random.uniform(0.3, 0.7, (images, 1, 2)) + random.normal(0, 0.1, (images, len(anchors), 2))
        regressors[:, :, :2] = (target - anchors) * 200
        regressors[:, :, 2:4] = random.uniform(-2, 90, (images, len(anchors), 2))
        logits = random.normal(-4, 2, (images, len(anchors))).astype(np.float32)
        logits[:, random.integers(0, len(anchors), 12)] = logits[:, :1] + 5
        return cls(regressors, logits)


def some_views(images: int, *, square: bool) -> View:
    random = np.random.default_rng(images)
    size = ImageSize(*np.round(random.uniform(60, 900, (2, images))).astype(np.float32))
    if square:
        return geometry.padded_view(geometry.whole_image(size), size)
    roi = Rect(*random.uniform(0.1, 0.9, (5, images)).astype(np.float32))
    return geometry.padded_view(roi, size)


def on_device(view: View, device: str) -> tuple[DeviceFrames, Regions]:
    count = len(view.size.width)
    sides = np.stack([np.zeros(count), view.size.width, view.size.height]).astype(np.int64)
    boxes = np.stack([*view.roi, *view.crop[:4], *view.letterbox]).astype(np.float32)
    frames = DeviceFrames(torch.empty(0, dtype=torch.uint8, device=device), torch.from_numpy(sides).to(device))
    present = torch.ones(count, dtype=torch.uint8, device=device)
    matrices = torch.empty((9, count), dtype=torch.float64, device=device)
    return frames, Regions(present, torch.from_numpy(boxes).to(device), matrices)


def as_tensors(boxes: Boxes, device: str) -> Detections:
    """The logits are a view of (N, boxes, 1), as networks return them."""
    logits = torch.from_numpy(boxes.logits[:, :, None]).to(device)
    return Detections(torch.from_numpy(boxes.regressors).to(device), logits[:, :, 0])


def body_rois(boxes: Boxes, view: View) -> Values:
    keypoints = best_detection(*boxes, POSE_ANCHORS, POSE_DETECTION.size, MIN_SCORE)
    return np.stack(tracking.body_roi(geometry.remove_letterbox(keypoints, view), view.size))


def face_rois(boxes: Boxes, view: View) -> Values:
    keypoints = best_detection(*boxes, FACE_ANCHORS, FACE_DETECTION.size, MIN_SCORE)
    keypoints = geometry.project_keypoints(keypoints, view)
    pixels = geometry.in_pixels(keypoints, view.size)
    rotation = geometry.rotation_towards(pixels[:, RIGHT_EYE, :], pixels[:, LEFT_EYE, :], LEVEL)
    return np.stack(geometry.enlarge(geometry.bounds_of_keypoints(keypoints, rotation), view.size, *FACE_MARGIN))


def assert_reads_like_the_array_code(boxes: Boxes, device: str) -> Values:
    of_face = boxes.regressors.shape[1] == len(FACE_ANCHORS)
    view = some_views(len(boxes.logits), square=not of_face)
    frames, regions = on_device(view, device)
    tensors = as_tensors(boxes, device)
    with np.errstate(all="ignore"):
        if of_face:
            expected = face_rois(boxes, view)
            found = detections.face_rois(frames, regions, tensors, torch.from_numpy(FACE_ANCHORS).to(device))
        else:
            expected = body_rois(boxes, view)
            anchors = torch.from_numpy(POSE_ANCHORS).to(device)
            found = detections.body_rois(frames, regions, tensors, anchors, MIN_SCORE)
    assert_same_bits(expected, found.cpu().numpy())
    return expected


@pytest.mark.parametrize(("anchors", "keypoints"), [(POSE_ANCHORS, 4), (FACE_ANCHORS, 6)], ids=["body", "face"])
def test_boxes_give_the_rois_of_the_array_code(anchors: Values, keypoints: int, device_name: str) -> None:
    boxes = Boxes.crowd(6, anchors, keypoints, seed=keypoints)
    boxes.logits[4] = -20
    expected = assert_reads_like_the_array_code(boxes, device_name)
    assert np.isnan(expected).any(axis=0).tolist() == [False] * 4 + [True, False]


def test_every_box_counts_in_order_however_many_there_are(device_name: str) -> None:
    boxes = Boxes.crowd(1, FACE_ANCHORS, 6, seed=1)
    boxes.regressors[:, :, 2:4] = 500
    boxes.logits[:] = np.random.default_rng(2).uniform(0.5, 3, boxes.logits.shape).round(2)
    expected = assert_reads_like_the_array_code(boxes, device_name)
    assert np.isfinite(expected).all()


@pytest.mark.parametrize(
    ("width", "height", "is_found"), [(0, 0, True), (0, 30, True), (-1, 30, False), (30, -1, False)]
)
def test_a_box_without_area_counts_and_one_of_negative_size_does_not(
    width: int, height: int, is_found: bool, device_name: str
) -> None:
    boxes = Boxes.nothing(1, FACE_ANCHORS, 6)
    boxes.regressors[:] = np.random.default_rng(7).normal(0, 20, boxes.regressors.shape)
    boxes.regressors[0, 100, 2:4], boxes.logits[0, 100] = (width, height), 3
    expected = assert_reads_like_the_array_code(boxes, device_name)
    assert bool(np.isfinite(expected).all()) is is_found


def test_without_any_box_nothing_is_found(device_name: str) -> None:
    expected = assert_reads_like_the_array_code(Boxes.nothing(2, POSE_ANCHORS, 4), device_name)
    assert np.isnan(expected).all()


def test_a_region_that_is_not_there_has_no_roi(device_name: str) -> None:
    frames, regions = on_device(some_views(2, square=True), device_name)
    regions.present[0] = 0
    boxes = as_tensors(Boxes.crowd(2, POSE_ANCHORS, 4, seed=3), device_name)
    found = detections.body_rois(frames, regions, boxes, torch.from_numpy(POSE_ANCHORS).to(device_name), MIN_SCORE)
    assert found.isnan().any(dim=0).tolist() == [True, False]


# What a network may say of a box in place of a number.
SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 3.0, -3.0, 1e30, 500.0)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15), st.sampled_from(SPECIAL)), max_size=12),
    logits=st.lists(st.tuples(st.integers(0, 15), st.sampled_from(SPECIAL)), max_size=6),
    ties=st.booleans(),
)
def test_whatever_a_detector_says_is_read_as_the_array_code_reads_it(
    numbers: list[tuple[int, int, float]], logits: list[tuple[int, float]], ties: bool, device_name: str
) -> None:
    boxes = Boxes.crowd(1, FACE_ANCHORS, 6, seed=5)
    # The first boxes are the best ones, so that what is said of them matters.
    boxes.logits[:, :16] = 2.0 if ties else np.linspace(4, 1, 16)
    for box, number, value in numbers:
        boxes.regressors[0, box, number] = value
    for box, value in logits:
        boxes.logits[0, box] = value
    assert_reads_like_the_array_code(boxes, device_name)
