from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.models.holistic import tflite
from phoenix_ray.models.holistic.networks import HAND_LANDMARK, HAND_RECROP, POSE_DETECTION, POSE_LANDMARK


def test_constants_are_dense_single_precision(weights: Path) -> None:
    network = tflite.read((weights / POSE_DETECTION.file).read_bytes(), ["Identity", "Identity_1"])
    assert not {"DEQUANTIZE", "DENSIFY"} & {operator.name for operator in network.operators}
    assert {values.dtype for values in network.constants.values()} == {np.dtype("f4"), np.dtype("i4")}
    zeros = [
        np.mean(network.constants[operator.inputs[1]] == 0)
        for operator in network.operators
        if operator.name == "CONV_2D"
    ]
    assert max(zeros) > 0.5, "some of its weights are sparse"
    for name, values in network.constants.items():
        assert values.shape == network.shapes[name]


def test_what_the_outputs_do_not_need_is_left_out(weights: Path) -> None:
    model = (weights / POSE_LANDMARK.file).read_bytes()
    landmarks = tflite.read(model, ["Identity"])
    everything = tflite.read(model, ["Identity", "Identity_1", "Identity_2", "Identity_3", "Identity_4"])
    assert len(landmarks.operators) < len(everything.operators)
    assert landmarks.constants.keys() < everything.constants.keys()
    assert landmarks.outputs == ("Identity",)


def test_operators_come_in_the_order_of_computation(weights: Path) -> None:
    network = tflite.read((weights / HAND_RECROP.file).read_bytes(), ["output_crop"])
    known = {network.input, *network.constants}
    for operator in network.operators:
        assert known.issuperset(operator.inputs)
        known.update(operator.outputs)
    assert known.issuperset(network.outputs)


def test_an_unknown_tensor_is_named(weights: Path) -> None:
    with pytest.raises(ValueError, match="no tensor lips"):
        tflite.read((weights / HAND_LANDMARK.file).read_bytes(), ["Identity", "lips"])
