from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from phoenix_ray.models.holistic.dead_channels import drop_dead_channels
from phoenix_ray.models.holistic.graph import load_model, pack_model
from phoenix_ray.models.holistic.networks import HAND_LANDMARK, POSE_DETECTION, POSE_LANDMARK, NetworkInput


def without_dead_channels(content: bytes) -> bytes:
    model = load_model(content)
    drop_dead_channels(model)
    return pack_model(model)


def outputs(model: bytes, size: int) -> list[np.ndarray]:
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    results = []
    for seed in range(3):
        image = np.random.default_rng(seed).random((1, size, size, 3), dtype=np.float32)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        interpreter.invoke()
        results += [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
    return results


@pytest.mark.parametrize(
    "network", [HAND_LANDMARK, POSE_LANDMARK, POSE_DETECTION], ids=lambda network: str(network.file)
)
def test_outputs_are_the_same_bits_without_dead_channels(weights: Path, network: NetworkInput) -> None:
    whole = (weights / network.file).read_bytes()
    for expected, found in zip(
        outputs(whole, network.size), outputs(without_dead_channels(whole), network.size), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_the_hand_network_loses_a_third_of_its_weights(weights: Path) -> None:
    whole = (weights / HAND_LANDMARK.file).read_bytes()
    assert len(without_dead_channels(whole)) < 0.7 * len(whole)
