"""Reads the detectors: `decoding.best_detection`, and from it the ROI of the body or of the face, in one kernel each.

A program reads all boxes of an image. It adds up the boxes that count from the best to the worst, one at a time, as
the array code does with numpy: there are few of them, and their number stays on the device.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from phoenix_ray.models.holistic import decoding, pipeline
from phoenix_ray.models.holistic.networks import FACE_DETECTION, POSE_DETECTION, Detections
from phoenix_ray.models.holistic.pipeline import MIN_FACE_DETECTION_SCORE
from phoenix_ray.models.holistic.torch_engine.kernels.elementary import powers_on, sigmoid
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch, strides
from phoenix_ray.models.holistic.torch_engine.kernels.rectangles import (
    LEVEL,
    body_roi,
    bounds_of_keypoints,
    enlarge,
    in_pixels,
    larger,
    project_keypoints,
    remove_letterbox,
    rotation_towards,
    smaller,
)
from phoenix_ray.models.holistic.torch_engine.kernels.regions import (
    Regions,
    load_crop,
    load_letterbox,
    load_size,
    store_roi,
)
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames

SAME_DETECTION_OVERLAP = tl.constexpr(decoding.SAME_DETECTION_OVERLAP)
RIGHT_EYE, LEFT_EYE = tl.constexpr(pipeline.RIGHT_EYE), tl.constexpr(pipeline.LEFT_EYE)
FACE_MARGIN = tl.constexpr(pipeline.FACE_MARGIN)
# Numbers that a detector gives for each box before its keypoints: centre and size.
BOX_NUMBERS = tl.constexpr(4)
# In a key of 64 bits, the weight of a box comes first, then how far the box is from the end of all boxes.
PLACE_BITS, LAST_PLACE = tl.constexpr(32), tl.constexpr(2**31 - 1)


def body_rois(
    frames: DeviceFrames, regions: Regions, boxes: Detections, anchors: torch.Tensor, min_score: float
) -> torch.Tensor:
    """Return the ROI of the most prominent person in each frame, float32 (5, N), NaN where there is none.

    Args:
        frames: N frames.
        regions: What the pose detector saw of them.
        boxes: What it found there.
        anchors: `decoding.POSE_ANCHORS` on the device.
        min_score: Boxes with a lower score do not count.
    """
    return _read(frames, regions, boxes, anchors, POSE_DETECTION.size, min_score, of_face=False)


def face_rois(frames: DeviceFrames, regions: Regions, boxes: Detections, anchors: torch.Tensor) -> torch.Tensor:
    """Return the ROI of the face in each frame, float32 (5, N), NaN where there is none.

    Args:
        frames: N frames.
        regions: What the face detector saw of them.
        boxes: What it found there.
        anchors: `decoding.FACE_ANCHORS` on the device.
    """
    return _read(frames, regions, boxes, anchors, FACE_DETECTION.size, MIN_FACE_DETECTION_SCORE, of_face=True)


def _read(
    frames: DeviceFrames,
    regions: Regions,
    boxes: Detections,
    anchors: torch.Tensor,
    input_size: int,
    min_score: float,
    *,
    of_face: bool,
) -> torch.Tensor:
    (count, box_count, numbers), device = boxes.regressors.shape, boxes.regressors.device
    rois = torch.empty((5, count), dtype=torch.float32, device=device)
    arguments = {
        "regressors": boxes.regressors,
        "logits": boxes.logits,
        "anchors": anchors,
        "powers": powers_on(device),
        "present": regions.present,
        "boxes": regions.boxes,
        "table": frames.table,
        "rois": rois,
        "count": count,
        **strides("regressor", boxes.regressors, "image", "box", "number"),
        **strides("logit", boxes.logits, "image", "box"),
    }
    constants = {
        "box_count": box_count,
        "numbers": numbers - BOX_NUMBERS.value,
        "input_size": float(input_size),
        "min_score": min_score,
        "of_face": of_face,
        "box_block": triton.next_power_of_2(box_count),
        "number_block": triton.next_power_of_2(numbers - BOX_NUMBERS.value),
    }
    launch(read_rois, (count,), arguments, constants, warps=8)
    return rois


@triton.jit
def best_detection(
    regressors,
    logits,
    anchors,
    powers,
    regressor_box,
    regressor_number,
    logit_box,
    box_count: tl.constexpr,
    numbers: tl.constexpr,
    input_size: tl.constexpr,
    min_score: tl.constexpr,
    box_block: tl.constexpr,
    number_block: tl.constexpr,
):
    """Return the numbers of an image's keypoints as a block: x, y, x, y, ..., NaN where nothing was detected.

    `regressors` and `logits` point to the image's first box.
    """
    place = tl.arange(0, box_block)
    exists = place < box_count
    score = sigmoid(tl.load(logits + place * logit_box, mask=exists, other=0.0), powers)
    box = regressors + place * regressor_box
    left, right, width = _side(box, regressor_number, anchors + place * 2, exists, input_size)
    top, bottom, height = _side(box + regressor_number, regressor_number, anchors + place * 2 + 1, exists, input_size)
    counts = exists & (score >= min_score) & (width >= 0) & (height >= 0)

    # Of equal scores, the first is the best.
    best = tl.max(_key(score, place, counts), axis=0)
    is_best = place == ((best & LAST_PLACE) ^ LAST_PLACE)
    best_left, best_right = pick(left, is_best), pick(right, is_best)
    best_top, best_bottom = pick(top, is_best), pick(bottom, is_best)
    shared = _shared(left, right, best_left, best_right) * _shared(top, bottom, best_top, best_bottom)
    area = (right - left) * (bottom - top)
    union = area + (best_right - best_left) * (best_bottom - best_top) - shared
    overlaps = tl.div_rn(shared, tl.where(union > 0, union, 1.0)) > SAME_DETECTION_OVERLAP

    number = tl.arange(0, number_block)
    keys = _key(score, place, counts & (is_best | overlaps) & (score > 0))
    key = tl.max(keys, axis=0)
    total = tl.zeros((), tl.float32)
    sums = tl.zeros((number_block,), tl.float32)
    while key > 0:
        weight = (key >> PLACE_BITS).to(tl.int32).to(tl.float32, bitcast=True)
        index = ((key & LAST_PLACE) ^ LAST_PLACE).to(tl.int32)
        given = regressors + index * regressor_box + (number + BOX_NUMBERS) * regressor_number
        offset = tl.load(given, mask=number < numbers, other=0.0)
        keypoint = tl.div_rn(offset, input_size) + tl.load(anchors + index * 2 + number % 2)
        total += weight
        sums += keypoint * weight
        keys = tl.where(keys == key, tl.zeros((), tl.int64), keys)
        key = tl.max(keys, axis=0)
    return tl.div_rn(sums, tl.where(total > 0, total, float("nan")))


@triton.jit
def _side(box, number_stride, anchor, exists, input_size):
    """Return where boxes begin and end along an axis, and their extent, which is rounded once more."""
    center = tl.div_rn(tl.load(box, mask=exists, other=0.0), input_size) + tl.load(anchor, mask=exists, other=0.0)
    half = 0.5 * tl.div_rn(tl.load(box + 2 * number_stride, mask=exists, other=0.0), input_size)
    lowest = center - half
    extent = (center + half) - lowest
    return lowest, lowest + extent, extent


@triton.jit
def _key(weight, place, counts):
    """Return int64 keys: the highest is that of the highest weight, of equal ones the first; 0 where not `counts`."""
    bits = weight.to(tl.int32, bitcast=True).to(tl.int64)
    return tl.where(counts, (bits << PLACE_BITS) | (place ^ LAST_PLACE).to(tl.int64), tl.zeros((), tl.int64))


@triton.jit
def _shared(lowest, highest, best_lowest, best_highest):
    """Return how much boxes share with the best one along an axis."""
    shared = smaller(highest, best_highest) - larger(lowest, best_lowest)
    return tl.where(shared > 0, shared, 0.0)


@triton.jit
def pick(block, is_picked):
    """Return the number of a float32 block that is picked, with its sign even where it is 0."""
    bits = tl.where(is_picked, block.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, axis=0).to(tl.float32, bitcast=True)


@triton.jit(do_not_specialize=["count"])
def read_rois(
    regressors,
    logits,
    anchors,
    powers,
    present,
    boxes,
    table,
    rois,
    count,
    regressor_image,
    regressor_box,
    regressor_number,
    logit_image,
    logit_box,
    box_count: tl.constexpr,
    numbers: tl.constexpr,
    input_size: tl.constexpr,
    min_score: tl.constexpr,
    of_face: tl.constexpr,
    box_block: tl.constexpr,
    number_block: tl.constexpr,
):
    image = tl.program_id(0).to(tl.int64)
    keypoints = best_detection(
        regressors + image * regressor_image,
        logits + image * logit_image,
        anchors,
        powers,
        regressor_box,
        regressor_number,
        logit_box,
        box_count,
        numbers,
        input_size,
        min_score,
        box_block,
        number_block,
    )
    size = load_size(table, image, count)
    if of_face:
        roi = _face_roi(keypoints, load_crop(boxes, image, count), size, numbers, number_block)
    else:
        roi = _body_roi(keypoints, load_letterbox(boxes, image, count), size, number_block)
    store_roi(rois, image, count, roi, tl.load(present + image) != 0)


@triton.jit
def _body_roi(keypoints, letterbox, size, number_block: tl.constexpr):
    """The first two keypoints are the middle of the hips and a point on the circle around the body."""
    number = tl.arange(0, number_block)
    center_x, center_y = remove_letterbox(pick(keypoints, number == 0), pick(keypoints, number == 1), letterbox)
    edge_x, edge_y = remove_letterbox(pick(keypoints, number == 2), pick(keypoints, number == 3), letterbox)
    return body_roi(center_x, center_y, edge_x, edge_y, size)


@triton.jit
def _face_roi(keypoints, crop, size, numbers: tl.constexpr, number_block: tl.constexpr):
    """The ROI lies around all keypoints, level with the eyes."""
    x, y = tl.split(tl.reshape(keypoints, (number_block // 2, 2)))
    x, y = project_keypoints(x, y, crop, size)
    point = tl.arange(0, number_block // 2)
    pixel_x, pixel_y = in_pixels(x, y, size)
    is_right, is_left = point == RIGHT_EYE, point == LEFT_EYE
    rotation = rotation_towards(
        pick(pixel_x, is_right), pick(pixel_y, is_right), pick(pixel_x, is_left), pick(pixel_y, is_left), LEVEL
    )
    exists = point < numbers // 2
    left = tl.reduce(tl.where(exists, x, float("inf")), 0, smaller)
    top = tl.reduce(tl.where(exists, y, float("inf")), 0, smaller)
    right = tl.reduce(tl.where(exists, x, float("-inf")), 0, larger)
    bottom = tl.reduce(tl.where(exists, y, float("-inf")), 0, larger)
    return enlarge(bounds_of_keypoints(left, top, right, bottom, rotation), size, FACE_MARGIN[0], FACE_MARGIN[1])
