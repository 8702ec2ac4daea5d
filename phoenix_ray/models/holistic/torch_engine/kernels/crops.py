"""The crop kernel: what a network takes, straight from the frames' bytes, for all regions of a stage in one launch.

Crops are bit for bit those of `litert_engine.engine`, that is of `cv2.warpPerspective` of OpenCV 4.10 to 4.13 with
INTER_LINEAR on 8-bit images: source coordinates in steps of 1/32 pixel, mixed colours in whole grey values. Then each
grey value becomes what the network sees of it (`networks.input_values`).

A program computes a tile of one crop in all three channels, a few rows at a time, one pixel a thread. A warp is a row
of 32 pixels: it writes 128 bytes next to each other, and its taps lie next to each other in an upright region. However
a region is turned, a tile's taps lie close together in the frame. The networks' sizes are whole tiles.
"""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl

from phoenix_ray.models.holistic.networks import NetworkSpec
from phoenix_ray.models.holistic.torch_engine import crops as array_crops
from phoenix_ray.models.holistic.torch_engine.kernels import elementary
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from phoenix_ray.models.holistic.torch_engine.kernels.regions import Regions
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames

# A tile; the columns divide OpenCV's blocks, so that it lies within a block.
TILE_ROWS, TILE_COLUMNS = 32, 32
# One pixel a thread: with more, Triton would give each thread neighbours and read their taps apart.
ROWS_AT_ONCE, WARPS = 8, 8

STEPS = tl.constexpr(array_crops.STEPS)
STEP_BITS = tl.constexpr(array_crops.STEPS.bit_length() - 1)
BLOCK_COLUMNS = tl.constexpr(array_crops.BLOCK_COLUMNS)
LEAST_COORDINATE, GREATEST_COORDINATE = tl.constexpr(-(2.0**31)), tl.constexpr(2.0**31 - 1)
# OpenCV stores whole pixels in 16 bits.
LEAST_PIXEL, GREATEST_PIXEL = tl.constexpr(-(2**15)), tl.constexpr(2**15 - 1)


def cut_crops(
    frames: DeviceFrames, regions: Regions, spec: NetworkSpec, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """Return the crops of M regions as their network takes them, (M, 3, size, size).

    Args:
        frames: N frames, of which none is longer than `crop_transforms.MAX_SIDE`; region m lies in frame m % N.
        regions: Their matrices are used, for all regions whether present or not.
        spec: The network.
        dtype: float32, or float16 for networks in half precision: the float32 values, rounded.
    """
    side, count = spec.size, regions.matrices.shape[1]
    crops = torch.empty((count, 3, side, side), dtype=dtype, device=frames.pixels.device)
    tiles = triton.cdiv(side, TILE_ROWS) * triton.cdiv(side, TILE_COLUMNS)
    arguments = {
        "pixels": frames.pixels,
        "table": frames.table,
        "matrices": regions.matrices,
        "crops": crops,
        "frame_count": frames.table.shape[1],
        "region_count": count,
    }
    constants = {
        "side": side,
        # Python's float64 holds the float32 factor of `input_values` exactly.
        "scale": float(np.float32((1 - spec.lowest) / 255)),
        "lowest": spec.lowest,
        "repeat_border": spec.repeat_border,
        "tile_rows": TILE_ROWS,
        "rows": ROWS_AT_ONCE,
        "columns": TILE_COLUMNS,
    }
    # No stage reads a byte of the frames twice, as far as the cache reaches.
    moved = sum(tensor.nbytes for tensor in (*frames, regions.matrices, crops))
    launch(warp, (count * tiles,), arguments, constants, warps=WARPS, bytes_moved=moved)
    return crops


@triton.jit(do_not_specialize=["frame_count", "region_count"])
def warp(
    pixels,
    table,
    matrices,
    crops,
    frame_count,
    region_count,
    side: tl.constexpr,
    scale: tl.constexpr,
    lowest: tl.constexpr,
    repeat_border: tl.constexpr,
    tile_rows: tl.constexpr,
    rows: tl.constexpr,
    columns: tl.constexpr,
):
    tiles_across: tl.constexpr = tl.cdiv(side, columns)
    tiles: tl.constexpr = tl.cdiv(side, tile_rows) * tiles_across
    region, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    first_row, first_column = tile // tiles_across * tile_rows, tile % tiles_across * columns
    # Along a single axis there is one way to give pixels to threads, and nothing to exchange between them.
    place = tl.arange(0, rows * columns)
    column = first_column + place % columns
    # Where OpenCV's block starts.
    block = first_column // BLOCK_COLUMNS * BLOCK_COLUMNS
    matrices += region
    x_entries = load_row(matrices, region_count, block, column)
    y_entries = load_row(matrices + 3 * region_count, region_count, block, column)
    divisor_entries = load_row(matrices + 6 * region_count, region_count, block, column)

    frame = region % frame_count
    width = tl.load(table + frame_count + frame).to(tl.int32)
    height = tl.load(table + 2 * frame_count + frame).to(tl.int32)
    pixels += 3 * tl.load(table + frame)
    crops += region.to(tl.int64) * (3 * side * side)
    for start in tl.static_range(0, tile_rows, rows):
        row = first_row + start + place // columns
        # Where the divisor is 0, OpenCV looks at (0, 0).
        divisor = line(divisor_entries, row)
        factor = tl.where(divisor == 0, 0.0, STEPS / tl.where(divisor == 0, 1.0, divisor))
        x, y = nearest_step(line(x_entries, row) * factor), nearest_step(line(y_entries, row) * factor)
        left, right, left_weight, right_weight = neighbours(x, width, repeat_border)
        top, bottom, top_weight, bottom_weight = neighbours(y, height, repeat_border)
        top, bottom, left, right = top * (3 * width), bottom * (3 * width), 3 * left, 3 * right
        inside = (row < side) & (column < side)
        for channel in tl.static_range(3):
            upper = byte_at(pixels, top + left + channel) * left_weight
            upper += byte_at(pixels, top + right + channel) * right_weight
            lower = byte_at(pixels, bottom + left + channel) * left_weight
            lower += byte_at(pixels, bottom + right + channel) * right_weight
            grey = (upper * top_weight + lower * bottom_weight + STEPS * STEPS // 2) >> (2 * STEP_BITS)
            value = seen(grey, scale, lowest).to(crops.dtype.element_ty)
            tl.store(crops + (channel * side * side + row * side + column), value, mask=inside)


@triton.jit
def byte_at(pixels, offset):
    """Return a byte of a frame, int32. Frames as long as OpenCV warps have more bytes than int32 counts."""
    return tl.load(pixels + offset.to(tl.uint32)).to(tl.int32)


@triton.jit
def load_row(entries, stride, block, column):
    """Return what `line` takes: a row of the matrix times the block's start and times the columns within the block."""
    by_column, by_row, shift = tl.load(entries), tl.load(entries + stride), tl.load(entries + 2 * stride)
    return by_column * block.to(tl.float64), by_row, shift, by_column * (column - block).to(tl.float64)


@triton.jit
def line(entries, row):
    """Return a row of the matrix times (column, row, 1), float64, added up as OpenCV does: from its block's start."""
    at_block, by_row, shift, within = entries
    return (at_block + by_row * row.to(tl.float64) + shift) + within


@triton.jit
def nearest_step(coordinate):
    """Return float64 rounded to int32, half to even; NaN becomes the least number, as on x86-64."""
    # A bare number would be rounded to float32 here, the greatest to one that int32 cannot hold.
    least, greatest = elementary.wide(LEAST_COORDINATE), elementary.wide(GREATEST_COORDINATE)
    coordinate = tl.where(coordinate > least, coordinate, least)
    coordinate = tl.where(coordinate < greatest, coordinate, greatest)
    # The sum has no fraction, and its lower 32 bits are the number in two's complement.
    return (coordinate + elementary.ROUNDING).to(tl.int64, bitcast=True).to(tl.int32)


@triton.jit
def neighbours(coordinate, length, repeat_border: tl.constexpr):
    """Return, for coordinates along an axis, the two pixels between which they lie and the weight of each, int32.

    Args:
        coordinate: int32, steps of 1/32 pixel.
        length: int32: pixels along the axis.
        repeat_border: Whether pixels outside repeat the border, or are black.
    """
    second_weight = coordinate & (STEPS - 1)
    first_weight = STEPS - second_weight
    first = tl.minimum(tl.maximum(coordinate >> STEP_BITS, LEAST_PIXEL), GREATEST_PIXEL)
    second = first + 1
    if not repeat_border:
        first_weight = tl.where((first >= 0) & (first < length), first_weight, 0)
        second_weight = tl.where((second >= 0) & (second < length), second_weight, 0)
    first = tl.minimum(tl.maximum(first, 0), length - 1)
    second = tl.minimum(tl.maximum(second, 0), length - 1)
    return first, second, first_weight, second_weight


@triton.jit
def seen(grey, scale: tl.constexpr, lowest: tl.constexpr):
    """Return what a network sees of grey values, float32: `networks.input_values`, a multiply-add that rounds once."""
    grey = grey.to(tl.float32)
    return tl.fma(grey, tl.full(grey.shape, scale, tl.float32), tl.full(grey.shape, lowest, tl.float32))
