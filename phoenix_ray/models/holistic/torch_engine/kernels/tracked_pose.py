"""`tracking.filter_body` in one kernel: the pose through its filters, and what is remembered of it.

A video's state is a row of `tracking.Memory.rows`. A program reads that of one video and writes its row of the result:
the columns of landmarks, and after them the next state.
"""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl

from phoenix_ray.models.holistic import tracking
from phoenix_ray.models.holistic.torch_engine.kernels.detections import pick
from phoenix_ray.models.holistic.torch_engine.kernels.elementary import wide
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from phoenix_ray.models.holistic.torch_engine.kernels.pose import BODY_COLUMNS, PoseColumns
from phoenix_ray.models.holistic.torch_engine.kernels.rectangles import body_roi, in_pixels, square_through
from phoenix_ray.models.holistic.torch_engine.kernels.regions import load_size
from phoenix_ray.models.holistic.torch_engine.kernels.smoothing import (
    AUXILIARY_FILTER,
    POSE_FILTER,
    WORLD_FILTER,
    filter_values,
    low_pass,
)
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames
from phoenix_ray.models.holistic.tracking import AUXILIARY_POINTS, POSE_POINTS, Memory

# A state whose numbers are their own columns; the face comes last, so its points move nothing.
_COLUMNS = Memory.from_rows(np.arange(Memory.numbers(468), dtype=np.float32)[None], 468)
POSE_STATE = tl.constexpr(int(_COLUMNS.pose.raw[0, 0, 0]))
AUXILIARY_STATE = tl.constexpr(int(_COLUMNS.auxiliary.raw[0, 0, 0]))
WORLD_STATE = tl.constexpr(int(_COLUMNS.world.raw[0, 0, 0]))
VISIBILITY_STATE = tl.constexpr(int(_COLUMNS.visibility[0, 0]))
HANDS_STATE = tl.constexpr(int(_COLUMNS.left_hand[0, 0, 0]))
FACE_STATE = tl.constexpr(int(_COLUMNS.face[0, 0, 0]))

POINTS = tl.constexpr(POSE_POINTS)
POSE_NUMBERS, AUXILIARY_NUMBERS = tl.constexpr(3 * POSE_POINTS), tl.constexpr(3 * AUXILIARY_POINTS)
BODY_WORLD, BODY_SCORE = tl.constexpr(BODY_COLUMNS.world), tl.constexpr(BODY_COLUMNS.score)
VISIBILITY_ALPHA = tl.constexpr(tracking.VISIBILITY_ALPHA)
MIN_OBJECT_SCALE = tl.constexpr(tracking.MIN_OBJECT_SCALE)
COPY_BLOCK = tl.constexpr(512)


def filter_bodies(
    frames: DeviceFrames,
    body: torch.Tensor,
    states: torch.Tensor,
    rows: torch.Tensor,
    columns: PoseColumns,
    *,
    smooth: bool,
) -> None:
    """Write the filtered pose, its score, and the next state of its filters and of the body's ROI into `rows`.

    Args:
        frames: N frames.
        body: float32 (N, BODY_NUMBERS): what `read_body` returns.
        states: float32 (N, state size): the states before.
        rows: float32 (N, columns of landmarks and then of states).
        columns: Where the pose stands in a row.
        smooth: Whether to smooth the pose. Auxiliary points are smoothed in any case.
    """
    count, state_size = states.shape
    arguments = {
        "body": body,
        "states": states,
        "table": frames.table,
        "rows": rows,
        "count": count,
        "body_size": body.stride(0),
        "state_size": state_size,
        "row_size": rows.stride(0),
        "state_column": rows.shape[1] - state_size,
    }
    constants = {
        "point_column": columns.points,
        "world_column": columns.world,
        "score_column": columns.score,
        "smooths": smooth,
    }
    launch(filter_poses, (count,), arguments, constants, bytes_moved=2 * body.nbytes + 8 * count * HANDS_STATE.value)


@triton.jit(do_not_specialize=["count"])
def filter_poses(
    body,
    states,
    table,
    rows,
    count,
    body_size,
    state_size,
    row_size,
    state_column,
    point_column: tl.constexpr,
    world_column: tl.constexpr,
    score_column: tl.constexpr,
    smooths: tl.constexpr,
):
    video = tl.program_id(0).to(tl.int64)
    size = load_size(table, video, count)
    body += video * body_size
    last = states + video * state_size
    rows += video * row_size
    memory = rows + state_column
    tl.store(rows + score_column, tl.load(body + BODY_SCORE))

    auxiliary = body + 4 * POINTS
    center_x, center_y = tl.load(auxiliary), tl.load(auxiliary + 1)
    edge_x, edge_y = tl.load(auxiliary + 4), tl.load(auxiliary + 5)
    found = center_x == center_x
    scale = object_scale(center_x, center_y, edge_x, edge_y, size)
    number = tl.arange(0, 8)
    exists = number < AUXILIARY_NUMBERS
    values = tl.load(auxiliary + number // 3 * 4 + number % 3, mask=exists, other=0.0)
    values = filter_pixels(
        values,
        number,
        AUXILIARY_NUMBERS,
        last + AUXILIARY_STATE,
        memory + AUXILIARY_STATE,
        size,
        scale,
        found,
        AUXILIARY_FILTER,
    )
    center_x, center_y = pick(values, number == 0), pick(values, number == 1)
    edge_x, edge_y = pick(values, number == 3), pick(values, number == 4)
    roi = body_roi(center_x, center_y, edge_x, edge_y, size)
    for field in tl.static_range(5):
        tl.store(memory + field, roi[field])

    number = tl.arange(0, 128)
    point, axis = number // 3, number % 3
    exists = number < POSE_NUMBERS
    pose_values = tl.load(body + point * 4 + axis, mask=exists, other=0.0)
    world_values = tl.load(body + BODY_WORLD + number, mask=exists, other=0.0)
    point_number = tl.arange(0, 64)
    is_point = point_number < POINTS
    visibility = tl.load(body + 4 * point_number + 3, mask=is_point, other=0.0)
    if smooths:
        pose_values = filter_pixels(
            pose_values,
            number,
            POSE_NUMBERS,
            last + POSE_STATE,
            memory + POSE_STATE,
            size,
            scale,
            found,
            POSE_FILTER,
        )
        # A gap in the pose leaves these two filters as they are.
        world_values = filter_values(
            world_values,
            number,
            POSE_NUMBERS,
            last + WORLD_STATE,
            memory + WORLD_STATE,
            found,
            found | True,
            wide(1.0),
            WORLD_FILTER,
        )
        seen = tl.load(last + VISIBILITY_STATE + point_number, mask=is_point, other=0.0)
        visibility = low_pass(visibility, seen, tl.full(visibility.shape, VISIBILITY_ALPHA, tl.float32))
        tl.store(memory + VISIBILITY_STATE + point_number, tl.where(found, visibility, seen), mask=is_point)
    else:
        pixel_scale = tl.where(axis == 1, size[1], size[0])
        pose_values = tl.div_rn(pose_values * pixel_scale, pixel_scale)
        copy(last, memory, POSE_STATE, AUXILIARY_STATE)
        copy(last, memory, WORLD_STATE, HANDS_STATE)
    tl.store(rows + point_column + 4 * point + axis, pose_values, mask=exists)
    tl.store(rows + point_column + 4 * point_number + 3, visibility, mask=is_point)
    tl.store(rows + world_column + number, world_values, mask=exists)


@triton.jit
def object_scale(center_x, center_y, edge_x, edge_y, size):
    """Return `tracking._object_scale` of the auxiliary points, normalised."""
    center_x, center_y = in_pixels(center_x, center_y, size)
    edge_x, edge_y = in_pixels(edge_x, edge_y, size)
    square = square_through(center_x, center_y, edge_x, edge_y, center_x, size)
    return 0.5 * (square[2] * size[0] + square[3] * size[1])


@triton.jit
def filter_pixels(values, number, count: tl.constexpr, last, memory, size, object_scale, found, options: tl.constexpr):
    """Return normalised coordinates, smoothed in pixels relative to the size of the person.

    Args:
        values: Numbers of points, x, y, z, x, y, z, ...
        number: Their places, from 0.
        count: How many of the places there are.
        last: Pointer to the filter's state before.
        memory: Pointer to its next state.
        size: Width and height of the frame.
        object_scale: Size of the person in pixels.
        found: Whether there is a person; else the filter forgets.
        options: One of the filters of `smoothing`.
    """
    width, height = size
    pixel_scale = tl.where(number % 3 == 1, height, width)
    pixels = values * pixel_scale
    feeds = object_scale >= MIN_OBJECT_SCALE
    factor = tl.div_rn(1.0, tl.where(feeds, object_scale, 1.0)).to(tl.float64)
    smoothed = filter_values(pixels, number, count, last, memory, feeds, found, factor, options)
    return tl.div_rn(tl.where(feeds, smoothed, pixels), pixel_scale)


@triton.jit
def copy(last, memory, start: tl.constexpr, end: tl.constexpr):
    column = start + tl.arange(0, COPY_BLOCK)
    tl.store(memory + column, tl.load(last + column, mask=column < end), mask=column < end)
