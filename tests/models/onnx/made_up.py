"""Networks that the tests make: small, with the inputs and outputs of true ones. Needs the package onnx."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

POOL = 32
# Networks of opset 17 run in every supported onnxruntime.
OPSET = 17


def simcc_network(
    path: Path, points: int = 133, size: tuple[int, int] = (288, 384), split_ratio: int = 2, seed: int = 7
) -> None:
    """Write a network of RTMPose's shapes whose points follow the brightness of the picture's regions.

    Its input is `input` (N, 3, height, width), its outputs are `simcc_x` and `simcc_y` (N, points, bins): parabolas
    whose highest bins are the points, and whose maxima are their scores.
    """
    width, height = size
    cells = 3 * (width // POOL) * (height // POOL)
    random = np.random.default_rng(seed)
    constants: dict[str, np.ndarray[Any, Any]] = {
        "shape": np.array([0, cells], np.int64),
        "axes": np.array([2], np.int64),
        "score": random.uniform(0.2, 1, (points, 1)).astype(np.float32),
        "sharp": np.array(-1e-3, np.float32),
    }
    nodes = [
        helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[POOL, POOL], strides=[POOL, POOL]),
        helper.make_node("Reshape", ["pooled", "shape"], ["features"]),
    ]
    for axis, side in (("x", width), ("y", height)):
        bins = side * split_ratio
        weights = random.normal(0, 0.3, (cells, points)).astype(np.float32)
        constants |= {f"weights_{axis}": weights, f"bins_{axis}": np.arange(bins, dtype=np.float32)}
        constants[f"side_{axis}"] = np.array(bins, np.float32)
        nodes += [
            helper.make_node("MatMul", ["features", f"weights_{axis}"], [f"sum_{axis}"]),
            helper.make_node("Sigmoid", [f"sum_{axis}"], [f"share_{axis}"]),
            helper.make_node("Mul", [f"share_{axis}", f"side_{axis}"], [f"flat_{axis}"]),
            helper.make_node("Unsqueeze", [f"flat_{axis}", "axes"], [f"place_{axis}"]),
            helper.make_node("Sub", [f"bins_{axis}", f"place_{axis}"], [f"off_{axis}"]),
            helper.make_node("Mul", [f"off_{axis}", f"off_{axis}"], [f"square_{axis}"]),
            helper.make_node("Mul", [f"square_{axis}", "sharp"], [f"low_{axis}"]),
            helper.make_node("Add", [f"low_{axis}", "score"], [f"simcc_{axis}"]),
        ]
    outputs: dict[str, list[int | str]] = {
        f"simcc_{axis}": ["N", points, side * split_ratio] for axis, side in (("x", width), ("y", height))
    }
    write_network(path, nodes, {"input": ["N", 3, height, width]}, outputs, constants)


def write_network(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int | str]],
    outputs: dict[str, list[int | str]],
    constants: dict[str, np.ndarray[Any, Any]],
) -> None:
    """Write a network of these nodes; a dimension of any size is a name."""
    graph = helper.make_graph(
        nodes,
        "made up",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def write_manifest(path: Path, network: Path, **fields: Any) -> Path:
    """Write a manifest for a network beside it, with the fields that are given; return its path."""
    tree: dict[str, Any] = {
        "name": path.stem,
        "license": "none: made up",
        "source": "tests/models/onnx/made_up.py",
        "weights": {"file": network.name, "sha256": hashlib.sha256(network.read_bytes()).hexdigest()},
        **fields,
    }
    path.write_text(yaml.safe_dump(tree, sort_keys=False))
    return path


def rtmw_like(folder: Path) -> Path:
    """Write a network of RTMW's shapes and its manifest; return the manifest's path."""
    network = folder / "rtmw.onnx"
    simcc_network(network)
    return write_manifest(
        folder / "rtmw.yaml",
        network,
        layout="coco-wholebody-133",
        input={
            "size": [288, 384],
            "mean": [123.675, 116.28, 103.53],
            "std": [58.395, 57.12, 57.375],
            "resize": "affine",
            "padding": 1.25,
        },
        decoder={"kind": "simcc", "split_ratio": 2},
    )
