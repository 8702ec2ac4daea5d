"""A `torch.fx` graph under construction: nodes by the names of a TFLite network's tensors; `graph` fills it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import fx, nn
from torch.nn import functional

from phoenix_ray.models.holistic.tflite import Constant, Network, Operator
from phoenix_ray.models.holistic.torch_engine.layers import MakeLayer


class GraphBuilder:
    """A torch graph while it grows by the operators of a network.

    Args:
        network: The network that is being built.
        make_layer: Makes a convolution.

    Attributes:
        graph: The nodes so far.
        padding: Tensor → columns and rows of zeros that its only reader, a convolution, must add on each side.
        make_layer: As given.
    """

    def __init__(self, network: Network, make_layer: MakeLayer) -> None:
        self.graph = fx.Graph()
        self.padding: dict[str, tuple[int, int]] = {}
        self.make_layer = make_layer
        self._network = network
        self._root = nn.Module()
        self._nodes = {network.input: self.graph.placeholder("images")}
        self._readers = Counter(name for operator in network.operators for name in operator.inputs)
        self._readers.update(network.outputs)

    def add(self, operator: Operator, node: fx.Node) -> None:
        """Take the node that computes the next operator's output."""
        self._nodes[operator.outputs[0]] = node

    def finish(self) -> fx.GraphModule:
        """Return the module. Called once, after the last operator."""
        nodes = (self.node(name) for name in self._network.outputs)
        outputs = zip(self._network.outputs, nodes, strict=True)
        self.graph.output([self.in_file_order(name, node) for name, node in outputs])
        self.graph.lint()
        return fx.GraphModule(self._root, self.graph).eval()

    def node(self, name: str) -> fx.Node:
        """Return the node of a tensor; constants become buffers on first use."""
        if name not in self._nodes:
            values = self.constant(name)
            if values.ndim == 4:
                values = values.transpose(0, 3, 2, 1)
            attribute = f"constant_{len(self._root._buffers)}"
            self._root.register_buffer(attribute, torch.from_numpy(np.array(values)))
            self._nodes[name] = self.graph.get_attr(attribute)
        return self._nodes[name]

    def module(self, module: nn.Module, node: fx.Node) -> fx.Node:
        """Return the node of a module's output."""
        name = f"layer_{len(self._root._modules)}"
        self._root.add_module(name, module)
        return self.graph.call_module(name, (node,))

    def constant(self, name: str) -> Constant:
        """Return the values of a tensor that is not computed."""
        if name not in self._network.constants:
            raise ValueError(f"its tensor {name} is computed where the torch engine needs a constant")
        return self._network.constants[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor for one item, in the file's order of axes."""
        return self._network.shapes[name]

    def in_file_order(self, name: str, node: fx.Node) -> fx.Node:
        """Return the node of a tensor with the file's order of axes."""
        return self.graph.call_method("permute", (node, 0, 3, 2, 1)) if len(self.shape(name)) == 4 else node

    def activate(self, node: fx.Node, activation: int) -> fx.Node:
        """Return the node of the activation that is part of an operator; it overwrites the operator's result."""
        match activation:
            case schema.ActivationFunctionType.NONE:
                return node
            case schema.ActivationFunctionType.RELU:
                return self.graph.call_function(functional.relu, (node,), {"inplace": True})
            case schema.ActivationFunctionType.RELU6:
                return self.graph.call_function(functional.relu6, (node,), {"inplace": True})
        raise ValueError(f"its activation {activation} is not known to the torch engine")

    def only_reader(self, name: str) -> Operator | None:
        """Return the operator that reads a tensor, if there is exactly one."""
        if self._readers[name] != 1:
            return None
        return next((operator for operator in self._network.operators if name in operator.inputs), None)
