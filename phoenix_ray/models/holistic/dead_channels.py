"""Taking out of a `.tflite` network the channels that do nothing; another operation of `graph`.

More than half of the widest channels of MediaPipe's hand network died in its training: their depthwise weights are
zero, so that such a channel is the same constant everywhere. Where that constant is zero, or nobody weighs it, leaving
the channel out changes no sum by a bit (each term that goes is an exact zero), and a hand costs about a tenth less.

Looked for is the inverted bottleneck: CONV_2D 1x1 → DEPTHWISE_CONV_2D → (MEAN →) CONV_2D 1x1 and FULLY_CONNECTED.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from phoenix_ray.models.holistic.graph import builtin_code

Operator = schema.BuiltinOperator
Activation = schema.ActivationFunctionType


@dataclass(frozen=True, slots=True)
class _Bottleneck:
    """Operators through which a group of channels lives: made by `expand`, filtered by `filters`, weighed by `readers`.

    `tensors` are the activations between them, whose last axis counts the channels.
    """

    expand: schema.OperatorT
    filters: schema.OperatorT
    readers: tuple[schema.OperatorT, ...]
    tensors: tuple[int, ...]


def drop_dead_channels(model: schema.ModelT) -> None:
    """Take the dead channels out of a model; its outputs stay the same bits."""
    network = _Network(model)
    for bottleneck in network.bottlenecks():
        network.shrink(bottleneck, network.living_channels(bottleneck))


class _Network:
    """A model being changed."""

    def __init__(self, model: schema.ModelT) -> None:
        self._model, self._graph = model, model.subgraphs[0]
        self._stored = {
            int(operator.outputs[0]): int(operator.inputs[0])
            for operator in self._graph.operators
            if self._code(operator) == Operator.DEQUANTIZE
        }

    def bottlenecks(self) -> list[_Bottleneck]:
        """Return every bottleneck whose channels are seen by nobody else."""
        makers = {int(output): operator for operator in self._graph.operators for output in operator.outputs}
        found = []
        for filters in self._graph.operators:
            expand = makers.get(int(filters.inputs[0])) if self._code(filters) == Operator.DEPTHWISE_CONV_2D else None
            if expand is None or not self._is_pointwise(expand) or len(self._readers(expand)) != 1:
                continue
            if filters.builtinOptions.depthMultiplier != 1 or len(filters.inputs) != 3:
                continue
            tensors = [int(expand.outputs[0]), int(filters.outputs[0])]
            readers = self._readers(filters)
            if len(readers) == 1 and self._is_spatial_mean(readers[0]):
                tensors.append(int(readers[0].outputs[0]))
                readers = self._readers(readers[0])
            weighing = all(self._is_pointwise(one) or self._code(one) == Operator.FULLY_CONNECTED for one in readers)
            plain = all(self._is_plain(one) for one in (expand, filters, *readers))
            if readers and weighing and plain and tensors[-1] not in self._graph.outputs:
                found.append(_Bottleneck(expand, filters, tuple(readers), tuple(tensors)))
        return found

    def living_channels(self, bottleneck: _Bottleneck) -> NDArray[np.bool_]:
        """Return bool (channels,): false where leaving the channel out takes only exact zeros out of every sum."""
        constant = (self._values(bottleneck.filters.inputs[1]) == 0).all(axis=(0, 1, 2))
        bias = self._values(bottleneck.filters.inputs[2])
        rectified = bottleneck.filters.builtinOptions.fusedActivationFunction in (Activation.RELU, Activation.RELU6)
        zero = constant & ((bias <= 0) if rectified else (bias == 0))
        unread = np.ones_like(constant)
        for reader in bottleneck.readers:
            weights = self._values(reader.inputs[1])
            unread &= (weights.reshape(-1, weights.shape[-1]) == 0).all(axis=0)
        living: NDArray[np.bool_] = ~(zero | (constant & unread))
        return living

    def shrink(self, bottleneck: _Bottleneck, living: NDArray[np.bool_]) -> None:
        """Keep only the living channels."""
        if living.all():
            return
        self._select(bottleneck.expand.inputs[1], living, axis=0)
        self._select(bottleneck.expand.inputs[2], living, axis=0)
        self._select(bottleneck.filters.inputs[1], living, axis=3)
        self._select(bottleneck.filters.inputs[2], living, axis=0)
        for reader in bottleneck.readers:
            self._select(reader.inputs[1], living, axis=-1)
        for tensor in bottleneck.tensors:
            self._set_size(tensor, -1, int(living.sum()))

    def _code(self, operator: schema.OperatorT) -> int:
        return builtin_code(self._model.operatorCodes[operator.opcodeIndex])

    def _readers(self, operator: schema.OperatorT) -> list[schema.OperatorT]:
        return [one for one in self._graph.operators if operator.outputs[0] in one.inputs]

    def _is_pointwise(self, operator: schema.OperatorT) -> bool:
        if self._code(operator) != Operator.CONV_2D or len(operator.inputs) != 3:
            return False
        return tuple(self._graph.tensors[operator.inputs[1]].shape[1:3]) == (1, 1)

    def _is_spatial_mean(self, operator: schema.OperatorT) -> bool:
        if self._code(operator) != Operator.MEAN:
            return False
        axes = self._model.buffers[self._graph.tensors[operator.inputs[1]].buffer].data
        return sorted(np.asarray(axes, dtype=np.uint8).view(np.int32).tolist()) == [1, 2]

    def _is_plain(self, operator: schema.OperatorT) -> bool:
        """Whether the weights are constants as they stand, and not stored as a sparse tensor."""
        stored = (self._graph.tensors[self._stored.get(int(one), int(one))] for one in operator.inputs[1:])
        return all(one.sparsity is None and self._model.buffers[one.buffer].data is not None for one in stored)

    def _values(self, tensor: int) -> NDArray[np.float32]:
        """Return a constant, through the operator that widens it from float16."""
        stored = self._graph.tensors[self._stored.get(int(tensor), int(tensor))]
        values = np.asarray(self._model.buffers[stored.buffer].data, dtype=np.uint8)
        typed = values.view(np.float16 if stored.type == schema.TensorType.FLOAT16 else np.float32)
        return np.asarray(typed.reshape(stored.shape), dtype=np.float32)

    def _select(self, tensor: int, living: NDArray[np.bool_], axis: int) -> None:
        stored = self._stored.get(int(tensor), int(tensor))
        kind = np.float16 if self._graph.tensors[stored].type == schema.TensorType.FLOAT16 else np.float32
        kept = np.compress(living, self._values(tensor), axis=axis).astype(kind)
        self._model.buffers[self._graph.tensors[stored].buffer].data = np.frombuffer(kept.tobytes(), dtype=np.uint8)
        for one in {stored, int(tensor)}:
            self._set_size(one, axis, kept.shape[axis])

    def _set_size(self, tensor: int, axis: int, size: int) -> None:
        shape = np.array(self._graph.tensors[tensor].shape, dtype=np.int32)
        shape[axis] = size
        self._graph.tensors[tensor].shape, self._graph.tensors[tensor].shapeSignature = shape, None
