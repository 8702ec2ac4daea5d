"""Turns a TFLite network into a torch module with a batch axis; `torch_engine.networks` runs the module.

The module is a `torch.fx` graph with a node for each operator of the file, in its order. Feature maps are (N, height,
width, channels) in the file and (N, channels, width, height) here: channels where torch's operators want them, and
height last because XNNPACK's depthwise convolutions add up along it first (`layers`). All other tensors keep the file's
shape, with N items instead of one.
"""

from __future__ import annotations

import operator as arithmetic
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers
from torch import fx, nn
from torch.nn import functional

from phoenix_ray.models.holistic import attention
from phoenix_ray.models.holistic.elementary import sigmoid
from phoenix_ray.models.holistic.tflite import Network, Operator
from phoenix_ray.models.holistic.torch_engine.graph_builder import GraphBuilder
from phoenix_ray.models.holistic.torch_engine.layers import (
    Convolution,
    MakeLayer,
    ResizeBilinear,
    by_library,
    mean_of_cells,
)

# Axis here of each axis (N, height, width, channels) of the file.
_AXES = (0, 3, 2, 1)


def _convolution(builder: GraphBuilder, operator: Operator) -> fx.Node:
    source, weight_name, *bias_name = operator.inputs
    options = operator.options
    weight = builder.constant(weight_name)
    is_depthwise = operator.name == "DEPTHWISE_CONV_2D"
    weight = weight.transpose(3, 0, 2, 1) if is_depthwise else weight.transpose(0, 3, 2, 1)
    columns, rows = weight.shape[2:]
    stride, dilation = (options.strideW, options.strideH), (options.dilationWFactor, options.dilationHFactor)
    extent = (dilation[0] * (columns - 1) + 1, dilation[1] * (rows - 1) + 1)
    node, padding = _pad_for_windows(builder, operator, extent, stride, fill=0.0)
    layer = builder.make_layer(
        Convolution(
            weight,
            builder.constant(bias_name[0]) if bias_name else np.zeros(len(weight), np.float32),
            stride,
            builder.padding.get(source, padding),
            dilation,
            groups=builder.shape(source)[3] if is_depthwise else 1,
        )
    )
    return builder.activate(builder.module(layer, node), options.fusedActivationFunction)


def _max_pool(builder: GraphBuilder, operator: Operator) -> fx.Node:
    options = operator.options
    window, stride = (options.filterWidth, options.filterHeight), (options.strideW, options.strideH)
    node, padding = _pad_for_windows(builder, operator, window, stride, fill=-np.inf)
    pooled = builder.graph.call_function(functional.max_pool2d, (node, window, stride, padding))
    return builder.activate(pooled, options.fusedActivationFunction)


def _pad_for_windows(
    builder: GraphBuilder, operator: Operator, window: tuple[int, int], stride: tuple[int, int], fill: float
) -> tuple[fx.Node, tuple[int, int]]:
    """Return an operator's input, padded where it must be, and the padding that is left to the operator itself.

    With TFLite's SAME padding the output has ceil(input / stride) cells. Of an odd number of rows or columns, the
    greater part is added at the end; torch's operators add the same on both sides.
    """
    source = operator.inputs[0]
    node = builder.node(source)
    if operator.options.padding == schema.Padding.VALID:
        return node, (0, 0)
    missing = [
        max((-(-length // step) - 1) * step + extent - length, 0)
        for length, extent, step in zip(builder.shape(source)[2:0:-1], window, stride, strict=True)
    ]
    if not any(count % 2 for count in missing):
        return node, (missing[0] // 2, missing[1] // 2)
    (left, top), (right, bottom) = [count // 2 for count in missing], [count - count // 2 for count in missing]
    padding = (top, bottom, left, right)
    return builder.graph.call_function(functional.pad, (node, padding), {"value": fill}), (0, 0)


def _pad(builder: GraphBuilder, operator: Operator) -> fx.Node:
    source, amounts = operator.inputs
    before_and_after = [(int(before), int(after)) for before, after in builder.constant(amounts)]
    if len(before_and_after) != 4 or before_and_after[0] != (0, 0):
        raise ValueError("its operator PAD pads something other than feature maps")
    _, rows, columns, channels = before_and_after
    reader = builder.only_reader(operator.outputs[0])
    if (
        reader is not None
        and reader.name in ("CONV_2D", "DEPTHWISE_CONV_2D")
        and reader.options.padding == schema.Padding.VALID
        and (rows[0], columns[0], *channels) == (rows[1], columns[1], 0, 0)
    ):
        builder.padding[operator.outputs[0]] = (columns[0], rows[0])
        return builder.node(source)
    return builder.graph.call_function(functional.pad, (builder.node(source), (*rows, *columns, *channels)))


def _elementwise(function: Callable[[Any, Any], Any]) -> Callable[[GraphBuilder, Operator], fx.Node]:
    def translate(builder: GraphBuilder, operator: Operator) -> fx.Node:
        nodes = tuple(builder.node(name) for name in operator.inputs)
        return builder.activate(builder.graph.call_function(function, nodes), operator.options.fusedActivationFunction)

    return translate


def _function(function: Callable[[Any], Any]) -> Callable[[GraphBuilder, Operator], fx.Node]:
    def translate(builder: GraphBuilder, operator: Operator) -> fx.Node:
        return builder.graph.call_function(function, (builder.node(operator.inputs[0]),))

    return translate


def _prelu(builder: GraphBuilder, operator: Operator) -> fx.Node:
    source, slope = operator.inputs
    layer = nn.PReLU(builder.shape(source)[3])
    layer.weight.data = torch.from_numpy(np.array(builder.constant(slope))).reshape(-1)
    return builder.module(layer, builder.node(source))


def _fully_connected(builder: GraphBuilder, operator: Operator) -> fx.Node:
    source, weight, bias = operator.inputs
    layer = builder.make_layer(Convolution(builder.constant(weight)[:, :, None, None], builder.constant(bias)))
    cell = builder.graph.call_method("reshape", (builder.node(source), (-1, builder.constant(weight).shape[1], 1, 1)))
    values = builder.graph.call_method("flatten", (builder.module(layer, cell), 1))
    return builder.activate(values, operator.options.fusedActivationFunction)


def _resize_bilinear(builder: GraphBuilder, operator: Operator) -> fx.Node:
    options = operator.options
    if not (options.alignCorners or options.halfPixelCenters):
        raise ValueError("its operator RESIZE_BILINEAR aligns neither corners nor centres of pixels")
    source, target = operator.inputs[0], operator.outputs[0]
    (_, rows, columns, _), (_, rows_then, columns_then, _) = builder.shape(source), builder.shape(target)
    layer = ResizeBilinear((columns, rows), (columns_then, rows_then), bool(options.alignCorners))
    return builder.module(layer, builder.node(source))


def _depth_to_space(builder: GraphBuilder, operator: Operator) -> fx.Node:
    block = operator.options.blockSize
    _, rows, columns, channels = builder.shape(operator.outputs[0])
    # In TFLite the place within a block is the slower part of the channel index, in torch's pixel_shuffle the faster.
    split = (-1, block, block, channels, columns // block, rows // block)
    blocks = builder.graph.call_method("reshape", (builder.node(operator.inputs[0]), split))
    spread = builder.graph.call_method("permute", (blocks, 0, 3, 4, 2, 5, 1))
    return builder.graph.call_method("reshape", (spread, (-1, channels, columns, rows)))


def _concatenation(builder: GraphBuilder, operator: Operator) -> fx.Node:
    rank = len(builder.shape(operator.outputs[0]))
    axis = operator.options.axis % rank
    nodes = [builder.node(name) for name in operator.inputs]
    joined = builder.graph.call_function(torch.cat, (nodes, _AXES[axis] if rank == 4 else axis))
    return builder.activate(joined, operator.options.fusedActivationFunction)


def _reshape(builder: GraphBuilder, operator: Operator) -> fx.Node:
    source, target = operator.inputs[0], operator.outputs[0]
    shape = builder.shape(target)
    if (builder.shape(source)[0], shape[0]) != (1, 1):
        raise ValueError("its operator RESHAPE mixes the items of a batch")
    node = builder.graph.call_method("reshape", (builder.in_file_order(source, builder.node(source)), (-1, *shape[1:])))
    return builder.graph.call_method("permute", (node, 0, 3, 2, 1)) if len(shape) == 4 else node


def _mean(builder: GraphBuilder, operator: Operator) -> fx.Node:
    source, axes = operator.inputs
    over_cells = sorted(int(axis) for axis in builder.constant(axes).reshape(-1)) == [1, 2]
    if len(builder.shape(source)) != 4 or not over_cells or operator.options.keepDims:
        raise ValueError("its operator MEAN does not take the mean of a feature map's cells")
    return builder.graph.call_function(mean_of_cells, (builder.node(source),))


def _strided_slice(builder: GraphBuilder, operator: Operator) -> fx.Node:
    source, *bounds = operator.inputs
    options = operator.options
    masks = (options.beginMask, options.endMask, options.ellipsisMask, options.newAxisMask, options.shrinkAxisMask)
    starts, stops, steps = ([int(value) for value in builder.constant(bound)] for bound in bounds)
    if any(masks) or len(starts) != 4 or (starts[0], stops[0]) != (0, 1):
        raise ValueError("its operator STRIDED_SLICE cuts something other than feature maps")
    cuts = [slice(*bound) for bound in zip(starts, stops, steps, strict=True)]
    _, rows, columns, channels = cuts
    return builder.graph.call_function(
        arithmetic.getitem, (builder.node(source), (slice(None), channels, columns, rows))
    )


def _landmarks_to_transform(builder: GraphBuilder, operator: Operator) -> fx.Node:
    options = flexbuffers.Loads(operator.custom_options)
    options["subset_idxs"] = tuple(options["subset_idxs"])
    return builder.graph.call_function(_transform_of_region, (builder.node(operator.inputs[0]),), options)


def _transform_of_region(landmarks: torch.Tensor, **region: Any) -> torch.Tensor:
    """Call `attention.landmarks_to_transform` with the fields of a `RegionOfFace`."""
    return attention.landmarks_to_transform(landmarks, attention.RegionOfFace(**region))


def _sample_bilinear(builder: GraphBuilder, operator: Operator) -> fx.Node:
    features, transform = operator.inputs
    options = flexbuffers.Loads(operator.custom_options)
    node = builder.graph.call_function(
        attention.sample_bilinear,
        (
            builder.in_file_order(features, builder.node(features)),
            builder.node(transform),
            options["output_height"],
            options["output_width"],
        ),
    )
    return builder.graph.call_method("permute", (node, 0, 3, 2, 1))


def _transform_landmarks(builder: GraphBuilder, operator: Operator) -> fx.Node:
    nodes = tuple(builder.node(name) for name in operator.inputs)
    return builder.graph.call_function(attention.transform_landmarks, nodes)


_OPERATORS: dict[str, Callable[[GraphBuilder, Operator], fx.Node]] = {
    "ADD": _elementwise(arithmetic.add),
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "DEPTH_TO_SPACE": _depth_to_space,
    "FULLY_CONNECTED": _fully_connected,
    "LOGISTIC": _function(sigmoid),
    "MAX_POOL_2D": _max_pool,
    "MEAN": _mean,
    "MUL": _elementwise(arithmetic.mul),
    "PAD": _pad,
    "PRELU": _prelu,
    "RELU": _function(torch.relu),
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize_bilinear,
    "STRIDED_SLICE": _strided_slice,
    # MediaPipe's own operators, in the attention network.
    "Landmarks2TransformMatrix": _landmarks_to_transform,
    "TransformLandmarks": _transform_landmarks,
    "TransformTensorBilinear": _sample_bilinear,
}


def build_module(network: Network, make_layer: MakeLayer = by_library) -> fx.GraphModule:
    """Return the network as a module from images float (N, 3, width, height) to the list of its outputs.

    Outputs that are feature maps are (N, height, width, channels), as in the file.

    Args:
        network: The network to build.
        make_layer: `layers.by_library` or `layers.in_order`.

    Raises:
        ValueError: An operator, or an option of an operator, is not supported here; the message names it.
    """
    builder = GraphBuilder(network, make_layer)
    for operator in network.operators:
        translate = _OPERATORS.get(operator.name)
        if translate is None:
            raise ValueError(f"its operator {operator.name} is not known to the torch engine")
        builder.add(operator, translate(builder, operator))
    return builder.finish()
