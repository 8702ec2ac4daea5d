"""Surgery on `.tflite` networks before an engine loads them: `load_model`, any operations, `pack_model` for LiteRT.

`read_living` does it for engines that compute networks themselves.

`cut_out` keeps the part of a network that is wanted: what the pose network computes beside the landmarks takes a
quarter of its time, and the attention network can only run in pieces, around operators that LiteRT does not know.
`split_channel_scaling` restores a rounding of MediaPipe's.

`drop_dead_channels` saves time. More than half of the widest channels of MediaPipe's hand network died in its training:
their depthwise weights are zero, so such a channel is the same constant everywhere. Where that constant is zero, or
nothing reads it with a weight, leaving the channel out changes no bit of a sum (each term that goes is an exact zero),
and a hand costs about a tenth less. It looks for inverted bottlenecks: CONV_2D 1x1 → DEPTHWISE_CONV_2D → (MEAN →)
CONV_2D 1x1 and FULLY_CONNECTED.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from phoenix_ray.models.holistic.tflite import Network, Operator, builtin_code, read_operator, read_tree

FILE_IDENTIFIER = b"TFL3"


def load_model(content: bytes) -> schema.ModelT:
    """Return the content of a `.tflite` file as a tree that can be changed."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def pack_model(model: schema.ModelT) -> bytes:
    """Return the content of a `.tflite` file."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def cut_out(model: schema.ModelT, outputs: Sequence[str], inputs: Sequence[str] | None = None) -> None:
    """Keep only the part of a model that computes some tensors from others, bit for bit as the whole model does.

    Args:
        model: A model with one subgraph.
        outputs: Names of the tensors to compute.
        inputs: Names of the tensors to compute them from; the model's own inputs if None.

    Raises:
        ValueError: The model has no tensor of such a name, or the outputs need more than the inputs.
    """
    graph = model.subgraphs[0]
    index = {_name(tensor): position for position, tensor in enumerate(graph.tensors)}
    unknown = [name for name in (*outputs, *(inputs or ())) if name not in index]
    if unknown:
        raise ValueError(f"the model has no tensor {', '.join(unknown)}")
    given = {index[name] for name in inputs} if inputs is not None else set(_indices(graph.inputs))
    constant = {position for position, tensor in enumerate(graph.tensors) if _has_data(model, tensor)}

    wanted = {index[name] for name in outputs}
    needed = set(wanted)
    operators = []
    for operator in reversed(graph.operators):
        if not needed.isdisjoint(produced := _indices(operator.outputs)):
            operators.append(operator)
            needed.difference_update(produced)
            needed.update(set(_indices(operator.inputs)) - given)
            wanted.update(_indices(operator.inputs))
    if missing := needed - given - constant:
        raise ValueError(f"the outputs also need {', '.join(_name(graph.tensors[position]) for position in missing)}")

    for position in constant - wanted:
        model.buffers[graph.tensors[position].buffer].data = None
    graph.operators = operators[::-1]
    graph.inputs = graph.inputs if inputs is None else np.array([index[name] for name in inputs], dtype=np.int32)
    graph.outputs = np.array([index[name] for name in outputs], dtype=np.int32)
    model.signatureDefs = None


def split_channel_scaling(model: schema.ModelT) -> None:
    """Turn each 1x1 depthwise convolution of a model into a multiplication and an addition.

    Such a convolution scales every channel and adds a bias. The XNNPACK inside MediaPipe 0.10.21 rounds after each of
    the two steps, that of LiteRT 2 only once. `hand_recrop` is full of them: without this, hands move by up to 0.7 px.
    """
    graph = model.subgraphs[0]
    operators = []
    for operator in graph.operators:
        if not _scales_channels(model, graph, operator):
            operators.append(operator)
            continue
        source, scale, bias = operator.inputs
        (result,) = operator.outputs
        scaled = schema.TensorT()
        scaled.name = graph.tensors[result].name + b"/scaled"
        scaled.shape, scaled.type = graph.tensors[result].shape, graph.tensors[result].type
        graph.tensors.append(scaled)
        between = len(graph.tensors) - 1
        operators.append(_arithmetic(model, schema.BuiltinOperator.MUL, [source, scale], between))
        operators.append(_arithmetic(model, schema.BuiltinOperator.ADD, [between, bias], result))
    graph.operators = operators


def drop_dead_channels(model: schema.ModelT) -> None:
    """Remove the dead channels from a model; its outputs stay the same bits."""
    network = _EditedNetwork(model)
    for bottleneck in network.bottlenecks():
        network.shrink(bottleneck, network.living_channels(bottleneck))


def read_living(content: bytes, outputs: Sequence[str]) -> Network:
    """Return the part of a network that computes some of its tensors, without its dead channels.

    Args:
        content: Content of a `.tflite` file.
        outputs: Names of the tensors to compute.

    Raises:
        ValueError: The file has no tensor of such a name, or stores one in a way that is not supported here.
    """
    model = load_model(content)
    cut_out(model, outputs)
    drop_dead_channels(model)
    return read_tree(model, outputs)


def custom_operators(model: schema.ModelT) -> list[Operator]:
    """Return the operators of a model that are not TFLite's own, in the order of computation."""
    graph = model.subgraphs[0]
    names = [_name(tensor) for tensor in graph.tensors]
    return [
        read_operator(operator, code, names)
        for operator in graph.operators
        if (code := model.operatorCodes[operator.opcodeIndex]).customCode is not None
    ]


def _scales_channels(model: schema.ModelT, graph: schema.SubGraphT, operator: schema.OperatorT) -> bool:
    if builtin_code(model.operatorCodes[operator.opcodeIndex]) != schema.BuiltinOperator.DEPTHWISE_CONV_2D:
        return False
    options = operator.builtinOptions
    _, rows, columns, _ = graph.tensors[operator.inputs[1]].shape
    return (
        (rows, columns, options.strideH, options.strideW, options.depthMultiplier) == (1, 1, 1, 1, 1)
        and options.fusedActivationFunction == schema.ActivationFunctionType.NONE
        and len(operator.inputs) == 3
    )


def _arithmetic(model: schema.ModelT, code: int, inputs: Sequence[int], output: int) -> schema.OperatorT:
    """Return a new operator MUL or ADD, with its operator code in the model."""
    codes = [builtin_code(known) for known in model.operatorCodes]
    if code not in codes:
        new = schema.OperatorCodeT()
        new.builtinCode, new.deprecatedBuiltinCode, new.version = code, code, 1
        model.operatorCodes.append(new)
        codes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = codes.index(code)
    operator.inputs, operator.outputs = np.array(inputs, dtype=np.int32), np.array([output], dtype=np.int32)
    if code == schema.BuiltinOperator.MUL:
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.MulOptions, schema.MulOptionsT()
    else:
        operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    return operator


def _name(tensor: schema.TensorT) -> str:
    name: bytes = tensor.name
    return name.decode()


def _indices(tensors: Iterable[int]) -> list[int]:
    return [int(tensor) for tensor in tensors if tensor >= 0]


def _has_data(model: schema.ModelT, tensor: schema.TensorT) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


@dataclass(frozen=True, slots=True)
class _Bottleneck:
    """The operators between which a group of channels exists.

    Attributes:
        expand: The convolution that computes the channels.
        filters: The depthwise convolution that filters each of them.
        readers: Operators that take the weighted sums of the channels.
        tensors: Activations between these operators; their last axis counts the channels.
    """

    expand: schema.OperatorT
    filters: schema.OperatorT
    readers: tuple[schema.OperatorT, ...]
    tensors: tuple[int, ...]


class _EditedNetwork:
    """A model while its channels are being removed."""

    def __init__(self, model: schema.ModelT) -> None:
        self._model, self._graph = model, model.subgraphs[0]
        self._stored = {
            int(operator.outputs[0]): int(operator.inputs[0])
            for operator in self._graph.operators
            if self._code(operator) == schema.BuiltinOperator.DEQUANTIZE
        }

    def bottlenecks(self) -> list[_Bottleneck]:
        """Return every bottleneck whose channels nothing else reads."""
        makers = {int(output): operator for operator in self._graph.operators for output in operator.outputs}
        found = []
        for filters in self._graph.operators:
            if self._code(filters) != schema.BuiltinOperator.DEPTHWISE_CONV_2D:
                continue
            expand = makers.get(int(filters.inputs[0]))
            if expand is None or not self._is_pointwise(expand) or len(self._readers(expand)) != 1:
                continue
            if filters.builtinOptions.depthMultiplier != 1 or len(filters.inputs) != 3:
                continue
            tensors = [int(expand.outputs[0]), int(filters.outputs[0])]
            readers = self._readers(filters)
            if len(readers) == 1 and self._is_spatial_mean(readers[0]):
                tensors.append(int(readers[0].outputs[0]))
                readers = self._readers(readers[0])
            if not readers or tensors[-1] in self._graph.outputs:
                continue
            if all(map(self._sums_channels, readers)) and all(map(self._is_plain, (expand, filters, *readers))):
                found.append(_Bottleneck(expand, filters, tuple(readers), tuple(tensors)))
        return found

    def living_channels(self, bottleneck: _Bottleneck) -> NDArray[np.bool_]:
        """Return bool (channels,): false where leaving the channel out takes only exact zeros out of every sum."""
        constant = (self._values(bottleneck.filters.inputs[1]) == 0).all(axis=(0, 1, 2))
        bias = self._values(bottleneck.filters.inputs[2])
        rectified = bottleneck.filters.builtinOptions.fusedActivationFunction in (
            schema.ActivationFunctionType.RELU,
            schema.ActivationFunctionType.RELU6,
        )
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
        return [reader for reader in self._graph.operators if operator.outputs[0] in reader.inputs]

    def _is_pointwise(self, operator: schema.OperatorT) -> bool:
        if self._code(operator) != schema.BuiltinOperator.CONV_2D or len(operator.inputs) != 3:
            return False
        return tuple(self._graph.tensors[operator.inputs[1]].shape[1:3]) == (1, 1)

    def _sums_channels(self, operator: schema.OperatorT) -> bool:
        return self._is_pointwise(operator) or self._code(operator) == schema.BuiltinOperator.FULLY_CONNECTED

    def _is_spatial_mean(self, operator: schema.OperatorT) -> bool:
        if self._code(operator) != schema.BuiltinOperator.MEAN:
            return False
        axes = self._model.buffers[self._graph.tensors[operator.inputs[1]].buffer].data
        return sorted(np.asarray(axes, dtype=np.uint8).view(np.int32).tolist()) == [1, 2]

    def _is_plain(self, operator: schema.OperatorT) -> bool:
        """Whether the weights are stored as constants, none of them as a sparse tensor."""
        weights = (self._graph.tensors[self._stored.get(int(index), int(index))] for index in operator.inputs[1:])
        return all(
            tensor.sparsity is None and self._model.buffers[tensor.buffer].data is not None for tensor in weights
        )

    def _values(self, tensor: int) -> NDArray[np.float32]:
        """Return a constant as float32; where it is stored as float16, that of the operator that widens it."""
        stored = self._graph.tensors[self._stored.get(int(tensor), int(tensor))]
        values = np.asarray(self._model.buffers[stored.buffer].data, dtype=np.uint8)
        typed = values.view(np.float16 if stored.type == schema.TensorType.FLOAT16 else np.float32)
        return np.asarray(typed.reshape(stored.shape), dtype=np.float32)

    def _select(self, tensor: int, living: NDArray[np.bool_], axis: int) -> None:
        stored = self._stored.get(int(tensor), int(tensor))
        kind = np.float16 if self._graph.tensors[stored].type == schema.TensorType.FLOAT16 else np.float32
        kept = np.compress(living, self._values(tensor), axis=axis).astype(kind)
        self._model.buffers[self._graph.tensors[stored].buffer].data = np.frombuffer(kept.tobytes(), dtype=np.uint8)
        for changed in {stored, int(tensor)}:
            self._set_size(changed, axis, kept.shape[axis])

    def _set_size(self, tensor: int, axis: int, size: int) -> None:
        shape = np.array(self._graph.tensors[tensor].shape, dtype=np.int32)
        shape[axis] = size
        self._graph.tensors[tensor].shape, self._graph.tensors[tensor].shapeSignature = shape, None
