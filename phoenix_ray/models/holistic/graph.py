"""Surgery on `.tflite` networks, before LiteRT loads them: `load_model`, any operations, `pack_model`.

`cut` takes out the part of a network that is wanted: what the pose network computes beside the landmarks is a quarter
of its time, and the attention network can only run in pieces, around operators that LiteRT does not know.
`split_channel_scaling` brings back a rounding of MediaPipe's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

FILE_IDENTIFIER = b"TFL3"


@dataclass(frozen=True, slots=True)
class CustomOperator:
    """An operator that is not TFLite's own.

    Attributes:
        name: Its name in the file.
        inputs: Names of the tensors it takes.
        outputs: Names of the tensors it gives.
        options: Its options, a flexbuffer, empty where it has none.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: bytes


def load_model(content: bytes) -> schema.ModelT:
    """Return the content of a `.tflite` file as a tree that can be changed."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def pack_model(model: schema.ModelT) -> bytes:
    """Return the content of a `.tflite` file."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def cut(model: schema.ModelT, outputs: Sequence[str], inputs: Sequence[str] | None = None) -> None:
    """Leave only the part of a model that computes tensors from tensors, bit for bit as the whole does.

    Args:
        model: Has one subgraph.
        outputs: Names of the tensors to compute.
        inputs: Names of the tensors to compute them from; the model's own inputs if None.

    Raises:
        ValueError: When there is no tensor of a name, or the outputs need more than the inputs.
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
    the two steps, that of LiteRT 2 only once; `hand_recrop` is full of them, and hands would move by up to 0.7 pixels.
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


def custom_operators(model: schema.ModelT) -> list[CustomOperator]:
    """Return the operators of a model that are not TFLite's own, in the order of computation."""
    graph = model.subgraphs[0]
    operators = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if code.customCode is not None:
            operators.append(
                CustomOperator(
                    name=code.customCode.decode(),
                    inputs=tuple(_name(graph.tensors[position]) for position in _indices(operator.inputs)),
                    outputs=tuple(_name(graph.tensors[position]) for position in _indices(operator.outputs)),
                    options=b"" if operator.customOptions is None else bytes(operator.customOptions),
                )
            )
    return operators


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


def builtin_code(code: schema.OperatorCodeT) -> int:
    """Return which of TFLite's own operators a code stands for."""
    # Files from before the field was widened have it in the narrow one only.
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _name(tensor: schema.TensorT) -> str:
    name: bytes = tensor.name
    return name.decode()


def _indices(tensors: Iterable[int]) -> list[int]:
    return [int(tensor) for tensor in tensors if tensor >= 0]


def _has_data(model: schema.ModelT, tensor: schema.TensorT) -> bool:
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0
