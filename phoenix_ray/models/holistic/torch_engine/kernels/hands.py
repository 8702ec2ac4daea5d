"""Reads the networks of hands: where to look for hands in a pose, where they are, and their points.

Hands are 2 N items: all left hands of N frames, then all right hands.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from phoenix_ray.models.holistic import pipeline, tracking
from phoenix_ray.models.holistic.networks import HAND_LANDMARK, HAND_RECROP, HandOutput
from phoenix_ray.models.holistic.torch_engine.kernels.elementary import powers_on, sigmoid
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch, strides
from phoenix_ray.models.holistic.torch_engine.kernels.rectangles import (
    DOWNWARDS,
    UPWARDS,
    enlarge,
    in_pixels,
    project,
    rotation_towards,
    square_through,
)
from phoenix_ray.models.holistic.torch_engine.kernels.regions import (
    Regions,
    load_letterbox,
    load_roi,
    load_size,
    store_roi,
)
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames

# Wrist, little finger and index finger of the left and the right hand in the pose.
HANDS_OF_POSE = tl.constexpr((pipeline.LEFT_HAND, pipeline.RIGHT_HAND))
HAND_OF_POSE_MARGIN, HAND_MARGIN = tl.constexpr(pipeline.HAND_OF_POSE_MARGIN), tl.constexpr(pipeline.HAND_MARGIN)
MIN_WRIST_VISIBILITY = tl.constexpr(pipeline.MIN_WRIST_VISIBILITY)
MIN_HAND_SCORE = tl.constexpr(pipeline.MIN_HAND_SCORE)
HAND_DEPTH_SCALE = tl.constexpr(pipeline.HAND_DEPTH_SCALE)
HAND_CENTER, HAND_EDGE = tl.constexpr(pipeline.HAND_CENTER), tl.constexpr(pipeline.HAND_EDGE)
RECROP_SIZE, LANDMARK_SIZE = tl.constexpr(float(HAND_RECROP.size)), tl.constexpr(float(HAND_LANDMARK.size))
# The points of a hand, and a power of two that holds them.
HAND_POINTS, POINT_BLOCK = tl.constexpr(tracking.HAND_POINTS), tl.constexpr(32)


def hand_rois_of_pose(frames: DeviceFrames, rows: torch.Tensor, pose_column: int) -> torch.Tensor:
    """Return the ROIs in which to look for hands, float32 (5, 2 N), NaN where there is no pose or a wrist is hidden.

    Args:
        frames: N frames.
        rows: float32 (N, columns): their poses.
        pose_column: Column of the first number of the pose: x, y, z and visibility of each point.
    """
    count = frames.table.shape[1]
    rois = torch.empty((5, 2 * count), dtype=torch.float32, device=rows.device)
    arguments = {"rows": rows, "table": frames.table, "rois": rois, "frame_count": count, "row_size": rows.stride(0)}
    moved = rois.nbytes + frames.table.nbytes + 2 * count * 4 * 10
    launch(find_hands_of_poses, (2 * count,), arguments, {"pose_column": pose_column}, warps=1, bytes_moved=moved)
    return rois


def hand_rois(frames: DeviceFrames, regions: Regions, points: torch.Tensor) -> torch.Tensor:
    """Return the ROIs of hands, float32 (5, 2 N), NaN where there is none.

    Args:
        frames: N frames.
        regions: What the recrop network saw of them.
        points: float32 (2 N, 2, 2): what it found there.
    """
    count = frames.table.shape[1]
    rois = torch.empty((5, 2 * count), dtype=torch.float32, device=points.device)
    arguments = {
        "points": points,
        "present": regions.present,
        "boxes": regions.boxes,
        "table": frames.table,
        "rois": rois,
        "frame_count": count,
        **strides("point", points, "hand", "number", "axis"),
    }
    launch(find_hands, (2 * count,), arguments, {}, warps=1)
    return rois


def read_hands(regions: Regions, output: HandOutput, rows: torch.Tensor, points: int, score: int, step: int) -> None:
    """Write hands into rows of the result, NaN where there is none.

    Args:
        regions: What the hand network saw, 2 N regions.
        output: What it found there.
        rows: float32 (N, columns).
        points: Column of the left hand's first number.
        score: Column of the left hand's score; the right hand's is the next.
        step: Columns from the left hand's points to the right hand's.
    """
    count = rows.shape[0]
    arguments = {
        "landmarks": output.landmarks,
        "logits": output.logit,
        "powers": powers_on(rows.device),
        "present": regions.present,
        "boxes": regions.boxes,
        "rows": rows,
        "frame_count": count,
        **strides("landmark", output.landmarks, "hand", "point", "axis"),
        **strides("logit", output.logit, "hand"),
        "row_size": rows.stride(0),
    }
    moved = 2 * output.landmarks.nbytes + regions.boxes.nbytes
    constants = {"point_column": points, "score_column": score, "step": step}
    launch(write_hands, (2 * count,), arguments, constants, warps=1, bytes_moved=moved)


@triton.jit(do_not_specialize=["frame_count"])
def find_hands_of_poses(rows, table, rois, frame_count, row_size, pose_column: tl.constexpr):
    hand = tl.program_id(0).to(tl.int64)
    is_right, frame = hand >= frame_count, hand % frame_count
    size = load_size(table, frame, frame_count)
    pose = rows + frame * row_size + pose_column
    wrist = pose + 4 * tl.where(is_right, HANDS_OF_POSE[1][0], HANDS_OF_POSE[0][0])
    little_finger = pose + 4 * tl.where(is_right, HANDS_OF_POSE[1][1], HANDS_OF_POSE[0][1])
    index_finger = pose + 4 * tl.where(is_right, HANDS_OF_POSE[1][2], HANDS_OF_POSE[0][2])
    wrist_x, wrist_y = in_pixels(tl.load(wrist), tl.load(wrist + 1), size)
    little_x, little_y = in_pixels(tl.load(little_finger), tl.load(little_finger + 1), size)
    index_x, index_y = in_pixels(tl.load(index_finger), tl.load(index_finger + 1), size)
    center_x, center_y = tl.div_rn(2 * index_x + little_x, 3.0), tl.div_rn(2 * index_y + little_y, 3.0)
    rotation = rotation_towards(wrist_x, wrist_y, center_x, center_y, UPWARDS)
    square = square_through(center_x, center_y, wrist_x, wrist_y, rotation, size)
    roi = enlarge(square, size, HAND_OF_POSE_MARGIN[0], HAND_OF_POSE_MARGIN[1])
    store_roi(rois, hand, 2 * frame_count, roi, tl.load(wrist + 3) > MIN_WRIST_VISIBILITY)


@triton.jit(do_not_specialize=["frame_count"])
def find_hands(points, present, boxes, table, rois, frame_count, point_hand, point_number, point_axis):
    hand = tl.program_id(0).to(tl.int64)
    size = load_size(table, hand % frame_count, frame_count)
    roi, letterbox = load_roi(boxes, hand, 2 * frame_count), load_letterbox(boxes, hand, 2 * frame_count)
    points += hand * point_hand
    center_x, center_y = _place(points + point_number * HAND_CENTER, point_axis, roi, letterbox, size)
    edge_x, edge_y = _place(points + point_number * HAND_EDGE, point_axis, roi, letterbox, size)
    rotation = rotation_towards(center_x, center_y, edge_x, edge_y, DOWNWARDS)
    square = square_through(center_x, center_y, edge_x, edge_y, rotation, size)
    found = tl.load(present + hand) != 0
    store_roi(rois, hand, 2 * frame_count, enlarge(square, size, HAND_MARGIN[0], HAND_MARGIN[1]), found)


@triton.jit
def _place(point, axis, roi, letterbox, size):
    """Return where a point of the recrop network lies in the frame, in pixels."""
    x, y = tl.div_rn(tl.load(point), RECROP_SIZE), tl.div_rn(tl.load(point + axis), RECROP_SIZE)
    x, y, _ = project(x, y, x, roi, letterbox)
    return in_pixels(x, y, size)


@triton.jit(do_not_specialize=["frame_count"])
def write_hands(
    landmarks,
    logits,
    powers,
    present,
    boxes,
    rows,
    frame_count,
    landmark_hand,
    landmark_point,
    landmark_axis,
    logit_hand,
    row_size,
    point_column: tl.constexpr,
    score_column: tl.constexpr,
    step: tl.constexpr,
):
    hand = tl.program_id(0).to(tl.int64)
    side = hand // frame_count
    rows += (hand % frame_count) * row_size
    score = sigmoid(tl.load(logits + hand * logit_hand), powers)
    score = tl.where(tl.load(present + hand) != 0, score, float("nan"))
    found = score > MIN_HAND_SCORE
    tl.store(rows + score_column + side, score)

    point = tl.arange(0, POINT_BLOCK)
    exists = point < HAND_POINTS
    given = landmarks + hand * landmark_hand + point * landmark_point
    x = tl.div_rn(tl.load(given, mask=exists, other=0.0), LANDMARK_SIZE)
    y = tl.div_rn(tl.load(given + landmark_axis, mask=exists, other=0.0), LANDMARK_SIZE)
    z = tl.div_rn(tl.load(given + 2 * landmark_axis, mask=exists, other=0.0), LANDMARK_SIZE)
    roi, letterbox = load_roi(boxes, hand, 2 * frame_count), load_letterbox(boxes, hand, 2 * frame_count)
    x, y, z = project(x, y, tl.div_rn(z, HAND_DEPTH_SCALE), roi, letterbox)
    written = rows + point_column + side * step + point * 3
    tl.store(written, tl.where(found, x, float("nan")), mask=exists)
    tl.store(written + 1, tl.where(found, y, float("nan")), mask=exists)
    tl.store(written + 2, tl.where(found, z, float("nan")), mask=exists)
