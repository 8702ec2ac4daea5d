"""Reads the pose network: points moved by the heat map, projected onto the frame, and the world coordinates."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from phoenix_ray.models.holistic import decoding, tracking
from phoenix_ray.models.holistic.networks import POSE_LANDMARK, PoseOutput
from phoenix_ray.models.holistic.torch_engine.kernels.elementary import powers_on, sigmoid
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch, strides
from phoenix_ray.models.holistic.torch_engine.kernels.rectangles import larger, project, rotate, through_pixels
from phoenix_ray.models.holistic.torch_engine.kernels.regions import Regions, load_letterbox, load_roi, load_size
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames

MIN_HEATMAP_CONFIDENCE = tl.constexpr(decoding.MIN_HEATMAP_CONFIDENCE)
INPUT_SIZE = tl.constexpr(float(POSE_LANDMARK.size))
POSE_POINTS = tl.constexpr(tracking.POSE_POINTS)
# The network's points that are read, and a power of two that holds them.
READ_POINTS, POINT_BLOCK = tl.constexpr(tracking.POSE_POINTS + tracking.AUXILIARY_POINTS), tl.constexpr(64)


class PoseColumns(NamedTuple):
    """Columns of a row at which the numbers of a pose begin.

    Attributes:
        points: x, y, z and visibility of each point.
        world: x, y, z of each point.
        score: The score.
    """

    points: int
    world: int
    score: int


# Rows of `read_body`: 35 points, of which the last two are auxiliary, 33 points of the world, and the score.
BODY_COLUMNS = PoseColumns(0, 4 * READ_POINTS.value, 4 * READ_POINTS.value + 3 * POSE_POINTS.value)
BODY_NUMBERS = BODY_COLUMNS.score + 1


def read_pose(
    frames: DeviceFrames,
    regions: Regions,
    output: PoseOutput,
    rows: torch.Tensor,
    columns: PoseColumns,
    heatmap_kernel: int,
    min_confidence: float,
) -> None:
    """Write the poses of N frames into rows of the result, NaN where there is none.

    Args:
        frames: N frames.
        regions: What the pose network saw of them.
        output: What it found there.
        rows: float32 (N, columns).
        columns: Where the pose stands in a row.
        heatmap_kernel: Cells per side of the window in which a point is refined.
        min_confidence: A pose counts above this score.
    """
    _read(frames, regions, output, rows, columns, heatmap_kernel, min_confidence, raw=False)


def read_body(
    frames: DeviceFrames, regions: Regions, output: PoseOutput, heatmap_kernel: int, min_confidence: float
) -> torch.Tensor:
    """Return `tracking.Body` before any filter, and the score, as float32 (N, BODY_NUMBERS): see `BODY_COLUMNS`."""
    rows = torch.empty((frames.table.shape[1], BODY_NUMBERS), dtype=torch.float32, device=frames.table.device)
    _read(frames, regions, output, rows, BODY_COLUMNS, heatmap_kernel, min_confidence, raw=True)
    return rows


def _read(
    frames: DeviceFrames,
    regions: Regions,
    output: PoseOutput,
    rows: torch.Tensor,
    columns: PoseColumns,
    heatmap_kernel: int,
    min_confidence: float,
    *,
    raw: bool,
) -> None:
    heatmap, count = output.heatmap, frames.table.shape[1]
    arguments = {
        "landmarks": output.landmarks,
        "logits": output.logit,
        "heatmap": heatmap,
        "world": output.world,
        "powers": powers_on(heatmap.device),
        "present": regions.present,
        "boxes": regions.boxes,
        "table": frames.table,
        "rows": rows,
        "count": count,
        **strides("landmark", output.landmarks, "pose", "point", "axis"),
        **strides("logit", output.logit, "pose"),
        **strides("world", output.world, "pose", "point", "axis"),
        **strides("heatmap", heatmap, "pose", "row", "column", "point"),
        "row_size": rows.stride(0),
    }
    constants = {
        "point_column": columns.points,
        "world_column": columns.world,
        "score_column": columns.score,
        "map_rows": heatmap.shape[1],
        "map_columns": heatmap.shape[2],
        "window": heatmap_kernel,
        "min_confidence": min_confidence,
        "raw": raw,
    }
    # Of the heat map, a window around each point is read.
    moved = count * 4 * READ_POINTS.value * (5 + heatmap_kernel**2 + 3 + 7)
    launch(read_poses, (count,), arguments, constants, warps=2, bytes_moved=moved)


@triton.jit(do_not_specialize=["count"])
def read_poses(
    landmarks,
    logits,
    heatmap,
    world,
    powers,
    present,
    boxes,
    table,
    rows,
    count,
    landmark_pose,
    landmark_point,
    landmark_axis,
    logit_pose,
    world_pose,
    world_point,
    world_axis,
    heatmap_pose,
    heatmap_row,
    heatmap_column,
    heatmap_point,
    row_size,
    point_column: tl.constexpr,
    world_column: tl.constexpr,
    score_column: tl.constexpr,
    map_rows: tl.constexpr,
    map_columns: tl.constexpr,
    window: tl.constexpr,
    min_confidence: tl.constexpr,
    raw: tl.constexpr,
):
    pose = tl.program_id(0).to(tl.int64)
    rows += pose * row_size
    score = sigmoid(tl.load(logits + pose * logit_pose), powers)
    score = tl.where(tl.load(present + pose) != 0, score, float("nan"))
    found = score > min_confidence
    tl.store(rows + score_column, score)

    point = tl.arange(0, POINT_BLOCK)
    exists = point < READ_POINTS
    given = landmarks + pose * landmark_pose + point * landmark_point
    x = tl.div_rn(tl.load(given, mask=exists, other=0.0), INPUT_SIZE)
    y = tl.div_rn(tl.load(given + landmark_axis, mask=exists, other=0.0), INPUT_SIZE)
    cells = heatmap + pose * heatmap_pose + point * heatmap_point
    x, y = refine_by_heatmap(x, y, cells, exists, heatmap_row, heatmap_column, powers, map_rows, map_columns, window)
    z = tl.div_rn(tl.load(given + 2 * landmark_axis, mask=exists, other=0.0), INPUT_SIZE)
    visibility = sigmoid(tl.load(given + 3 * landmark_axis, mask=exists, other=0.0), powers)
    roi = load_roi(boxes, pose, count)
    x, y, z = project(x, y, z, roi, load_letterbox(boxes, pose, count))
    if not raw:
        x, y, z = through_pixels(x, y, z, load_size(table, pose, count))
        exists = point < POSE_POINTS
    written = rows + point_column + point * 4
    tl.store(written, tl.where(found, x, float("nan")), mask=exists)
    tl.store(written + 1, tl.where(found, y, float("nan")), mask=exists)
    tl.store(written + 2, tl.where(found, z, float("nan")), mask=exists)
    tl.store(written + 3, tl.where(found, visibility, float("nan")), mask=exists)

    exists = point < POSE_POINTS
    given, written = world + pose * world_pose + point * world_point, rows + world_column + point * 3
    x, y = tl.load(given, mask=exists, other=0.0), tl.load(given + world_axis, mask=exists, other=0.0)
    z = tl.load(given + 2 * world_axis, mask=exists, other=0.0)
    x, y = rotate(x, y, roi[4])
    tl.store(written, tl.where(found, x, float("nan")), mask=exists)
    tl.store(written + 1, tl.where(found, y, float("nan")), mask=exists)
    tl.store(written + 2, tl.where(found, z, float("nan")), mask=exists)


@triton.jit
def refine_by_heatmap(
    x,
    y,
    cells,
    exists,
    row_stride,
    column_stride,
    powers,
    rows: tl.constexpr,
    columns: tl.constexpr,
    window: tl.constexpr,
):
    """`cells` points to the first cell of each point's heat map."""
    # A place is rounded towards zero to its cell, so places just before the first row or column are in it.
    place_x, place_y = x * columns, y * rows
    inside = exists & (place_x > -1) & (place_x < columns) & (place_y > -1) & (place_y < rows)
    first_column = tl.where(inside, place_x, 0.0).to(tl.int32) - window // 2
    first_row = tl.where(inside, place_y, 0.0).to(tl.int32) - window // 2

    total, by_column, by_row = (
        tl.zeros(x.shape, tl.float32),
        tl.zeros(x.shape, tl.float32),
        tl.zeros(x.shape, tl.float32),
    )
    highest = tl.zeros(x.shape, tl.float32)
    for row_of_window in range(window):
        row = first_row + row_of_window
        # The logits of a row do not depend on each other: unrolled, they are computed side by side.
        for column_of_window in tl.static_range(window):
            column = first_column + column_of_window
            is_cell = inside & (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
            logit = tl.load(cells + row * row_stride + column * column_stride, mask=is_cell, other=0.0)
            confidence = tl.where(is_cell, sigmoid(logit, powers), 0.0)
            total += confidence
            by_column += confidence * column.to(tl.float32)
            by_row += confidence * row.to(tl.float32)
            highest = larger(highest, confidence)
    refined = inside & (highest >= MIN_HEATMAP_CONFIDENCE)
    weight = tl.where(refined, total, 1.0)
    column_mean = tl.div_rn(tl.div_rn(by_column, columns * 1.0), weight)
    row_mean = tl.div_rn(tl.div_rn(by_row, rows * 1.0), weight)
    return tl.where(refined, column_mean, x), tl.where(refined, row_mean, y)
