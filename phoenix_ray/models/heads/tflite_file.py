"""What a `.tflite` file says of itself, as `onnx.network_file` says it of ONNX files; `onnx.adding` asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from phoenix_ray.errors import ModelError
from phoenix_ray.models.onnx.network_file import NetworkFacts, Shape


def read_tflite_facts(path: Path, tensors: Sequence[str] = ()) -> NetworkFacts:
    """Return what a file says of itself.

    Args:
        path: The file.
        tensors: Names of tensors between its inputs and outputs that count as outputs, where it has them.

    Raises:
        ModelError: It cannot be read, or LiteRT does not load it.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from None
    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        named = [detail for detail in interpreter.get_tensor_details() if detail["name"] in tensors]
    except Exception as error:
        raise ModelError(f"{path} is not a network that LiteRT loads: {' '.join(str(error).split())}") from None
    types = {
        detail["name"]: "tensor(float)" if detail["dtype"].__name__ == "float32" else detail["dtype"].__name__
        for detail in inputs
    }
    shapes = [{detail["name"]: _shape(detail["shape"]) for detail in details} for details in (inputs, named or outputs)]
    return NetworkFacts(shapes[0], types, shapes[1], {})


def _shape(sides: Sequence[int]) -> Shape:
    return tuple(int(side) for side in sides)
