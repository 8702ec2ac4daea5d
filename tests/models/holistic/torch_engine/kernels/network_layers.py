"""Every convolution of Holistic's networks, as a shape with random weights, and what the CPU's layers make of it.

What follows a convolution is read from the network too, so that the endings that networks have are the ones that run.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from torch.nn import functional

from phoenix_ray.models.holistic import tflite
from phoenix_ray.models.holistic.networks import NetworkSpec
from phoenix_ray.models.holistic.torch_engine.kernels.convolutions import (
    convolve,
    convolve_depthwise,
    convolve_separable,
    with_pitch,
)
from phoenix_ray.models.holistic.torch_engine.kernels.layers import Activation, DenseLayer, DepthwiseLayer, Ending, Taps
from phoenix_ray.models.holistic.torch_engine.layers import Convolution, in_order
from phoenix_ray.setting_types import Precision

SINGLE_CELLS = Taps()
Kind = Literal["dense", "depthwise", "separable"]
_ACTIVATIONS: dict[int, Activation] = {
    schema.ActivationFunctionType.NONE: "none",
    schema.ActivationFunctionType.RELU: "relu",
    schema.ActivationFunctionType.RELU6: "relu6",
}


@dataclass(frozen=True)
class LayerShape:
    """A convolution and its ending.

    Attributes:
        kind: 'separable': depthwise, then over all channels.
        channels: Of the input.
        outputs: Of the output.
        size: Rows and columns of the input.
        out_size: Rows and columns of the output.
        taps: Where it looks; of 'separable' the depthwise part.
        between: Activation between both parts of 'separable'.
        activation: Activation of the sums.
        residual_channels: Channels of the residual, 0 without.
        pooled: Whether the residual is pooled.
        last: Activation after the residual.
        channels_last: Whether the output is one of the network's.
    """

    kind: Kind
    channels: int
    outputs: int
    size: tuple[int, int]
    out_size: tuple[int, int]
    taps: Taps = SINGLE_CELLS
    between: Activation = "none"
    activation: Activation = "none"
    residual_channels: int = 0
    pooled: bool = False
    last: Activation = "none"
    channels_last: bool = False

    def cut(self, rows: int) -> LayerShape:
        """Return it with at most so many rows of output, between the same edges."""
        if self.out_size[0] <= rows:
            return self
        lost = (self.out_size[0] - rows) * self.taps.stride[0]
        return replace(self, size=(self.size[0] - lost, self.size[1]), out_size=(rows, self.out_size[1]))


class Layer:
    """A shape with random weights, and a way to run it on a kernel and on the CPU's layers.

    Without a generator the weights are whatever lies in memory: for fake tensors.
    """

    def __init__(
        self,
        shape: LayerShape,
        items: int,
        random: np.random.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        def noise(*lengths: int) -> torch.Tensor:
            if random is None:
                return torch.empty(lengths)
            return torch.from_numpy(random.standard_normal(lengths, np.float32))

        self.shape, self._dtype = shape, dtype
        height, width = shape.out_size
        self.features = noise(items, shape.channels, *shape.size).to(dtype)
        self._weight = noise(shape.outputs, shape.channels, *(shape.taps.size if shape.kind == "dense" else (1, 1)))
        self._depthwise_weight = noise(shape.channels, 1, *shape.taps.size)
        self._bias, self._depthwise_bias = noise(shape.outputs), noise(shape.channels)
        scale = 2 if shape.pooled else 1
        residual = noise(items, shape.residual_channels, scale * height, scale * width).to(dtype)
        self.ending = Ending(
            shape.activation,
            noise(shape.outputs) if shape.activation == "prelu" else None,
            residual if shape.residual_channels else None,
            shape.pooled,
            shape.last,
            noise(shape.outputs) if shape.last == "prelu" else None,
        )
        if shape.channels_last:
            self.out = noise(items, height, width, shape.outputs).permute(0, 3, 1, 2)
        else:
            self.out = noise(items, shape.outputs, height, width).to(dtype)

    def run(self, precision: Precision = "exact") -> torch.Tensor:
        """Return the output of the kernel."""
        shape = self.shape
        taps = shape.taps if shape.kind == "dense" else Taps()
        # XNNPACK's order of a sum: row by row and channel by channel; column by column of a depthwise convolution.
        weight = self._weight.permute(2, 3, 1, 0).reshape(-1, shape.outputs).to(self._dtype)
        dense = with_pitch(DenseLayer(weight, self._bias, taps))
        columns = self._depthwise_weight.transpose(2, 3).reshape(shape.channels, -1).to(self._dtype)
        depthwise = DepthwiseLayer(columns, self._depthwise_bias, shape.taps)
        if shape.kind == "dense":
            convolve(self.features, dense, self.ending, self.out, precision)
        elif shape.kind == "depthwise":
            convolve_depthwise(self.features, depthwise, self.ending, self.out)
        else:
            between = Ending(shape.between, self._depthwise_bias if shape.between == "prelu" else None)
            convolve_separable(self.features, depthwise, between, dense, self.ending, self.out, precision)
        return self.out

    def reference(self) -> torch.Tensor:
        """Return what the CPU's layers give."""
        shape, features = self.shape, self.features.float()
        with torch.inference_mode():
            if shape.kind != "dense":
                weight = self._depthwise_weight.to(self._dtype).float()
                features = _on_cpu(features, weight, self._depthwise_bias, shape.taps, shape.out_size, shape.channels)
                if shape.kind == "separable":
                    features = _activated(features, shape.between, self._depthwise_bias)
            if shape.kind != "depthwise":
                taps = shape.taps if shape.kind == "dense" else Taps()
                weight = self._weight.to(self._dtype).float()
                features = _on_cpu(features, weight, self._bias, taps, shape.out_size, 1)
            ending = self.ending
            values = _activated(features, ending.activation, ending.slope)
            if ending.residual is not None:
                residual = ending.residual.float()
                if ending.pooled:
                    residual = functional.max_pool2d(residual.transpose(2, 3), 2).transpose(2, 3)
                values = values + functional.pad(residual, (0, 0, 0, 0, 0, shape.outputs - residual.shape[1]))
                values = _activated(values, ending.last, ending.last_slope)
            return values


def _on_cpu(
    features: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    taps: Taps,
    out_size: tuple[int, int],
    groups: int,
) -> torch.Tensor:
    """Return a convolution by `layers.in_order`, whose pairs are along the width and then along the height."""
    padding: list[int] = []
    for axis in (1, 0):
        reach = (out_size[axis] - 1) * taps.stride[axis] + taps.dilation[axis] * (taps.size[axis] - 1) + 1
        padding += [taps.padding[axis], reach - taps.padding[axis] - features.shape[2 + axis]]
    layer = in_order(
        Convolution(
            weight.transpose(2, 3).numpy(),
            bias.numpy(),
            stride=(taps.stride[1], taps.stride[0]),
            dilation=(taps.dilation[1], taps.dilation[0]),
            groups=groups,
        )
    )
    padded = functional.pad(features, padding)
    result: torch.Tensor = layer(padded.transpose(2, 3).contiguous()).transpose(2, 3)
    return result


def _activated(values: torch.Tensor, activation: Activation, slope: torch.Tensor | None) -> torch.Tensor:
    match activation:
        case "relu":
            return functional.relu(values)
        case "relu6":
            return functional.relu6(values)
        case "prelu":
            assert slope is not None
            return functional.prelu(values, slope)
        case _:
            return values


def layer_shapes(weights: Path, spec: NetworkSpec) -> list[LayerShape]:
    """Return each distinct convolution of a network; a depthwise one and its only reader of single cells are one."""
    return list(dict.fromkeys(all_layer_shapes(weights, spec)))


def all_layer_shapes(weights: Path, spec: NetworkSpec) -> list[LayerShape]:
    """Return the convolutions of a network in its order, equal ones repeated."""
    return _Reader(tflite.read((weights / spec.file).read_bytes(), spec.outputs)).shapes()


class _Reader:
    """Reads the convolutions of a network, with what follows each as far as it fits an `Ending`."""

    def __init__(self, network: tflite.Network) -> None:
        self._network = network
        self._readers: dict[str, list[tflite.Operator]] = defaultdict(list)
        self._makers = {operator.outputs[0]: operator for operator in network.operators}
        for operator in network.operators:
            for name in operator.inputs:
                self._readers[name].append(operator)

    def shapes(self) -> list[LayerShape]:
        taken: set[str] = set()
        found = []
        for operator in self._network.operators:
            name = operator.outputs[0]
            if operator.name not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED") or name in taken:
                continue
            shape = self._convolution(operator)
            reader = self._only_reader(name)
            if shape.kind == "depthwise" and reader is not None and reader.name == "CONV_2D" and shape.taps != Taps():
                dense = self._convolution(reader)
                if dense.taps == Taps():
                    taken.add(reader.outputs[0])
                    shape = replace(shape, kind="separable", outputs=dense.outputs, between=shape.activation)
                    shape, name = replace(shape, activation=dense.activation), reader.outputs[0]
            found.append(self._ended(shape, name))
        return found

    def _only_reader(self, name: str) -> tflite.Operator | None:
        readers = self._readers[name]
        return readers[0] if len(readers) == 1 and name not in self._network.outputs else None

    def _convolution(self, operator: tflite.Operator) -> LayerShape:
        network, options = self._network, operator.options
        weight = network.constants[operator.inputs[1]].shape
        activation = _ACTIVATIONS[options.fusedActivationFunction]
        if operator.name == "FULLY_CONNECTED":
            return LayerShape("dense", weight[1], weight[0], (1, 1), (1, 1), activation=activation)
        source = operator.inputs[0]
        (_, out_height, out_width, outputs) = network.shapes[operator.outputs[0]]
        size, stride, before = weight[1:3], (options.strideH, options.strideW), [0, 0]
        maker = self._makers.get(source)
        if maker is not None and maker.name == "PAD" and not np.any(network.constants[maker.inputs[1]][3]):
            before = [int(count) for count in network.constants[maker.inputs[1]][1:3, 0]]
            source = maker.inputs[0]
        elif options.padding == schema.Padding.SAME:
            lengths = network.shapes[source][1:3]
            before = [
                max((out - 1) * step + extent - length, 0) // 2
                for out, step, extent, length in zip((out_height, out_width), stride, size, lengths, strict=True)
            ]
        (_, height, width, channels) = network.shapes[source]
        taps = Taps((size[0], size[1]), stride, (before[0], before[1]))
        kind: Kind = "depthwise" if operator.name == "DEPTHWISE_CONV_2D" else "dense"
        return LayerShape(
            kind, channels, outputs, (height, width), (out_height, out_width), taps, activation=activation
        )

    def _ended(self, shape: LayerShape, name: str) -> LayerShape:
        shape, name = self._activated(shape, name, "activation")
        reader = self._only_reader(name)
        if reader is not None and reader.name == "ADD" and set(reader.inputs).isdisjoint(self._network.constants):
            residual = next(source for source in reader.inputs if source != name)
            channels, pooled = self._network.shapes[residual][3], False
            maker = self._makers.get(residual)
            if maker is not None and maker.name == "PAD":
                residual = maker.inputs[0]
                channels, maker = self._network.shapes[residual][3], self._makers.get(residual)
            if maker is not None and maker.name == "MAX_POOL_2D":
                pooled = True
            shape = replace(shape, residual_channels=channels, pooled=pooled)
            shape = replace(shape, last=_ACTIVATIONS[reader.options.fusedActivationFunction])
            shape, name = self._activated(shape, reader.outputs[0], "last")
        return replace(shape, channels_last=name in self._network.outputs)

    def _activated(self, shape: LayerShape, name: str, field: str) -> tuple[LayerShape, str]:
        reader = self._only_reader(name)
        if getattr(shape, field) == "none" and reader is not None and reader.name in ("PRELU", "RELU"):
            changed: dict[str, Any] = {field: reader.name.lower()}
            return replace(shape, **changed), reader.outputs[0]
        return shape, name


def products(shape: LayerShape) -> int:
    """Return the products that one item takes."""
    cells = math.prod(shape.out_size)
    dense = shape.outputs * shape.channels * cells
    depthwise = shape.channels * cells * math.prod(shape.taps.size)
    return {"dense": dense * math.prod(shape.taps.size), "depthwise": depthwise, "separable": dense + depthwise}[
        shape.kind
    ]
