"""Small networks with random weights, to plan and to run."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from phoenix_ray.models.holistic.tflite import Network, Operator
from phoenix_ray.models.holistic.torch_engine.graph import build_module
from phoenix_ray.models.holistic.torch_engine.kernels.network_plan import NetworkPlan, plan_network
from phoenix_ray.models.holistic.torch_engine.kernels.networks import KernelNetwork
from phoenix_ray.models.holistic.torch_engine.layers import in_order
from tests.models.holistic.torch_engine.kernels.large_tiles import in_large_tiles

SAME, VALID = schema.Padding.SAME, schema.Padding.VALID
NONE, RELU, RELU6 = 0, schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6

Array = NDArray[np.float32]


class MadeUpNetwork:
    """A network that grows by an operator at a time; each method returns the name of the tensor that it computes.

    Args:
        height: Rows of the input, which is called `images`.
        width: Columns.
        channels: Channels.
    """

    def __init__(self, height: int = 6, width: int = 8, channels: int = 3) -> None:
        self._shapes: dict[str, tuple[int, ...]] = {"images": (1, height, width, channels)}
        self._constants: dict[str, NDArray[Any]] = {}
        self._operators: list[Operator] = []
        self._random = np.random.default_rng(7)

    def network(self, *outputs: str) -> Network:
        return Network("images", outputs, self._shapes, self._constants, tuple(self._operators))

    def plan(self, *outputs: str) -> NetworkPlan:
        return plan_network(self.network(*outputs))

    def steps(self, *outputs: str) -> list[str]:
        """Return what the steps of the plan do, without their numbers, sources and shapes."""
        return [line.split(" ", 1)[1].rsplit(" (", 2)[0] for line in self.plan(*outputs).lines()]

    def convolve(
        self,
        source: str,
        outputs: int,
        size: int = 1,
        stride: int = 1,
        padding: int = SAME,
        activation: int = NONE,
    ) -> str:
        channels = self._shapes[source][3]
        weight, bias = self._numbers(outputs, size, size, channels), self._numbers(outputs)
        return self._convolution("CONV_2D", source, outputs, weight, bias, size, stride, padding, activation)

    def convolve_depthwise(
        self, source: str, size: int = 3, stride: int = 1, padding: int = SAME, activation: int = NONE
    ) -> str:
        channels = self._shapes[source][3]
        weight, bias = self._numbers(1, size, size, channels), self._numbers(channels)
        return self._convolution("DEPTHWISE_CONV_2D", source, channels, weight, bias, size, stride, padding, activation)

    def connect(self, source: str, outputs: int) -> str:
        constants = self._numbers(outputs, self._shapes[source][-1]), self._numbers(outputs)
        return self._operator("FULLY_CONNECTED", (source,), (1, outputs), *constants, fusedActivationFunction=NONE)

    def add(self, first: str, second: str, activation: int = NONE) -> str:
        return self._operator("ADD", (first, second), self._shapes[first], fusedActivationFunction=activation)

    def multiply(self, source: str, factor: Array) -> str:
        return self._operator("MUL", (source,), self._shapes[source], factor, fusedActivationFunction=NONE)

    def relu(self, source: str) -> str:
        return self._operator("RELU", (source,), self._shapes[source])

    def prelu(self, source: str) -> str:
        return self._operator("PRELU", (source,), self._shapes[source], self._numbers(1, 1, self._shapes[source][3]))

    def pad(self, source: str, *amounts: tuple[int, int]) -> str:
        """Pad rows, columns and channels."""
        shape = (1, *(n + sum(amount) for n, amount in zip(self._shapes[source][1:], amounts, strict=True)))
        return self._operator("PAD", (source,), shape, np.array([(0, 0), *amounts], np.int32))

    def pool(self, source: str, size: int = 2, stride: int = 2, padding: int = VALID) -> str:
        _, rows, columns, channels = self._shapes[source]
        shape = (1, _cells(rows, size, stride, padding), _cells(columns, size, stride, padding), channels)
        options = {"filterHeight": size, "filterWidth": size, "strideH": stride, "strideW": stride, "padding": padding}
        return self._operator("MAX_POOL_2D", (source,), shape, **options, fusedActivationFunction=NONE)

    def take_channels(self, source: str, count: int) -> str:
        shape = (*self._shapes[source][:3], count)
        bounds = [np.array(values, np.int32) for values in ((0, 0, 0, 0), shape, (1, 1, 1, 1))]
        masks = dict.fromkeys(("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask"), 0)
        return self._operator("STRIDED_SLICE", (source,), shape, *bounds, **masks)

    def resize(self, source: str, rows: int, columns: int, align_corners: bool = False) -> str:
        shape = (1, rows, columns, self._shapes[source][3])
        options = {"alignCorners": align_corners, "halfPixelCenters": not align_corners}
        return self._operator("RESIZE_BILINEAR", (source,), shape, np.array(shape[1:3], np.int32), **options)

    def spread_depth(self, source: str, block: int = 2) -> str:
        _, rows, columns, channels = self._shapes[source]
        shape = (1, block * rows, block * columns, channels // block**2)
        return self._operator("DEPTH_TO_SPACE", (source,), shape, blockSize=block)

    def mean(self, source: str) -> str:
        shape = (1, self._shapes[source][3])
        return self._operator("MEAN", (source,), shape, np.array([1, 2], np.int32), keepDims=False)

    def reshape(self, source: str, *shape: int) -> str:
        return self._operator("RESHAPE", (source,), (1, *shape))

    def join(self, *parts: str, axis: int = 1) -> str:
        shape = list(self._shapes[parts[0]])
        shape[axis] = sum(self._shapes[part][axis] for part in parts)
        return self._operator("CONCATENATION", parts, tuple(shape), axis=axis, fusedActivationFunction=NONE)

    def _convolution(
        self,
        name: str,
        source: str,
        outputs: int,
        weight: Array,
        bias: Array,
        size: int,
        stride: int,
        padding: int,
        activation: int,
    ) -> str:
        _, rows, columns, _ = self._shapes[source]
        shape = (1, _cells(rows, size, stride, padding), _cells(columns, size, stride, padding), outputs)
        options = {"strideH": stride, "strideW": stride, "dilationHFactor": 1, "dilationWFactor": 1}
        return self._operator(
            name, (source,), shape, weight, bias, **options, padding=padding, fusedActivationFunction=activation
        )

    def _operator(
        self, name: str, sources: Sequence[str], shape: tuple[int, ...], *constants: NDArray[Any], **options: Any
    ) -> str:
        output = f"{name.lower()} {len(self._operators)}"
        names = [f"constant {len(self._constants) + number}" for number in range(len(constants))]
        self._constants.update(zip(names, constants, strict=True))
        self._shapes[output] = shape
        self._operators.append(Operator(name, (*sources, *names), (output,), SimpleNamespace(**options), b""))
        return output

    def _numbers(self, *shape: int) -> Array:
        return self._random.normal(0, 1, shape).astype(np.float32)


def assert_runs_as_in_torch(network: Network, items: int = 2, plan: NetworkPlan | None = None) -> None:
    """Fail unless the kernels give the bits of the plain torch network for random images."""
    _, height, width, channels = network.shapes[network.input]
    images = np.random.default_rng(1).normal(0, 1, (items, channels, height, width)).astype(np.float32)
    with torch.inference_mode():
        expected = build_module(network, in_order)(torch.from_numpy(images).transpose(2, 3).contiguous())
    for right, found in zip(expected, run(plan or plan_network(network), images), strict=True):
        np.testing.assert_array_equal(found, right.numpy())


def run(plan: NetworkPlan, images: Array) -> list[Array]:
    """Return the outputs of a network's kernels."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.inference_mode(), in_large_tiles():
        outputs = KernelNetwork(plan, device, "exact")(torch.from_numpy(images).to(device))
    return [output.cpu().numpy() for output in outputs]


def _cells(length: int, size: int, stride: int, padding: int) -> int:
    return -(-length // stride) if padding == SAME else (length - size) // stride + 1
