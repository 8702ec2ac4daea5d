"""Surgery on `.tflite` files: cut the part of a network out that is wanted, and leave the rest.

What a network computes beside the landmarks (segmentation, handedness) is a quarter of the pose network's time, and the
attention network can only run in pieces, around operators that LiteRT does not know.
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


def cut(model: bytes, outputs: Sequence[str], inputs: Sequence[str] | None = None) -> bytes:
    """Return the part of a `.tflite` model that computes tensors from tensors, bit for bit as the whole does.

    Args:
        model: Content of a `.tflite` file with one subgraph.
        outputs: Names of the tensors to compute.
        inputs: Names of the tensors to compute them from; the model's own inputs if None.

    Raises:
        ValueError: When there is no tensor of a name, or the outputs need more than the inputs.
    """
    tree, graph = _load(model)
    index = {_name(tensor): position for position, tensor in enumerate(graph.tensors)}
    unknown = [name for name in (*outputs, *(inputs or ())) if name not in index]
    if unknown:
        raise ValueError(f"the model has no tensor {', '.join(unknown)}")
    given = {index[name] for name in inputs} if inputs is not None else set(_indices(graph.inputs))
    constant = {position for position, tensor in enumerate(graph.tensors) if _has_data(tree, tensor)}

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
        tree.buffers[graph.tensors[position].buffer].data = None
    graph.operators = operators[::-1]
    graph.inputs = graph.inputs if inputs is None else np.array([index[name] for name in inputs], dtype=np.int32)
    graph.outputs = np.array([index[name] for name in outputs], dtype=np.int32)
    tree.signatureDefs = None
    builder = flatbuffers.Builder(len(model))
    builder.Finish(tree.Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def custom_operators(model: bytes) -> list[CustomOperator]:
    """Return the operators of a `.tflite` model that are not TFLite's own, in the order of computation."""
    tree, graph = _load(model)
    operators = []
    for operator in graph.operators:
        code = tree.operatorCodes[operator.opcodeIndex]
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


def _load(model: bytes) -> tuple[schema.ModelT, schema.SubGraphT]:
    tree = schema.ModelT.InitFromPackedBuf(model, 0)
    return tree, tree.subgraphs[0]


def _name(tensor: schema.TensorT) -> str:
    name: bytes = tensor.name
    return name.decode()


def _indices(tensors: Iterable[int]) -> list[int]:
    return [int(tensor) for tensor in tensors if tensor >= 0]


def _has_data(tree: schema.ModelT, tensor: schema.TensorT) -> bool:
    data = tree.buffers[tensor.buffer].data
    return data is not None and len(data) > 0
