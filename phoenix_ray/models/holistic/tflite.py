"""Reads a `.tflite` file into plain arrays and operators, for engines that compute its network themselves.

`torch_engine.graph` builds modules from it. What the file stores compressed is unpacked here: half-precision constants
(DEQUANTIZE) become float32, sparse ones (DENSIFY) dense. Operators that no wanted output needs are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

Constant = NDArray[Any]

_TYPES: dict[int, type[np.generic]] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT32: np.int32,
}
_BUILTIN_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}


@dataclass(frozen=True, slots=True)
class Operator:
    """One step of a network.

    Attributes:
        name: TFLite's name (`CONV_2D`), or the name of a custom operator.
        inputs: Names of the tensors it takes.
        outputs: Names of the tensors it computes.
        options: TFLite's options of the operator, an object of the schema; None where it has none.
        custom_options: Options of a custom operator, a flexbuffer; empty where it has none.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Any
    custom_options: bytes


@dataclass(frozen=True, slots=True)
class Network:
    """A network for one image, as its file describes it.

    Attributes:
        input: Name of the input.
        outputs: Names of the outputs.
        shapes: Shape of every tensor; images are (1, height, width, channels).
        constants: Values of the tensors that are not computed, float32 or int32.
        operators: Operators in the order of computation.
    """

    input: str
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    constants: Mapping[str, Constant]
    operators: tuple[Operator, ...]


def read(model: bytes, outputs: Sequence[str]) -> Network:
    """Return the part of a network that computes some of its tensors.

    Args:
        model: Content of a `.tflite` file with one subgraph of one input, and a unique name for each tensor.
        outputs: Names of the tensors to compute.

    Raises:
        ValueError: The file has no tensor of such a name, or stores one in a way that is not supported here.
    """
    return read_tree(schema.ModelT.InitFromPackedBuf(model, 0), outputs)


def read_tree(tree: schema.ModelT, outputs: Sequence[str]) -> Network:
    """Do what `read` does, for the content of a file as a tree (`tflite_surgery`)."""
    (graph,) = tree.subgraphs
    tensors: list[schema.TensorT] = graph.tensors
    names = [tensor.name.decode() for tensor in tensors]
    if unknown := set(outputs) - set(names):
        raise ValueError(f"it has no tensor {', '.join(sorted(unknown))}")

    constants: dict[str, Constant] = {}
    for name, tensor in zip(names, tensors, strict=True):
        data = tree.buffers[tensor.buffer].data
        if data is not None and len(data):
            constants[name] = _values(name, tensor, data)
    steps = []
    for operator in graph.operators:
        step = read_operator(operator, tree.operatorCodes[operator.opcodeIndex], names)
        if step.name in ("DEQUANTIZE", "DENSIFY") and step.inputs[0] in constants:
            constants[step.outputs[0]] = constants[step.inputs[0]]
        else:
            steps.append(step)

    needed = set(outputs)
    wanted = []
    for step in reversed(steps):
        if not needed.isdisjoint(step.outputs):
            wanted.append(step)
            needed.update(step.inputs)
    shapes = {name: _shape(tensor) for name, tensor in zip(names, tensors, strict=True)}
    kept = {name: constants[name] for name in needed & constants.keys()}
    return Network(names[graph.inputs[0]], tuple(outputs), shapes, kept, tuple(reversed(wanted)))


def read_operator(operator: schema.OperatorT, code: schema.OperatorCodeT, names: Sequence[str]) -> Operator:
    """Return an operator of a file's tree, with its code and the names of all tensors."""
    builtin = builtin_code(code)
    is_custom = builtin == schema.BuiltinOperator.CUSTOM
    return Operator(
        name=code.customCode.decode() if is_custom else _BUILTIN_NAMES[builtin],
        inputs=tuple(names[position] for position in operator.inputs if position >= 0),
        outputs=tuple(names[position] for position in operator.outputs),
        options=operator.builtinOptions,
        custom_options=b"" if operator.customOptions is None else bytes(operator.customOptions),
    )


def builtin_code(code: schema.OperatorCodeT) -> int:
    """Return the number of TFLite's own operator that a code stands for."""
    # Files from before the field was widened have it in the narrow field only.
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _shape(tensor: schema.TensorT) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(int(length) for length in tensor.shape)


def _values(name: str, tensor: schema.TensorT, data: NDArray[np.uint8]) -> Constant:
    if tensor.type not in _TYPES:
        raise ValueError(f"its tensor {name} has type {tensor.type}, which is not one of {sorted(_TYPES)}")
    values = np.frombuffer(data.tobytes(), _TYPES[tensor.type])
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    if tensor.sparsity is not None:
        return _dense(name, values, _shape(tensor), tensor.sparsity)
    return values.reshape(_shape(tensor))


def _dense(name: str, values: Constant, shape: tuple[int, ...], sparsity: schema.SparsityParametersT) -> Constant:
    """Return a sparse tensor with its zeros filled in. Its rows are dense; columns of the last axis are listed.

    TFLite can store sparse tensors in more ways; MediaPipe's files use only this one.
    """
    *outer, last = sparsity.dimMetadata
    in_order = list(sparsity.traversalOrder) == list(range(len(shape))) and not sparsity.blockMap
    if not in_order or any(axis.format != schema.DimensionType.DENSE for axis in outer) or last.arraySegments is None:
        raise ValueError(f"its tensor {name} is sparse in another way than along its last axis")
    ends, columns = np.asarray(last.arraySegments.values), np.asarray(last.arrayIndices.values)
    rows = np.repeat(np.arange(math.prod(shape[:-1])), np.diff(ends))
    dense = np.zeros((math.prod(shape[:-1]), shape[-1]), dtype=values.dtype)
    dense[rows, columns] = values
    return dense.reshape(shape)
