"""Translates a TFLite network into steps, operator by operator; `network_fusion` then makes fewer steps of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import flexbuffers

from phoenix_ray.models.holistic.attention import RegionOfFace
from phoenix_ray.models.holistic.tflite import Constant, Network, Operator
from phoenix_ray.models.holistic.torch_engine.kernels import network_steps as steps
from phoenix_ray.models.holistic.torch_engine.kernels.layers import DenseLayer, DepthwiseLayer, Taps
from phoenix_ray.models.holistic.torch_engine.kernels.network_steps import Activate, AddMap, Finish, Scale, Step

_ACTIVATIONS: dict[int, tuple[Activate, ...]] = {
    schema.ActivationFunctionType.NONE: (),
    schema.ActivationFunctionType.RELU: (Activate("relu"),),
    schema.ActivationFunctionType.RELU6: (Activate("relu6"),),
}


def translate(network: Network) -> list[Step]:
    """Return a step for each operator of a network, in its order; what is computed twice is computed once.

    Raises:
        ValueError: An operator, or an option of an operator, is not supported here; the message names it.
    """
    translated: list[Step] = []
    known: dict[object, str] = {}
    same_as: dict[str, str] = {}
    for operator in network.operators:
        inputs = tuple(same_as.get(name, name) for name in operator.inputs)
        operator = Operator(operator.name, inputs, operator.outputs, operator.options, operator.custom_options)
        key = _identity(network, operator)
        if key in known and operator.outputs[0] not in network.outputs:
            same_as[operator.outputs[0]] = known[key]
            continue
        known[key] = operator.outputs[0]
        if operator.name not in _OPERATORS:
            raise ValueError(f"its operator {operator.name} is not known to the torch engine's kernels")
        translated.append(_OPERATORS[operator.name](_Source(network, operator)))
    return translated


def _identity(network: Network, operator: Operator) -> object:
    """Return what two operators have in common that compute the same."""
    inputs = [
        network.constants[name].tobytes() if name in network.constants and network.constants[name].size < 64 else name
        for name in operator.inputs
    ]
    options = () if operator.options is None else sorted(vars(operator.options).items())
    shape = network.shapes[operator.outputs[0]]
    return (operator.name, tuple(inputs), repr(options), operator.custom_options, shape)


class _Source:
    """An operator of a network, and the tensors that it takes.

    Attributes:
        name: TFLite's name of it.
        inputs: Names of its inputs.
        output: Name of its output.
        options: TFLite's options of it.
    """

    def __init__(self, network: Network, operator: Operator) -> None:
        self.name, self.inputs, self.output = operator.name, operator.inputs, operator.outputs[0]
        self.options, self.custom_options = operator.options, operator.custom_options
        self._network = network

    def shape(self, name: str) -> tuple[int, ...]:
        return self._network.shapes[name]

    def is_constant(self, name: str) -> bool:
        return name in self._network.constants

    def constant(self, name: str) -> Constant:
        if name not in self._network.constants:
            raise ValueError(f"its tensor {name} is computed where the torch engine needs a constant")
        return self._network.constants[name]

    def activations(self) -> tuple[Activate, ...]:
        """Return the activation that is part of the operator, if there is one."""
        activation = self.options.fusedActivationFunction
        if activation not in _ACTIVATIONS:
            raise ValueError(f"its activation {activation} is not known to the torch engine")
        return _ACTIVATIONS[activation]

    def finish(self, *stages: steps.Stage) -> Finish:
        """Return a finish of some stages and the operator's activation."""
        finish = Finish.of([*stages, *self.activations()])
        assert finish is not None
        return finish

    def refuse_activation(self) -> None:
        if self.activations():
            raise ValueError(f"its operator {self.name} has an activation")

    def per_channel(self, values: Constant) -> torch.Tensor:
        """Return a constant float32 (channels,): of maps the channels, of other tensors all values of an item."""
        shape = self.shape(self.output)
        try:
            lasting = values.reshape(-1) if len(shape) == 4 else values
            filled = np.broadcast_to(lasting, shape[-1:] if len(shape) == 4 else shape).reshape(-1)
        except ValueError:
            raise ValueError(f"its operator {self.name} has constants {values.shape} for a tensor {shape}") from None
        return _tensor(filled)

    def taps(self, rows: int, columns: int, dilation: tuple[int, int] = (1, 1)) -> Taps:
        """Return where windows of the operator look.

        With TFLite's SAME padding the output has ceil(input / stride) cells, and of an odd number of zeros the greater
        part is added at the end.
        """
        stride = (self.options.strideH, self.options.strideW)
        padding = [0, 0]
        if self.options.padding == schema.Padding.SAME:
            for axis, taps in enumerate((rows, columns)):
                length, extent = self.shape(self.inputs[0])[1 + axis], dilation[axis] * (taps - 1) + 1
                missing = max((-(-length // stride[axis]) - 1) * stride[axis] + extent - length, 0)
                padding[axis] = missing // 2
        return Taps((rows, columns), stride, (padding[0], padding[1]), dilation)


def _tensor(values: Constant) -> torch.Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float32, order="C"))


def _convolution(source: _Source) -> Step:
    data, weight_name, *bias_name = source.inputs
    weight, options = source.constant(weight_name), source.options
    is_depthwise = source.name == "DEPTHWISE_CONV_2D"
    outputs = weight.shape[3] if is_depthwise else weight.shape[0]
    bias = _tensor(source.constant(bias_name[0]) if bias_name else np.zeros(outputs))
    taps = source.taps(weight.shape[1], weight.shape[2], (options.dilationHFactor, options.dilationWFactor))
    if not is_depthwise:
        layer = DenseLayer(_tensor(weight.transpose(1, 2, 3, 0).reshape(-1, outputs)), bias, taps)
        return steps.Dense(output=source.output, source=data, layer=layer, finish=source.finish())
    if outputs != source.shape(data)[3]:
        raise ValueError("its operator DEPTHWISE_CONV_2D has more outputs than channels")
    factors = _tensor(weight.transpose(3, 2, 1, 0).reshape(outputs, -1))
    if DepthwiseLayer(factors, bias, taps).scales:
        finish = source.finish(Scale(factors[:, 0].contiguous(), bias))
        return steps.Elementwise(output=source.output, source=data, finish=finish)
    return steps.Depthwise(
        output=source.output, source=data, layer=DepthwiseLayer(factors, bias, taps), finish=source.finish()
    )


def _fully_connected(source: _Source) -> Step:
    data, weight_name, bias_name = source.inputs
    weight, shape = source.constant(weight_name), source.shape(data)
    if shape[-1] != weight.shape[1] or any(length != 1 for length in shape[:-1]):
        raise ValueError(f"its operator FULLY_CONNECTED takes a tensor {shape}, which is not a single cell")
    layer = DenseLayer(_tensor(weight.T), _tensor(source.constant(bias_name)), Taps())
    return steps.Dense(output=source.output, source=data, layer=layer, finish=source.finish())


def _add(source: _Source) -> Step:
    first, second = source.inputs
    if source.shape(first) != source.shape(second) or source.is_constant(first) or source.is_constant(second):
        raise ValueError("its operator ADD adds something other than two computed tensors of one shape")
    total = AddMap(second, steps.channels_of(source.shape(second)))
    return steps.Elementwise(output=source.output, source=first, finish=source.finish(total))


def _multiply(source: _Source) -> Step:
    data, factor = source.inputs
    scale = Scale(source.per_channel(source.constant(factor)))
    return steps.Elementwise(output=source.output, source=data, finish=source.finish(scale))


def _relu(source: _Source) -> Step:
    return steps.Elementwise(output=source.output, source=source.inputs[0], finish=Finish(Activate("relu")))


def _prelu(source: _Source) -> Step:
    data, slope = source.inputs
    activation = Activate("prelu", source.per_channel(source.constant(slope)))
    return steps.Elementwise(output=source.output, source=data, finish=Finish(activation))


def _max_pool(source: _Source) -> Step:
    source.refuse_activation()
    taps = source.taps(source.options.filterHeight, source.options.filterWidth)
    return steps.MaxPool(output=source.output, source=source.inputs[0], taps=taps)


def _pad(source: _Source) -> Step:
    data, amounts = source.inputs
    before_and_after = [(int(before), int(after)) for before, after in source.constant(amounts)]
    if len(before_and_after) != 4 or before_and_after[0] != (0, 0):
        raise ValueError("its operator PAD pads something other than feature maps")
    _, rows, columns, channels = before_and_after
    return steps.Pad(output=source.output, source=data, rows=rows, columns=columns, channels=channels)


def _resize(source: _Source) -> Step:
    options = source.options
    if not (options.alignCorners or options.halfPixelCenters):
        raise ValueError("its operator RESIZE_BILINEAR aligns neither corners nor centres of pixels")
    return steps.Resizing(output=source.output, source=source.inputs[0], align_corners=bool(options.alignCorners))


def _depth_to_space(source: _Source) -> Step:
    return steps.DepthToSpace(output=source.output, source=source.inputs[0], block=source.options.blockSize)


def _mean(source: _Source) -> Step:
    data, axes = source.inputs
    over_cells = sorted(int(axis) for axis in source.constant(axes).reshape(-1)) == [1, 2]
    if len(source.shape(data)) != 4 or not over_cells or source.options.keepDims:
        raise ValueError("its operator MEAN does not take the mean of a feature map's cells")
    return steps.CellMean(output=source.output, source=data)


def _reshape(source: _Source) -> Step:
    data = source.inputs[0]
    if (source.shape(data)[0], source.shape(source.output)[0]) != (1, 1):
        raise ValueError("its operator RESHAPE mixes the items of a batch")
    return steps.Reshape(output=source.output, source=data)


def _concatenation(source: _Source) -> Step:
    source.refuse_activation()
    shape = source.shape(source.output)
    axis = source.options.axis % len(shape)
    if any(length != 1 for length in shape[:axis]):
        raise ValueError(f"its operator CONCATENATION joins tensors along axis {axis} of {shape}, where they interlace")
    sizes = [math.prod(source.shape(part)) for part in source.inputs]
    starts = tuple(accumulate(sizes[:-1], initial=0))
    return steps.Join(output=source.output, source=source.inputs[0], parts=source.inputs, starts=starts)


def _strided_slice(source: _Source) -> Step:
    data, *bounds = source.inputs
    options = source.options
    masks = (options.beginMask, options.endMask, options.ellipsisMask, options.newAxisMask, options.shrinkAxisMask)
    starts, stops, strides = ([int(value) for value in source.constant(bound)] for bound in bounds)
    shape = source.shape(data)
    if any(masks) or any(starts) or stops[:-1] != list(shape[:-1]) or set(strides) != {1} or len(shape) != 4:
        raise ValueError("its operator STRIDED_SLICE cuts something other than the first channels of a feature map")
    if stops[-1] == shape[-1]:
        return steps.Reshape(output=source.output, source=data)
    return steps.FirstChannels(output=source.output, source=data)


def _region_transform(source: _Source) -> Step:
    options = flexbuffers.Loads(source.custom_options)
    region = RegionOfFace(**{**options, "subset_idxs": tuple(options["subset_idxs"])})
    return steps.RegionTransform(output=source.output, source=source.inputs[0], region=region)


def _with_transform(step: Callable[..., Step]) -> Callable[[_Source], Step]:
    def translate_operator(source: _Source) -> Step:
        data, transform = source.inputs
        return step(output=source.output, source=data, transform=transform)

    return translate_operator


_OPERATORS: dict[str, Callable[[_Source], Step]] = {
    "ADD": _add,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "DEPTH_TO_SPACE": _depth_to_space,
    "FULLY_CONNECTED": _fully_connected,
    "MAX_POOL_2D": _max_pool,
    "MEAN": _mean,
    "MUL": _multiply,
    "PAD": _pad,
    "PRELU": _prelu,
    "RELU": _relu,
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize,
    "STRIDED_SLICE": _strided_slice,
    # MediaPipe's own operators, in the attention network.
    "Landmarks2TransformMatrix": _region_transform,
    "TransformLandmarks": _with_transform(steps.MoveLandmarks),
    "TransformTensorBilinear": _with_transform(steps.Sample),
}
