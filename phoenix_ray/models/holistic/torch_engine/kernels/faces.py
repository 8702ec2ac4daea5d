"""Reads the face in a pose, and the face network."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from phoenix_ray.models.holistic import pipeline
from phoenix_ray.models.holistic.torch_engine.kernels.elementary import powers_on, sigmoid
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch, strides
from phoenix_ray.models.holistic.torch_engine.kernels.rectangles import (
    LEVEL,
    bounds_of_landmarks,
    enlarge,
    in_pixels,
    larger,
    project,
    rotation_towards,
    smaller,
)
from phoenix_ray.models.holistic.torch_engine.kernels.regions import (
    Regions,
    load_letterbox,
    load_roi,
    load_size,
    store_roi,
)
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames

MIN_FACE_SCORE = tl.constexpr(pipeline.MIN_FACE_SCORE)
FACE_OF_POSE_MARGIN = tl.constexpr(pipeline.FACE_OF_POSE_MARGIN)
RIGHT_EYE_OF_POSE, LEFT_EYE_OF_POSE = tl.constexpr(pipeline.RIGHT_EYE_OF_POSE), tl.constexpr(pipeline.LEFT_EYE_OF_POSE)
# The points of the face are the first ones of the pose.
FACE_OF_POSE, FACE_BLOCK = tl.constexpr(pipeline.FACE_OF_POSE.stop), tl.constexpr(16)
# Points of the face that a program writes.
POINTS_TOGETHER = tl.constexpr(128)


def face_rois_of_pose(frames: DeviceFrames, rows: torch.Tensor, pose_column: int) -> torch.Tensor:
    """Return the ROIs in which to look for faces, float32 (5, N), NaN where there is no pose.

    Args:
        frames: N frames.
        rows: float32 (N, columns): their poses.
        pose_column: Column of the first number of the pose: x, y, z and visibility of each point.
    """
    count = frames.table.shape[1]
    rois = torch.empty((5, count), dtype=torch.float32, device=rows.device)
    arguments = {"rows": rows, "table": frames.table, "rois": rois, "count": count, "row_size": rows.stride(0)}
    moved = rois.nbytes + frames.table.nbytes + count * FACE_OF_POSE.value * 8
    launch(find_faces_of_poses, (count,), arguments, {"pose_column": pose_column}, warps=1, bytes_moved=moved)
    return rois


def read_faces(
    regions: Regions,
    points: torch.Tensor,
    logits: torch.Tensor,
    unit: float,
    rows: torch.Tensor,
    column: int,
    score: int,
) -> None:
    """Write faces into rows of the result, NaN where there is none.

    Args:
        regions: What the face network saw, N regions.
        points: float32 (N, K, 3): what it found there.
        logits: float32 (N,): logit that there is a face.
        unit: What 1 is in the points: the network's input size if they are its pixels.
        rows: float32 (N, columns).
        column: Column of the face's first number.
        score: Column of its score.
    """
    count, face_points, _ = points.shape
    arguments = {
        "landmarks": points,
        "logits": logits,
        "powers": powers_on(rows.device),
        "present": regions.present,
        "boxes": regions.boxes,
        "rows": rows,
        "count": count,
        **strides("landmark", points, "face", "point", "axis"),
        **strides("logit", logits, "face"),
        "row_size": rows.stride(0),
    }
    moved = 2 * points.nbytes + regions.boxes.nbytes
    constants = {"face_points": face_points, "unit": unit, "point_column": column, "score_column": score}
    grid = (count, triton.cdiv(face_points, POINTS_TOGETHER.value))
    launch(write_faces, grid, arguments, constants, warps=4, bytes_moved=moved)


@triton.jit(do_not_specialize=["count"])
def find_faces_of_poses(rows, table, rois, count, row_size, pose_column: tl.constexpr):
    frame = tl.program_id(0).to(tl.int64)
    size = load_size(table, frame, count)
    pose = rows + frame * row_size + pose_column
    right_eye, left_eye = pose + 4 * RIGHT_EYE_OF_POSE, pose + 4 * LEFT_EYE_OF_POSE
    right_x, right_y = in_pixels(tl.load(right_eye), tl.load(right_eye + 1), size)
    left_x, left_y = in_pixels(tl.load(left_eye), tl.load(left_eye + 1), size)
    rotation = rotation_towards(right_x, right_y, left_x, left_y, LEVEL)

    point = tl.arange(0, FACE_BLOCK)
    exists, x = point < FACE_OF_POSE, pose + 4 * point
    left = tl.reduce(tl.load(x, mask=exists, other=float("inf")), 0, smaller)
    top = tl.reduce(tl.load(x + 1, mask=exists, other=float("inf")), 0, smaller)
    right = tl.reduce(tl.load(x, mask=exists, other=float("-inf")), 0, larger)
    bottom = tl.reduce(tl.load(x + 1, mask=exists, other=float("-inf")), 0, larger)
    roi = bounds_of_landmarks(left, top, right, bottom, rotation)
    roi = enlarge(roi, size, FACE_OF_POSE_MARGIN[0], FACE_OF_POSE_MARGIN[1])
    # Where there is no pose, all of the ROI is NaN.
    store_roi(rois, frame, count, roi, left == left)


@triton.jit(do_not_specialize=["count"])
def write_faces(
    landmarks,
    logits,
    powers,
    present,
    boxes,
    rows,
    count,
    landmark_face,
    landmark_point,
    landmark_axis,
    logit_face,
    row_size,
    face_points: tl.constexpr,
    unit: tl.constexpr,
    point_column: tl.constexpr,
    score_column: tl.constexpr,
):
    face = tl.program_id(0).to(tl.int64)
    rows += face * row_size
    score = sigmoid(tl.load(logits + face * logit_face), powers)
    score = tl.where(tl.load(present + face) != 0, score, float("nan"))
    found = score > MIN_FACE_SCORE
    tl.store(rows + score_column, score, mask=tl.program_id(1) == 0)

    point = tl.program_id(1) * POINTS_TOGETHER + tl.arange(0, POINTS_TOGETHER)
    exists = point < face_points
    given = landmarks + face * landmark_face + point * landmark_point
    x = tl.div_rn(tl.load(given, mask=exists, other=0.0), unit)
    y = tl.div_rn(tl.load(given + landmark_axis, mask=exists, other=0.0), unit)
    z = tl.div_rn(tl.load(given + 2 * landmark_axis, mask=exists, other=0.0), unit)
    x, y, z = project(x, y, z, load_roi(boxes, face, count), load_letterbox(boxes, face, count))
    written = rows + point_column + point * 3
    tl.store(written, tl.where(found, x, float("nan")), mask=exists)
    tl.store(written + 1, tl.where(found, y, float("nan")), mask=exists)
    tl.store(written + 2, tl.where(found, z, float("nan")), mask=exists)
