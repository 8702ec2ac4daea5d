"""Networks that give the same bits on each x86-64 processor since 2013: `model.architecture=x86_64`.

onnxruntime chooses kernels by the processor. With AVX-512 it differs from AVX2 in two places (docs/engines.md): in
convolutions over blocks of channels, which `session` switches off, and in Softmax, which this module replaces in the
file's bytes by operators that do not differ. Any other operator must be one that was compared.

An ONNX file is a protocol buffer; the little that is needed of its format is written out here, so that the package
`onnx` need not be installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from phoenix_ray.errors import ModelError
from phoenix_ray.models import provenance

# Value of `model.architecture`.
PORTABLE = "x86_64"

# Operators whose outputs had the same bits with AVX-512 and with AVX2 (tests/models/onnx/processors.py compares them).
_COMPARED = """
Abs Add AveragePool BatchNormalization Clip Conv ConvTranspose Cos CumSum Div Einsum Elu Erf Exp Floor Gemm
GlobalAveragePool HardSigmoid HardSwish InstanceNormalization LayerNormalization LeakyRelu Log MatMul
MaxPool Mul NonMaxSuppression PRelu Pow Reciprocal ReduceL2 ReduceMax ReduceMean ReduceSum Relu Resize Sigmoid Sin
Softmax Softplus Sqrt Sub Tanh
"""
# Operators that move, compare or round numbers, and compute none of several.
_EXACT = """
And ArgMax ArgMin Cast Ceil Compress Concat Constant ConstantOfShape DepthToSpace Dropout Equal Expand Flatten Gather
GatherElements GatherND Greater GreaterOrEqual Identity Less LessOrEqual Max Min Neg NonZero Not Or Pad Range ReduceMin
Reshape Round ScatterElements ScatterND Shape Sign Slice SpaceToDepth Split Squeeze Tile TopK Transpose Trilu Unsqueeze
Where
"""
# Fields of ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto and OperatorSetIdProto in onnx.proto.
_MODEL_GRAPH, _MODEL_OPSETS, _MODEL_FUNCTIONS = 7, 8, 25
_GRAPH_NODE = 1
_NODE_INPUT, _NODE_OUTPUT, _NODE_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_INTS, _ATTRIBUTE_TYPE = 1, 3, 5, 8, 20
_ATTRIBUTE_GRAPHS = (6, 11)
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_RAW = 1, 2, 9
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_INT, _TENSOR, _INTS, _INT64 = 2, 4, 7, 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Since opset 13 a Softmax is along one axis, and ReduceSum takes its axes as an input; since 18 so does ReduceMax.
_ALONG_AN_AXIS, _MAX_AXES_AS_INPUT = 13, 18

_Field = tuple[int, int, bytes]


def architecture_for(paths: Sequence[Path]) -> str:
    """Return the kind of processor whose arithmetic 'auto' means for networks on a CPU.

    It is the one that includes all x86-64 processors since 2013 where the networks can keep to it, else this machine's.
    A file that cannot be read decides nothing: whoever loads it says what is wrong.
    """
    try:
        for path in paths:
            portable_network(path)
    except ModelError:
        return provenance.vector_architecture()
    here = provenance.architecture()
    return here if here == PORTABLE else provenance.vector_architecture()


def portable_network(path: Path) -> bytes | None:
    """Return a file's bytes without Softmax; None where it has none, so that the file may be loaded as it is.

    Raises:
        ModelError: The file cannot be read, or has operators that were not compared.
    """
    try:
        model = list(_fields(path.read_bytes()))
        graph = list(_fields(_only(model, _MODEL_GRAPH)))
        nodes = [list(_fields(value)) for number, _, value in graph if number == _GRAPH_NODE]
        types = {_name_of(node) for node in nodes}
        opset = _opset(model)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
    except (IndexError, ValueError) as error:
        raise ModelError(f"{path} is not an ONNX network: {error}.") from None
    unknown = sorted(types.difference(_COMPARED.split(), _EXACT.split()))
    if any(number == _MODEL_FUNCTIONS for number, _, _ in model) or any(map(_has_branches, nodes)):
        unknown.append("functions or branches")
    if unknown:
        raise ModelError(
            f"model.architecture={PORTABLE}: {path} has {', '.join(unknown)}, which may round differently on each "
            "kind of processor. Leave model.architecture out: then all workers must have the instructions of the "
            "machine where the run starts (x86_64-avx2 or x86_64-avx512)."
        )
    if "Softmax" not in types:
        return None
    rewritten = b"".join(
        _without_softmax(list(_fields(value)), opset, position)
        if number == _GRAPH_NODE
        else _field(number, kind, value)
        for position, (number, kind, value) in enumerate(graph)
    )
    return b"".join(
        _field(number, kind, rewritten if number == _MODEL_GRAPH else value) for number, kind, value in model
    )


def _without_softmax(node: list[_Field], opset: int, position: int) -> bytes:
    """Return the field of a node, or those of the nodes that take a Softmax's place: exp(x - max) / sum."""
    if _name_of(node) != "Softmax":
        return _bytes_field(_GRAPH_NODE, b"".join(_field(*field) for field in node))
    source, result = (_only(node, number).decode() for number in (_NODE_INPUT, _NODE_OUTPUT))
    axis = next((_axis(value) for number, _, value in node if number == _NODE_ATTRIBUTE), None)
    prefix = f"portable_softmax_{position}"
    made: list[bytes] = []

    def add(kind: str, inputs: list[str], output: str, *attributes: bytes) -> str:
        made.append(_node(kind, inputs, output, attributes))
        return output

    if opset >= _ALONG_AN_AXIS:
        rows, along, divided = source, -1 if axis is None else axis, result
    else:
        rows = add("Flatten", [source], f"{prefix}_rows", _int_attribute("axis", 1 if axis is None else axis))
        along, divided = 1, f"{prefix}_divided"
    axes = add("Constant", [], f"{prefix}_axes", _tensor_attribute("value", along))

    def reduce(kind: str, rows: str, output: str, axes_since: int) -> str:
        if opset >= axes_since:
            return add(kind, [rows, axes], output)
        return add(kind, [rows], output, _ints_attribute("axes", along))

    largest = reduce("ReduceMax", rows, f"{prefix}_max", _MAX_AXES_AS_INPUT)
    below = add("Sub", [rows, largest], f"{prefix}_below")
    powers = add("Exp", [below], f"{prefix}_powers")
    total = reduce("ReduceSum", powers, f"{prefix}_total", _ALONG_AN_AXIS)
    add("Div", [powers, total], divided)
    if opset < _ALONG_AN_AXIS:
        add("Reshape", [divided, add("Shape", [source], f"{prefix}_shape")], result)
    return b"".join(_bytes_field(_GRAPH_NODE, node) for node in made)


def _name_of(node: list[_Field]) -> str:
    """Return the type of a node, with its domain unless that is ONNX's own."""
    domain = b"".join(value for number, _, value in node if number == _NODE_DOMAIN).decode()
    kind = _only(node, _NODE_TYPE).decode()
    return kind if domain in ("", "ai.onnx") else f"{domain}.{kind}"


def _has_branches(node: list[_Field]) -> bool:
    attributes = (_fields(value) for number, _, value in node if number == _NODE_ATTRIBUTE)
    return any(number in _ATTRIBUTE_GRAPHS for attribute in attributes for number, _, _ in attribute)


def _opset(model: list[_Field]) -> int:
    """Return the version of ONNX's own operators."""
    for number, _, value in model:
        if number == _MODEL_OPSETS:
            opset = {number: value for number, _, value in _fields(value)}
            if opset.get(_OPSET_DOMAIN, b"") in (b"", b"ai.onnx"):
                return _varint(opset[_OPSET_VERSION], 0)[0]
    raise ValueError("it names no version of its operators")


def _axis(attribute: bytes) -> int | None:
    fields = {number: value for number, _, value in _fields(attribute)}
    if fields.get(_ATTRIBUTE_NAME) != b"axis":
        return None
    value = _varint(fields.get(_ATTRIBUTE_INT, b"\0"), 0)[0]
    return value - 2**64 if value >= 2**63 else value


def _only(fields: list[_Field], wanted: int) -> bytes:
    found = [value for number, _, value in fields if number == wanted]
    if len(found) != 1:
        raise ValueError(f"field {wanted} comes {len(found)} times")
    return found[0]


def _fields(message: bytes) -> Iterator[_Field]:
    """Yield number, kind and bytes of each field of a message; IndexError or ValueError if it is damaged."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        start = position
        if kind == _VARINT:
            _, position = _varint(message, position)
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            length, start = _varint(message, position)
            position = start + length
        else:
            raise ValueError(f"there is no kind {kind} of field")
        if position > len(message):
            raise ValueError("it is cut off")
        yield number, kind, message[start:position]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position


def _to_varint(value: int) -> bytes:
    value %= 2**64
    digits = bytearray()
    while value >= 128:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def _field(number: int, kind: int, value: bytes) -> bytes:
    return _to_varint(number << 3 | kind) + (_to_varint(len(value)) if kind == _BYTES else b"") + value


def _bytes_field(number: int, value: bytes) -> bytes:
    return _field(number, _BYTES, value)


def _int_field(number: int, value: int) -> bytes:
    return _field(number, _VARINT, _to_varint(value))


def _node(kind: str, inputs: list[str], output: str, attributes: tuple[bytes, ...]) -> bytes:
    return b"".join(
        [
            *(_bytes_field(_NODE_INPUT, name.encode()) for name in inputs),
            _bytes_field(_NODE_OUTPUT, output.encode()),
            _bytes_field(_NODE_TYPE, kind.encode()),
            *(_bytes_field(_NODE_ATTRIBUTE, attribute) for attribute in attributes),
        ]
    )


def _attribute(name: str, content: bytes, kind: int) -> bytes:
    return _bytes_field(_ATTRIBUTE_NAME, name.encode()) + content + _int_field(_ATTRIBUTE_TYPE, kind)


def _int_attribute(name: str, value: int) -> bytes:
    return _attribute(name, _int_field(_ATTRIBUTE_INT, value), _INT)


def _ints_attribute(name: str, value: int) -> bytes:
    return _attribute(name, _int_field(_ATTRIBUTE_INTS, value), _INTS)


def _tensor_attribute(name: str, value: int) -> bytes:
    """Return an attribute with a tensor of one whole number, int64 (1,)."""
    tensor = _int_field(_TENSOR_DIMS, 1) + _int_field(_TENSOR_TYPE, _INT64)
    tensor += _bytes_field(_TENSOR_RAW, value.to_bytes(8, "little", signed=True))
    return _attribute(name, _bytes_field(_ATTRIBUTE_TENSOR, tensor), _TENSOR)
