"""Compares the bits of onnxruntime's operators with AVX-512 and with AVX2.

    python -m tests.models.onnx.processors

It needs a processor with AVX-512, and `qemu-x86_64` (Debian's package qemu-user) for one without. `make` writes a
network for each operator and size, `compute` its outputs, in the arithmetic of the processor that it finds. What it
found is in docs/engines.md; `models.onnx.portable` accepts the operators that it compares.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.onnx.session import OnnxSession

Shape = list[int]
ELEMENTWISE = (
    "Abs Cos Elu Erf Exp Floor HardSigmoid HardSwish LeakyRelu Neg Reciprocal Relu Sigmoid Sin Softplus Tanh".split()  # noqa: SIM905 - a list of words
)
EMULATOR = "qemu-x86_64"


def make(folder: Path) -> None:
    """Write `<name>.onnx` and its input `<name>.npy` for each operator and size."""
    random = np.random.default_rng(1)
    for name, nodes, shape, constants in networks(random):
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, key) for key, value in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(onnx.shape_inference.infer_shapes(model), folder / f"{name}.onnx")
        np.save(folder / f"{name}.npy", random.normal(0, 1, shape).astype(np.float32))


def networks(random: np.random.Generator) -> Iterator[tuple[str, list[onnx.NodeProto], Shape, dict[str, Any]]]:
    """Yield name, nodes from `x` to `y`, shape of `x` with a batch of 1, and constants."""

    def weights(*shape: int) -> Any:
        return random.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)

    def node(kind: str, inputs: str = "x", output: str = "y", **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs.split(","), [output], **attributes)

    for channels, filters, side, groups in [
        *((3, 32, 3, 1), (16, 16, 3, 1), (24, 40, 3, 1), (17, 19, 3, 1), (64, 133, 7, 1), (64, 64, 3, 4)),
        *((32, 32, 3, 32), (24, 24, 5, 24), (256, 128, 1, 1), (24, 19, 1, 1), (768, 300, 1, 1)),
    ]:
        constants = {"w": weights(filters, channels // groups, side, side), "b": weights(filters, 1)[:, 0].copy()}
        conv = node("Conv", "x,w,b", "c", kernel_shape=[side, side], pads=[side // 2] * 4, group=groups)
        shape = [1, channels, 29, 23]
        silu = [node("Sigmoid", "c", "s"), node("Mul", "c,s")]
        yield f"conv-{channels}-{filters}-{side}-{groups}", [conv, node("Relu", "c")], shape, constants
        yield f"conv-silu-{channels}-{filters}-{side}-{groups}", [conv, *silu], shape, constants
    up = node("ConvTranspose", "x,w", kernel_shape=[4, 4], strides=[2, 2], pads=[1] * 4)
    yield "conv-transpose", [up], [1, 64, 16, 12], {"w": weights(64, 32, 4, 4)}
    for rows, terms, columns in [(1, 512, 300), (133, 256, 512), (17, 129, 33), (196, 768, 77), (1, 2048, 7)]:
        yield f"matmul-{rows}-{terms}", [node("MatMul", "x,w")], [1, rows, terms], {"w": weights(terms, columns)}
    yield "gemm", [node("Gemm", "x,w,b", transB=1)], [1, 640], {"w": weights(77, 640), "b": weights(77, 1)[:, 0].copy()}
    yield "einsum", [node("Einsum", "x,w", equation="bik,jk->bij")], [1, 50, 70], {"w": weights(33, 70)}
    for kind in ELEMENTWISE:
        yield kind.lower(), [node(kind)], [1, 3, 1003], {}
    for kind in ("Log", "Sqrt"):
        yield kind.lower(), [node("Abs", "x", "a"), node(kind, "a")], [1, 3, 1003], {}
    for kind, value in [("Pow", 2), ("Pow", 3), ("Div", 3.7), ("Add", 0.1), ("Sub", 0.1), ("Mul", 0.1), ("PRelu", 0.2)]:
        yield f"{kind.lower()}-{value}", [node(kind, "x,k")], [1, 3, 1003], {"k": np.array(value, np.float32)}
    limits = {"l": np.array(-0.3, np.float32), "h": np.array(0.7, np.float32)}
    yield "clip", [node("Clip", "x,l,h")], [1, 3, 1003], limits
    yield "cumsum", [node("CumSum", "x,k")], [1, 3, 1003], {"k": np.array(2)}
    for size in (7, 17, 64, 133, 576, 1000):
        row, axes = [1, 5, size], {"a": np.array([2])}
        scale = {"g": weights(size, 1)[:, 0] + 1, "b": weights(size, 1)[:, 0].copy()}
        yield f"softmax-{size}", [node("Softmax", axis=-1)], row, {}
        yield f"log-softmax-{size}", [node("LogSoftmax", axis=-1)], row, {}
        yield f"layer-normalization-{size}", [node("LayerNormalization", "x,g,b", axis=-1)], row, scale
        yield f"sum-{size}", [node("ReduceSum", "x,a")], row, axes
        for kind in ("ReduceMean", "ReduceL2", "ReduceMax", "ReduceMin"):
            yield f"{kind.lower()}-{size}", [node(kind, axes=[2])], row, {}
        yield f"mean-of-rows-{size}", [node("ReduceMean", axes=[1])], [1, size, 33], {}
    yield "softmax-of-rows", [node("Softmax", axis=1)], [1, 133, 40], {}
    yield "mean-of-pictures", [node("ReduceMean", axes=[2, 3])], [1, 64, 13, 17], {}
    for channels in (20, 64):
        yield f"global-pool-{channels}", [node("GlobalAveragePool")], [1, channels, 13, 17], {}
        scale = {"g": weights(channels, 1)[:, 0].copy(), "b": weights(channels, 1)[:, 0].copy()}
        picture = [1, channels, 13, 17]
        yield f"instances-{channels}", [node("InstanceNormalization", "x,g,b")], picture, scale
        spread = scale | {"m": weights(channels, 1)[:, 0].copy(), "v": np.abs(weights(channels, 1)[:, 0]) + 1}
        yield f"batch-{channels}", [node("BatchNormalization", "x,g,b,m,v")], picture, spread
    for kind, side in [("AveragePool", 3), ("MaxPool", 5), ("AveragePool", 13)]:
        yield f"{kind.lower()}-{side}", [node(kind, kernel_shape=[side, side], strides=[2, 2])], [1, 32, 31, 27], {}
    for mode in ("nearest", "linear", "cubic"):
        for place in ("asymmetric", "half_pixel", "align_corners"):
            resize = node("Resize", "x,,s", mode=mode, coordinate_transformation_mode=place)
            yield f"resize-{mode}-{place}", [resize], [1, 8, 13, 17], {"s": np.array([1, 1, 2, 2], np.float32)}
    boxes = [
        node("NonMaxSuppression", "x,p,n,i,t", "chosen"),
        node("Cast", "chosen", "numbers", to=TensorProto.FLOAT),
        node("Unsqueeze", "numbers,z"),
    ]
    scores = {"p": random.random((1, 1, 300)).astype(np.float32), "n": np.array([50]), "z": np.array([0])}
    limits = {"i": np.array([0.2], np.float32), "t": np.array([0.1], np.float32)}
    yield "non-max-suppression", boxes, [1, 300, 4], scores | limits


def compute(folder: Path, architecture: Any) -> dict[str, str]:
    """Return name → hash of the outputs of each network, 'refused' where a `model.architecture` does not accept it."""
    settings = ModelSettings(device="cpu", architecture=architecture)
    found = {}
    for path in sorted(folder.glob("*.onnx")):
        try:
            session = OnnxSession(path, settings)
        except ModelError:
            found[path.stem] = "refused"
            continue
        outputs = session.run(np.load(path.with_suffix(".npy")))
        found[path.stem] = hashlib.sha256(b"".join(value.tobytes() for value in outputs.values())).hexdigest()
    return found


def compute_with_avx2(folder: Path, architecture: str) -> dict[str, str]:
    """Return what `compute` does on a processor that has AVX2 but not AVX-512, which is emulated: minutes."""
    python = [EMULATOR, "-cpu", "max", str(Path(sys.executable).resolve())]
    program = (
        f"import sys; sys.path[:] = {sys.path!r}\nfrom tests.models.onnx.processors import compute\nimport json\n"
        f"from pathlib import Path\nprint(json.dumps(compute(Path({str(folder)!r}), {architecture!r})))"
    )
    done = subprocess.run([*python, "-c", program], capture_output=True, text=True, check=True, timeout=900)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def can_emulate() -> bool:
    """Return whether there is an emulator."""
    return shutil.which(EMULATOR) is not None


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        make(Path(name))
        for kind in ("auto", "x86_64"):
            here, avx2 = compute(Path(name), kind), compute_with_avx2(Path(name), kind)
            differing = [network for network in here if here[network] != avx2[network]]
            print(f"model.architecture={kind}: {len(here)} networks, {len(differing)} differ: {', '.join(differing)}")
