"""Convolutions of feature maps on a GPU, in XNNPACK's order, with all that follows them in the same kernel.

Feature maps are (N, channels, height, width), float32 or float16, their planes row by row and one after the other.
An output is a view (N, outputs, height, width) of any strides whose rows follow each other: a feature map, some
channels of one, or numbers (N, height, width, outputs) as a network's file has them, also in the middle of a
concatenation.

In 'exact' the numbers are those of `layers.in_order` on a CPU, whatever the batch. 'tf32' rounds the factors of
products, 'fp16' is 'exact' with feature maps and weights in float16; sums are float32 in each.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from phoenix_ray.models.holistic.torch_engine.kernels import convolution_kernels
from phoenix_ray.models.holistic.torch_engine.kernels.convolution_tiles import (
    DEPTHWISE_TILE,
    OutputTile,
    blocks_of,
    separable_tile_of,
    tile_of,
)
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from phoenix_ray.models.holistic.torch_engine.kernels.layers import Activation, DenseLayer, DepthwiseLayer, Ending, Taps
from phoenix_ray.setting_types import Precision

# Least and greatest number that an activation lets pass.
_BOUNDS: dict[Activation, tuple[float, float]] = {
    "none": (-math.inf, math.inf),
    "prelu": (-math.inf, math.inf),
    "relu": (0.0, math.inf),
    "relu6": (0.0, 6.0),
}
# Planes and strides of which all are multiples of it are read and written so many numbers at a time.
_UNIT = 4
# Triton knows only of multiples of 16.
_PITCH = 16


def convolve(
    features: torch.Tensor, layer: DenseLayer, ending: Ending, out: torch.Tensor, precision: Precision = "exact"
) -> None:
    """Convolve over all channels; a fully connected layer is one of single cells.

    Args:
        features: (N, channels, height, width).
        layer: The convolution.
        ending: What follows it.
        out: (N, outputs, height, width) that is written. As many zeros as its windows need lie beyond the last row and
            column of the features.
        precision: Of products of float32; with weights in float16 it has no effect.

    Raises:
        ValueError: Shapes do not fit, or a tensor lies in memory in another way than said above.
    """
    outputs = layer.weight.shape[1]
    if layer.weight.shape[0] != features.shape[1] * math.prod(layer.taps.size):
        raise ValueError(
            f"a weight {tuple(layer.weight.shape)} with taps {layer.taps.size} does not fit features "
            f"{tuple(features.shape)}"
        )
    windows = layer.taps != Taps() or features.shape[2:] != out.shape[2:]
    tile = tile_of(outputs, math.prod(out.shape[2:]), windows, out.stride(1) == 1)
    sizes, pattern = _sizes(features, layer.taps, ending, out, outputs)
    launch(
        convolution_kernels.dense,
        _grid(outputs, out, tile),
        {
            "features": features,
            "weight": layer.weight,
            "bias": layer.bias,
            **_tensors(ending, layer.bias),
            "out": out,
            **sizes,
            "outputs": outputs,
            "pitch": layer.weight.stride(0),
        },
        {
            **pattern,
            "windows": windows,
            "precision": _input_precision(precision),
            "tile_outputs": tile.outputs,
            "rest_outputs": tile.rest,
            "tile_cells": tile.cells,
            "depth": tile.depth,
        },
        warps=tile.warps,
        bytes_moved=_bytes_moved(features, layer.weight, layer.bias, out, ending),
    )


def convolve_depthwise(features: torch.Tensor, layer: DepthwiseLayer, ending: Ending, out: torch.Tensor) -> None:
    """Convolve each channel on its own; arguments and errors as of `convolve`, with as many outputs as channels.

    One of single cells is a multiplication and an addition, each rounded (`layers.ChannelScaling`).
    """
    channels = features.shape[1]
    _check_depthwise(features, layer)
    sizes, pattern = _sizes(features, layer.taps, ending, out, channels)
    tile = DEPTHWISE_TILE
    launch(
        convolution_kernels.depthwise,
        _grid(channels, out, tile),
        {
            "features": features,
            "weight": layer.weight,
            "bias": layer.bias,
            **_tensors(ending, layer.bias),
            "out": out,
            **sizes,
        },
        {**pattern, "scales": layer.scales, "tile_channels": tile.outputs, "tile_cells": tile.cells},
        warps=tile.warps,
        bytes_moved=_bytes_moved(features, layer.weight, layer.bias, out, ending),
    )


def convolve_separable(
    features: torch.Tensor,
    depthwise: DepthwiseLayer,
    between: Ending,
    dense: DenseLayer,
    ending: Ending,
    out: torch.Tensor,
    precision: Precision = "exact",
) -> None:
    """Convolve each channel on its own, then over all channels cell by cell, in one kernel.

    Arguments and errors are as of `convolve`. Ask `is_worth_fusing` first.

    Args:
        features: Feature map.
        depthwise: The first convolution.
        between: Its activation; no residual.
        dense: The second convolution, of single cells.
        ending: What follows it.
        out: Where the outputs are written.
        precision: Of the second convolution's products.
    """
    if dense.taps != Taps() or between.residual is not None or between.last != "none" or depthwise.scales:
        raise ValueError(
            "a depthwise convolution fuses with one of single cells and stride 1, without a residual in between; "
            f"these have {depthwise.taps}, {dense.taps} and {between}: convolve one after the other"
        )
    outputs = dense.weight.shape[1]
    _check_depthwise(features, depthwise)
    if dense.weight.shape[0] != features.shape[1]:
        raise ValueError(f"a weight {tuple(dense.weight.shape)} does not fit features {tuple(features.shape)}")
    sizes, pattern = _sizes(features, depthwise.taps, ending, out, outputs)
    tile = separable_tile_of(outputs)
    low, high = _BOUNDS[between.activation]
    launch(
        convolution_kernels.separable,
        _grid(outputs, out, tile),
        {
            "features": features,
            "depthwise_weight": depthwise.weight,
            "depthwise_bias": depthwise.bias,
            "between_slope": depthwise.bias if between.slope is None else between.slope,
            "weight": dense.weight,
            "bias": dense.bias,
            **_tensors(ending, dense.bias),
            "out": out,
            **sizes,
            "outputs": outputs,
            "pitch": dense.weight.stride(0),
            "between_low": low,
            "between_high": high,
        },
        {
            **pattern,
            "between": _kind(between.activation),
            "precision": _input_precision(precision),
            "tile_outputs": tile.outputs,
            "rest_outputs": tile.rest,
            "tile_cells": tile.cells,
            "depth": tile.depth,
        },
        warps=tile.warps,
        bytes_moved=depthwise.weight.nbytes + _bytes_moved(features, dense.weight, dense.bias, out, ending),
    )


def with_pitch(layer: DenseLayer) -> DenseLayer:
    """Return a layer whose weights are read four at a time: rows start at multiples of 16, with zeros in between."""
    terms, outputs = layer.weight.shape
    weight = layer.weight.new_zeros((terms, blocks_of(outputs, _PITCH) * _PITCH))
    weight[:, :outputs] = layer.weight
    return replace(layer, weight=weight[:, :outputs])


def _sizes(
    features: torch.Tensor, taps: Taps, ending: Ending, out: torch.Tensor, outputs: int
) -> tuple[dict[str, int | float], dict[str, str | int]]:
    """Return the numbers and the pattern that all kernels have.

    Raises:
        ValueError: See `convolve`.
    """
    items, channels, height, width = features.shape
    _, _, out_height, out_width = out.shape
    plane, cells = height * width, out_height * out_width
    _check_planes("features", features)
    if out.shape[:2] != (items, outputs):
        raise ValueError(f"an output {tuple(out.shape)} does not fit {items} items of {outputs} channels")
    out_item, out_channel, out_cell = out.stride(0), out.stride(1), out.stride(3)
    if out_height > 1 and out.stride(2) != out_width * out_cell:
        raise ValueError(f"rows of an output of strides {out.stride()} do not follow each other")
    adjacent = "cells" if out_cell == 1 else "channels" if out_channel == 1 else "neither"

    sizes: dict[str, int] = {"plane": plane, "features_item": features.stride(0), "cells": cells, "residual_item": 0}
    residual_channels, added = 0, "nothing"
    if ending.residual is not None:
        residual_channels, added = ending.residual.shape[1], "pooled" if ending.pooled else "cells"
        scale = 2 if ending.pooled else 1
        _check_planes("a residual", ending.residual)
        if ending.residual.shape[::2] != (items, scale * out_height) or ending.residual.shape[3] != scale * out_width:
            raise ValueError(f"a residual {tuple(ending.residual.shape)} does not fit an output {tuple(out.shape)}")
        sizes["residual_item"] = ending.residual.stride(0)
    strides = {"out_item": out_item, "out_channel": out_channel}
    if adjacent == "cells":
        sizes |= strides
    unit = _UNIT if all(size % _UNIT == 0 for size in sizes.values()) else 1
    low, high = _BOUNDS[ending.activation]
    last_low, last_high = _BOUNDS[ending.last]
    return {
        "items": items,
        "channels": channels,
        "height": height,
        "width": width,
        **strides,
        **{name: size // unit for name, size in sizes.items()},
        "out_width": out_width,
        "out_cell": out_cell,
        "residual_channels": residual_channels,
        "rows": taps.size[0],
        "columns": taps.size[1],
        "row_stride": taps.stride[0],
        "column_stride": taps.stride[1],
        "row_padding": taps.padding[0],
        "column_padding": taps.padding[1],
        "row_dilation": taps.dilation[0],
        "column_dilation": taps.dilation[1],
        "low": low,
        "high": high,
        "last_low": last_low,
        "last_high": last_high,
    }, {
        "activation": _kind(ending.activation),
        "added": added,
        "last": _kind(ending.last),
        "adjacent": adjacent,
        "unit": unit,
    }


def _check_planes(name: str, features: torch.Tensor) -> None:
    _, channels, height, width = features.shape
    strides = (height * width, width, 1)
    for length, stride, right in zip((channels, height, width), features.stride()[1:], strides, strict=True):
        if length > 1 and stride != right:
            raise ValueError(f"{name} {tuple(features.shape)} of strides {features.stride()}: make them contiguous")


def _check_depthwise(features: torch.Tensor, layer: DepthwiseLayer) -> None:
    if layer.weight.shape != (features.shape[1], math.prod(layer.taps.size)):
        raise ValueError(
            f"a weight {tuple(layer.weight.shape)} with taps {layer.taps.size} does not fit features "
            f"{tuple(features.shape)}"
        )


def _tensors(ending: Ending, unused: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the tensors of an ending; `unused` stands for those that it lacks."""
    given = {"slope": ending.slope, "residual": ending.residual, "last_slope": ending.last_slope}
    return {name: unused if tensor is None else tensor for name, tensor in given.items()}


def _kind(activation: Activation) -> str:
    return "prelu" if activation == "prelu" else "bounds"


def _input_precision(precision: Precision) -> str:
    return "tf32" if precision == "tf32" else "ieee"


def _grid(outputs: int, out: torch.Tensor, tile: OutputTile) -> tuple[int]:
    """Return the programs; those with the same cells follow each other, so that they find them in a cache."""
    cells = out.shape[0] * out.shape[2] * out.shape[3]
    return (blocks_of(outputs, tile.height) * blocks_of(cells, tile.cells),)


def _bytes_moved(
    features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, out: torch.Tensor, ending: Ending
) -> int:
    tensors = (features, weight, bias, out, ending.residual, ending.slope, ending.last_slope)
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
