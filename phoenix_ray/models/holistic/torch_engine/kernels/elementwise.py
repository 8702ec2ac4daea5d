"""Kernels of what is left between convolutions: finishes alone, resizing, pooling, blocks of cells, means.

Feature maps are (N, channels, height, width), float32 or float16, in planes; results are computed in float32, with the
bits of `torch_engine.layers`. A program computes a block of values; an item's values do not depend on other items.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from phoenix_ray.models.holistic.torch_engine.kernels.layers import Ending, Taps

# Values of a program.
BLOCK = 1024
MEAN_BLOCK = 128


def finish_values(
    values: torch.Tensor,
    scale: tuple[torch.Tensor, torch.Tensor | None] | None,
    ending: Ending,
    out: torch.Tensor,
) -> None:
    """Activate values, multiply and add, add another map, activate again; each as far as it is asked for.

    Args:
        values: (N, channels, cells).
        scale: float32 (channels,): the factor, and what is added to the product; both are rounded.
        ending: The activations, and the map that is added as it is, (N, channels, height, width) or (N, channels,
            cells).
        out: (N, channels, cells) that is written.
    """
    _, channels, cells = values.shape
    added = None if ending.residual is None else ending.residual.flatten(1)
    factor, shift = scale or (None, None)
    tensors = {
        "values": values,
        "factor": factor,
        "shift": shift,
        "slope": ending.slope,
        "added": added,
        "last_slope": ending.last_slope,
        "out": out,
    }
    launch(
        finish_block,
        (triton.cdiv(values.numel(), BLOCK),),
        {
            **{name: values if tensor is None else tensor for name, tensor in tensors.items()},
            "count": values.numel(),
            "size": channels * cells,
            "cells": cells,
            "values_item": values.stride(0),
            "added_item": 0 if added is None else added.stride(0),
            "out_item": out.stride(0),
        },
        {
            "activation": ending.activation,
            "scales": factor is not None,
            "shifts": shift is not None,
            "adds": added is not None,
            "last": ending.last,
            "block": BLOCK,
        },
        bytes_moved=sum(tensor.nbytes for tensor in tensors.values() if tensor is not None),
    )


def resize(
    features: torch.Tensor,
    rows: tuple[torch.Tensor, ...],
    columns: tuple[torch.Tensor, ...],
    added: torch.Tensor | None,
    out: torch.Tensor,
) -> None:
    """Resize bilinearly, along the width, then along the height (`layers.ResizeBilinear`), and add another map.

    Args:
        features: (N, channels, height, width).
        rows: For each row of the result, the two rows around it, int32, and the share of the second, float32
            (`layers.neighbours`).
        columns: The same for columns.
        added: Map of the result's shape; None adds nothing.
        out: (N, channels, height, width) of the result, that is written.
    """
    names = [f"{axis}_{part}" for axis in ("row", "column") for part in ("first", "second", "share")]
    launch(
        resize_block,
        (triton.cdiv(out.numel(), BLOCK),),
        {
            "features": features,
            "added": features if added is None else added,
            **dict(zip(names, (*rows, *columns), strict=True)),
            "out": out,
            **_sides(features, out),
        },
        {"adds": added is not None, "block": BLOCK},
        bytes_moved=features.nbytes + out.nbytes + (0 if added is None else added.nbytes),
    )


def pool(features: torch.Tensor, taps: Taps, out: torch.Tensor) -> None:
    """Write the maximum of each window to `out` (N, channels, height, width); what lies outside never wins."""
    launch(
        pool_block,
        (triton.cdiv(out.numel(), BLOCK),),
        {
            "features": features,
            "out": out,
            **_sides(features, out),
            "row_stride": taps.stride[0],
            "column_stride": taps.stride[1],
            "row_padding": taps.padding[0],
            "column_padding": taps.padding[1],
        },
        {"rows": taps.size[0], "columns": taps.size[1], "block": BLOCK},
    )


def _sides(features: torch.Tensor, out: torch.Tensor) -> dict[str, int]:
    """Return what kernels with windows take: the numbers that are written, and the sides of both maps."""
    (height, width), (out_height, out_width) = features.shape[2:], out.shape[2:]
    return {
        "count": out.numel(),
        "height": height,
        "width": width,
        "out_height": out_height,
        "out_width": out_width,
    }


def spread_depth(features: torch.Tensor, block: int, out: torch.Tensor) -> None:
    """Write features (N, block² channels, height, width) to `out` (N, channels, block height, block width).

    The place within a block is the slower part of the channel's index, as in TFLite's DEPTH_TO_SPACE.
    """
    launch(
        spread_block,
        (triton.cdiv(out.numel(), BLOCK),),
        {
            "features": features,
            "out": out,
            "count": out.numel(),
            "channels": out.shape[1],
            "out_height": out.shape[2],
            "out_width": out.shape[3],
        },
        {"side": block, "block": BLOCK},
    )


def mean_of_planes(features: torch.Tensor, out: torch.Tensor) -> None:
    """Write the means (N, channels) of features (N, channels, height, width), added up row by row, to `out`."""
    planes, cells = features.shape[0] * features.shape[1], features.shape[2] * features.shape[3]
    launch(
        mean_block,
        (triton.cdiv(planes, MEAN_BLOCK),),
        {"features": features, "out": out, "planes": planes, "cells": cells, "share": 1 / cells},
        {"block": MEAN_BLOCK},
    )


@triton.jit
def activate_values(values, slope, channel, mask, kind: tl.constexpr):
    """Return values after an activation; NaN stays."""
    if kind == "prelu":
        return tl.where(values > 0, values, values * tl.load(slope + channel, mask=mask, other=0.0))
    if kind == "relu" or kind == "relu6":
        values = tl.where(values < 0, 0.0, values)
    if kind == "relu6":
        values = tl.where(values > 6, 6.0, values)
    return values


@triton.jit(do_not_specialize=["count"])
def finish_block(
    values, factor, shift, slope, added, last_slope, out,
    count, size, cells, values_item, added_item, out_item,
    activation: tl.constexpr, scales: tl.constexpr, shifts: tl.constexpr, adds: tl.constexpr, last: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0) * block + tl.arange(0, block)
    mask = place < count
    item, value = (place // size).to(tl.int64), place % size
    channel = value // cells
    result = tl.load(values + item * values_item + value, mask=mask).to(tl.float32)
    result = activate_values(result, slope, channel, mask, activation)
    if scales:
        result = result * tl.load(factor + channel, mask=mask)
    if shifts:
        result = result + tl.load(shift + channel, mask=mask)
    if adds:
        result = result + tl.load(added + item * added_item + value, mask=mask).to(tl.float32)
    result = activate_values(result, last_slope, channel, mask, last)
    tl.store(out + item * out_item + value, result.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["count"])
def resize_block(
    features, added, row_first, row_second, row_share, column_first, column_second, column_share, out,
    count, height, width, out_height, out_width,
    adds: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0) * block + tl.arange(0, block)
    mask = place < count
    row, column = place // out_width % out_height, place % out_width
    plane = features + (place // (out_height * out_width)).to(tl.int64) * (height * width)
    upper, lower = tl.load(row_first + row, mask=mask) * width, tl.load(row_second + row, mask=mask) * width
    left, right = tl.load(column_first + column, mask=mask), tl.load(column_second + column, mask=mask)
    rightwards, downwards = tl.load(column_share + column, mask=mask), tl.load(row_share + row, mask=mask)
    first = tl.load(plane + upper + left, mask=mask).to(tl.float32)
    first += (tl.load(plane + upper + right, mask=mask).to(tl.float32) - first) * rightwards
    second = tl.load(plane + lower + left, mask=mask).to(tl.float32)
    second += (tl.load(plane + lower + right, mask=mask).to(tl.float32) - second) * rightwards
    result = first + (second - first) * downwards
    if adds:
        result += tl.load(added + place, mask=mask).to(tl.float32)
    tl.store(out + place, result.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["count"])
def pool_block(
    features, out,
    count, height, width, out_height, out_width, row_stride, column_stride, row_padding, column_padding,
    rows: tl.constexpr, columns: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0) * block + tl.arange(0, block)
    mask = place < count
    top = place // out_width % out_height * row_stride - row_padding
    left = place % out_width * column_stride - column_padding
    plane = features + (place // (out_height * out_width)).to(tl.int64) * (height * width)
    most = tl.full((block,), float("-inf"), tl.float32)
    for across in range(columns):
        for down in range(rows):
            row, column = top + down, left + across
            inside = mask & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            value = tl.load(plane + row * width + column, mask=inside, other=float("-inf")).to(tl.float32)
            most = tl.where((value > most) | (value != value), value, most)
    tl.store(out + place, most.to(out.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["count"])
def spread_block(features, out, count, channels, out_height, out_width, side: tl.constexpr, block: tl.constexpr):
    place = tl.program_id(0) * block + tl.arange(0, block)
    mask = place < count
    row, column, channel = place // out_width % out_height, place % out_width, place // (out_height * out_width)
    item, channel = (channel // channels).to(tl.int64), channel % channels
    source = (row % side * side + column % side) * channels + channel
    height, width = out_height // side, out_width // side
    cell = (source * height + row // side) * width + column // side
    values = tl.load(features + item * (channels * out_height * out_width) + cell, mask=mask)
    tl.store(out + place, values, mask=mask)


@triton.jit(do_not_specialize=["planes"])
def mean_block(features, out, planes, cells, share, block: tl.constexpr):
    plane = tl.program_id(0) * block + tl.arange(0, block)
    mask = plane < planes
    start = features + plane.to(tl.int64) * cells
    total = tl.load(start, mask=mask, other=0.0).to(tl.float32)
    for cell in range(1, cells):
        total += tl.load(start + cell, mask=mask, other=0.0).to(tl.float32)
    tl.store(out + plane, (total * share).to(out.dtype.element_ty), mask=mask)
