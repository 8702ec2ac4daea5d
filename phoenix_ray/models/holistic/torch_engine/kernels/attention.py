"""The attention network's own operators and `refine_face` in kernels: the bits of `holistic.attention`.

Feature maps are (N, channels, height, width) here and (N, height, width, channels) there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch._subclasses.fake_tensor import FakeTensor

from phoenix_ray.models.holistic import attention as formulas
from phoenix_ray.models.holistic.attention import IRIS_POINTS, MESH_POINTS, SOURCE_OF_POINT, RegionOfFace
from phoenix_ray.models.holistic.torch_engine.kernels.elementary import atan2, cosine_and_sine
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from phoenix_ray.models.holistic.torch_engine.kernels.rectangles import highest, lowest

MESH = tl.constexpr(MESH_POINTS)
IRIS = tl.constexpr(IRIS_POINTS)
# Where the refinements begin in the concatenation of mesh and refinements.
LIPS_START = tl.constexpr(MESH_POINTS)
RIGHT_EYE_START = tl.constexpr(LIPS_START.value + len(formulas.LIPS))
LEFT_EYE_START = tl.constexpr(RIGHT_EYE_START.value + len(formulas.RIGHT_EYE))
RIGHT_IRIS_START = tl.constexpr(LEFT_EYE_START.value + len(formulas.LEFT_EYE))
LEFT_IRIS_START = tl.constexpr(RIGHT_IRIS_START.value + IRIS_POINTS)
RIGHT_EYE_CONTOUR = tl.constexpr(formulas.RIGHT_EYE_CONTOUR)
LEFT_EYE_CONTOUR = tl.constexpr(formulas.LEFT_EYE_CONTOUR)
CONTOUR_POINTS = tl.constexpr(len(formulas.RIGHT_EYE_CONTOUR))
# Points of the transforms and cells of the grids that one program computes.
POINTS_OF_A_PROGRAM = 128
CELLS_OF_A_PROGRAM, CHANNELS_OF_A_PROGRAM = 64, 8


def landmarks_to_transform(landmarks: torch.Tensor, region: RegionOfFace) -> torch.Tensor:
    """Return float32 matrices (N, 4, 4) from the grid of a region to the coordinates of landmarks (N, 468, 3)."""
    count = len(landmarks)
    transforms = torch.empty((count, 4, 4), dtype=torch.float32, device=landmarks.device)
    vertices = (region.left_rotation_idx, region.right_rotation_idx, *region.subset_idxs)
    arguments = {
        "landmarks": landmarks.reshape(-1),
        "vertices": indices_on(vertices, landmarks),
        "transforms": transforms,
        "floats": 3 * landmarks.shape[1],
        "count": len(region.subset_idxs),
    }
    constants = {
        "target": region.target_rotation_radians,
        "scale_x": region.scale_x,
        "scale_y": region.scale_y,
        "width": region.output_width,
        "height": region.output_height,
        "block": triton.next_power_of_2(len(region.subset_idxs)),
    }
    # Each vertex is a cache line of its own.
    moved = count * (32 * len(vertices) + 64)
    launch(find_transforms, (count,), arguments, constants, warps=1, bytes_moved=moved)
    return transforms


@triton.jit
def find_transforms(
    landmarks,
    vertices,
    transforms,
    floats,
    count,
    target: tl.constexpr,
    scale_x: tl.constexpr,
    scale_y: tl.constexpr,
    width: tl.constexpr,
    height: tl.constexpr,
    block: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    landmarks += item * floats
    left, right = landmarks + 3 * tl.load(vertices), landmarks + 3 * tl.load(vertices + 1)
    right_x, right_y = tl.load(right).to(tl.float32), tl.load(right + 1).to(tl.float32)
    left_x, left_y = tl.load(left).to(tl.float32), tl.load(left + 1).to(tl.float32)
    rotation = -1.0 * atan2(right_y - left_y, right_x - left_x) + target
    cosine, sine = cosine_and_sine(rotation)

    lane = tl.arange(0, block)
    exists = lane < count
    vertex = landmarks + 3 * tl.load(vertices + 2 + lane, mask=exists, other=0)
    x, y = tl.load(vertex).to(tl.float32), tl.load(vertex + 1).to(tl.float32)
    x, y = cosine * x - sine * y, sine * x + cosine * y
    low_x, high_x = lowest(x, exists), highest(x, exists)
    low_y, high_y = lowest(y, exists), highest(y, exists)
    center_x, center_y = 0.5 * (low_x + high_x), 0.5 * (low_y + high_y)
    x = cosine * center_x + sine * center_y
    y = -1.0 * sine * center_x + cosine * center_y

    column = tl.div_rn((high_x - low_x) * scale_x, width * 1.0)
    row = tl.div_rn((high_y - low_y) * scale_y, height * 1.0)
    x_by_column, x_by_row = cosine * column, sine * row
    y_by_column, y_by_row = -1.0 * sine * column, cosine * row
    x = x_by_column * (-width / 2) + x_by_row * (-height / 2) + x
    y = y_by_column * (-width / 2) + y_by_row * (-height / 2) + y
    entry = tl.arange(0, 16)
    values = tl.where((entry == 10) | (entry == 15), 1.0, 0.0)
    values = tl.where(entry == 0, x_by_column, tl.where(entry == 1, x_by_row, tl.where(entry == 3, x, values)))
    values = tl.where(entry == 4, y_by_column, tl.where(entry == 5, y_by_row, tl.where(entry == 7, y, values)))
    tl.store(transforms + item * 16 + entry, values)


def sample_bilinear(features: torch.Tensor, transform: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return features (N, C, H, W), of any strides, at the points of a grid: (N, C, rows, columns), 0 outside."""
    count, channels, height, width = features.shape
    samples = torch.empty((count, channels, rows, columns), dtype=features.dtype, device=features.device)
    names = ("item_stride", "channel_stride", "row_stride", "column_stride")
    arguments = {
        "features": features,
        "transforms": transform.reshape(-1),
        "samples": samples,
        **dict(zip(names, features.stride(), strict=True)),
        "channels": channels,
        "height": height,
        "width": width,
        "cells": rows * columns,
        "columns": columns,
    }
    grid = (count, triton.cdiv(rows * columns, CELLS_OF_A_PROGRAM), triton.cdiv(channels, CHANNELS_OF_A_PROGRAM))
    launch(sample, grid, arguments, {"cell_block": CELLS_OF_A_PROGRAM, "channel_block": CHANNELS_OF_A_PROGRAM})
    return samples


@triton.jit
def sample(
    features,
    transforms,
    samples,
    item_stride,
    channel_stride,
    row_stride,
    column_stride,
    channels,
    height,
    width,
    cells,
    columns,
    cell_block: tl.constexpr,
    channel_block: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    cell = tl.program_id(1) * cell_block + tl.arange(0, cell_block)
    channel = tl.program_id(2) * channel_block + tl.arange(0, channel_block)
    x = grid_coordinate(transforms + item * 16, cell // columns, cell % columns)
    y = grid_coordinate(transforms + item * 16 + 4, cell // columns, cell % columns)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    x, y = tl.where(inside, x, 0.0), tl.where(inside, y, 0.0)
    # On a GPU Triton's floor of float32 takes tiny numbers for 0.
    left, top = tl.floor(x.to(tl.float64)).to(tl.float32), tl.floor(y.to(tl.float64)).to(tl.float32)
    rightwards, downwards = (x - left)[None, :], (y - top)[None, :]
    column, row = left.to(tl.int32), top.to(tl.int32)
    # A point on the last row or column has no weight beyond it, so the value read there does not matter.
    next_column, next_row = tl.where(column + 1 < width, column + 1, column), tl.where(row + 1 < height, row + 1, row)

    exists = channel[:, None] < channels
    plane = features + item * item_stride + channel.to(tl.int64)[:, None] * channel_stride
    upper, lower = plane + (row * row_stride)[None, :], plane + (next_row * row_stride)[None, :]
    here, there = (column * column_stride)[None, :], (next_column * column_stride)[None, :]
    top_left, top_right = tl.load(upper + here, mask=exists), tl.load(upper + there, mask=exists)
    bottom_left, bottom_right = tl.load(lower + here, mask=exists), tl.load(lower + there, mask=exists)
    mixed = mix(mix(top_left, top_right, rightwards), mix(bottom_left, bottom_right, rightwards), downwards)
    mixed = tl.where(inside[None, :], mixed, 0.0)
    place = (item * channels + channel[:, None]) * cells + cell[None, :]
    tl.store(samples + place, mixed, mask=exists & (cell < cells)[None, :])


@triton.jit
def grid_coordinate(entries, row, column):
    """Return a coordinate of cells of a grid, from the pointer to its row of the transform."""
    by_column, by_row = tl.load(entries), tl.load(entries + 1)
    shift = by_column.to(tl.float64) * 0.5 + by_row.to(tl.float64) * 0.5 - 0.5
    offset = (tl.load(entries + 3).to(tl.float64) + shift).to(tl.float32)
    return by_column * column.to(tl.float32) + by_row * row.to(tl.float32) + offset


@triton.jit
def mix(first, second, share):
    """Return float32 values on the way from the first to the second."""
    rest = 1.0 - share.to(tl.float64)
    part = share * second.to(tl.float32)
    return (rest * first.to(tl.float64) + part.to(tl.float64)).to(tl.float32)


def transform_landmarks(landmarks: torch.Tensor, transform: torch.Tensor) -> torch.Tensor:
    """Return points (N, K, 2) moved by matrices (N, 4, 4)."""
    moved = torch.empty(landmarks.shape, dtype=torch.float32, device=landmarks.device)
    count, points, _ = landmarks.shape
    arguments = {
        "landmarks": landmarks.reshape(-1),
        "transforms": transform.reshape(-1),
        "moved": moved,
        "points": points,
        "count": count * points,
    }
    launch(
        move, (triton.cdiv(count * points, POINTS_OF_A_PROGRAM),), arguments, {"block": POINTS_OF_A_PROGRAM}, warps=2
    )
    return moved


@triton.jit(do_not_specialize=["count"])
def move(landmarks, transforms, moved, points, count, block: tl.constexpr):
    point = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    exists = point < count
    x = tl.load(landmarks + 2 * point, mask=exists).to(tl.float32)
    y = tl.load(landmarks + 2 * point + 1, mask=exists).to(tl.float32)
    entry = transforms + point // points * 16
    for axis in tl.static_range(2):
        by_x, by_y = tl.load(entry + 4 * axis, mask=exists), tl.load(entry + 4 * axis + 1, mask=exists)
        value = by_x * x + by_y * y + tl.load(entry + 4 * axis + 3, mask=exists)
        tl.store(moved + 2 * point + axis, value, mask=exists)


def refine_face(mesh: torch.Tensor, refinements: Sequence[torch.Tensor], size: float = 1.0) -> torch.Tensor:
    """Return 478 points, float32 (N, 478, 3), from the outputs of the attention network, all divided by `size` first.

    Args:
        mesh: float32 (N, 468, 3).
        refinements: float32 (N, 80, 71, 71, 5 and 5, 2): lips, right eye, left eye, right iris, left iris.
        size: 1 where the outputs are to keep their unit; the size of the network's input makes it 0..1 in the crop.
    """
    count = len(mesh)
    points = torch.empty((count, len(SOURCE_OF_POINT), 3), dtype=torch.float32, device=mesh.device)
    names = ("lips", "right_eye", "left_eye", "right_iris", "left_iris")
    arguments = {
        "mesh": mesh.reshape(-1),
        **{name: values.reshape(-1) for name, values in zip(names, refinements, strict=True)},
        "sources": indices_on(tuple(SOURCE_OF_POINT), mesh),
        "refined": points,
    }
    constants = {"points": len(SOURCE_OF_POINT), "size": float(size), "block": 512}
    launch(refine, (count,), arguments, constants)
    return points


@triton.jit
def refine(
    mesh,
    lips,
    right_eye,
    left_eye,
    right_iris,
    left_iris,
    sources,
    refined,
    points: tl.constexpr,
    size: tl.constexpr,
    block: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    mesh += item * (3 * MESH)
    point = tl.arange(0, block)
    exists = point < points
    source = tl.load(sources + point, mask=exists, other=0)
    refined += item * (3 * points) + 3 * point
    for axis in tl.static_range(2):
        value = tl.load(mesh + 3 * source + axis, mask=exists & (source < MESH), other=0.0)
        value = refinement(value, lips, item, source, axis, LIPS_START, RIGHT_EYE_START)
        value = refinement(value, right_eye, item, source, axis, RIGHT_EYE_START, LEFT_EYE_START)
        value = refinement(value, left_eye, item, source, axis, LEFT_EYE_START, RIGHT_IRIS_START)
        value = refinement(value, right_iris, item, source, axis, RIGHT_IRIS_START, LEFT_IRIS_START)
        value = refinement(value, left_iris, item, source, axis, LEFT_IRIS_START, LEFT_IRIS_START + IRIS)
        tl.store(refined + axis, tl.div_rn(value, size), mask=exists)
    right_depth, left_depth = mean_depth(mesh, RIGHT_EYE_CONTOUR, size), mean_depth(mesh, LEFT_EYE_CONTOUR, size)
    depth = tl.div_rn(tl.load(mesh + 3 * point + 2, mask=point < MESH, other=0.0), size)
    depth = tl.where(point < MESH, depth, tl.where(point < MESH + IRIS, right_depth, left_depth))
    tl.store(refined + 2, depth, mask=exists)


@triton.jit
def refinement(value, contour, item, source, axis: tl.constexpr, start: tl.constexpr, end: tl.constexpr):
    """Return the value, or that of a refinement where a point's source lies from `start` up to `end`."""
    within = (source >= start) & (source < end)
    place = item * (2 * (end - start)) + 2 * (source - start) + axis
    return tl.where(within, tl.load(contour + place, mask=within, other=0.0), value)


@triton.jit
def mean_depth(mesh, contour: tl.constexpr, size: tl.constexpr):
    total = tl.div_rn(tl.load(mesh + (3 * contour[0] + 2)), size).to(tl.float64)
    for position in tl.static_range(1, CONTOUR_POINTS):
        total += tl.div_rn(tl.load(mesh + (3 * contour[position] + 2)), size).to(tl.float64)
    return (total / CONTOUR_POINTS).to(tl.float32)


# By values, device, and whether tensors are fake: those have the device's name but no values.
_indices: dict[tuple[tuple[int, ...], torch.device, bool], torch.Tensor] = {}


def indices_on(values: Sequence[int], like: torch.Tensor) -> torch.Tensor:
    """Return int32 (len(values),) on the device of a tensor; they are copied to a device only once."""
    key = (tuple(values), like.device, isinstance(like, FakeTensor))
    if key not in _indices:
        _indices[key] = torch.tensor(values, dtype=torch.int32, device=like.device)
    return _indices[key]
