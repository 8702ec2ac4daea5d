"""Heads that the tests make: a small ONNX network with EmoNet's outputs. Needs the package onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import helper

from tests.models.onnx.made_up import write_manifest, write_network

POOL = 8
CLASSES = ("neutral", "happy", "sad", "surprise")
SIZE = 32


def emotion_network(path: Path, size: int = SIZE, classes: int = len(CLASSES)) -> None:
    """Write a network whose outputs are sums of the brightness of 8x8 cells.

    Its input is `input` (N, 3, size, size), its outputs are `heatmap` (N, 3, cells, cells), `expression` (N, classes),
    `valence` and `arousal` (N,), which leave -1 to 1.
    """
    cells = 3 * (size // POOL) ** 2
    random = np.random.default_rng(11)
    constants: dict[str, np.ndarray[Any, Any]] = {
        "shape": np.array([0, cells], np.int64),
        "of_classes": random.normal(0, 1, (cells, classes)).astype(np.float32),
        "of_valence": random.normal(0, 1, cells).astype(np.float32),
        "of_arousal": random.normal(0, 1, cells).astype(np.float32),
    }
    nodes = [
        helper.make_node("AveragePool", ["input"], ["heatmap"], kernel_shape=[POOL, POOL], strides=[POOL, POOL]),
        helper.make_node("Reshape", ["heatmap", "shape"], ["cells"]),
        helper.make_node("MatMul", ["cells", "of_classes"], ["expression"]),
        helper.make_node("MatMul", ["cells", "of_valence"], ["valence"]),
        helper.make_node("MatMul", ["cells", "of_arousal"], ["arousal"]),
    ]
    outputs: dict[str, list[int | str]] = {
        "heatmap": ["N", 3, size // POOL, size // POOL],
        "expression": ["N", classes],
        "valence": ["N"],
        "arousal": ["N"],
    }
    write_network(path, nodes, {"input": ["N", 3, size, size]}, outputs, constants)


def emotion_head(folder: Path, name: str = "mood", **fields: Any) -> Path:
    """Write the network and its manifest, with other fields where they are given; return the manifest's path."""
    network = folder / f"{name}.onnx"
    emotion_network(network)
    tree: dict[str, Any] = {
        "kind": "head",
        "head": "emotion",
        "input": {"size": [SIZE, SIZE], "std": [255]},
        "crop": {"part": "face", "scale": 1.2},
        "decoder": {
            "classes": list(CLASSES),
            "logits": {"output": "expression"},
            "values": {
                "valence": {"output": "valence", "clamp": [-1, 1]},
                "arousal": {"output": "arousal", "clamp": [-1, 1]},
            },
            "heatmap": "heatmap",
        },
    }
    return write_manifest(folder / f"{name}.yaml", network, **(tree | fields))
