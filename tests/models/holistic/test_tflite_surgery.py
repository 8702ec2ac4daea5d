from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from phoenix_ray.models.holistic import tflite, tflite_surgery
from phoenix_ray.models.holistic.networks import (
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    NetworkSpec,
)
from phoenix_ray.models.holistic.tflite_surgery import drop_dead_channels, load_model, pack_model, read_living


def run(model: bytes, *inputs: np.ndarray) -> dict[str, np.ndarray]:
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()}


def part_of(content: bytes, outputs: list[str], inputs: list[str] | None = None) -> bytes:
    model = tflite_surgery.load_model(content)
    tflite_surgery.cut_out(model, outputs, inputs)
    return tflite_surgery.pack_model(model)


def split(content: bytes) -> bytes:
    model = tflite_surgery.load_model(content)
    tflite_surgery.split_channel_scaling(model)
    return tflite_surgery.pack_model(model)


@pytest.fixture(scope="module")
def pose(weights: Path) -> bytes:
    return (weights / POSE_LANDMARK.file).read_bytes()


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).random((1, 256, 256, 3), dtype=np.float32)


def test_what_is_kept_is_computed_bit_for_bit(pose: bytes, noise: np.ndarray) -> None:
    whole = run(pose, noise)
    wanted = ["Identity_3", "Identity"]
    part = run(part_of(pose, wanted), noise)
    assert list(part) == wanted
    for name in wanted:
        np.testing.assert_array_equal(part[name], whole[name])


def test_weights_of_what_is_left_out_are_dropped(weights: Path) -> None:
    hand = (weights / HAND_LANDMARK.file).read_bytes()
    assert len(part_of(hand, ["Identity", "Identity_1"])) < len(hand)


def test_two_halves_give_what_the_whole_gives(weights: Path) -> None:
    model = (weights / FACE_LANDMARK[468].file).read_bytes()
    image = np.random.default_rng(0).random((1, 192, 192, 3), dtype=np.float32)
    middle = "p_re_lu_3"
    first = run(part_of(model, [middle]), image)
    second = run(part_of(model, ["conv2d_21", "conv2d_31"], [middle]), first[middle])
    whole = run(model, image)
    for name, value in second.items():
        np.testing.assert_array_equal(value, whole[name])


def test_splitting_the_channel_scaling_changes_nothing_but_the_rounding(weights: Path, noise: np.ndarray) -> None:
    model = (weights / HAND_RECROP.file).read_bytes()
    once = split(model)
    (before,), (after,) = run(model, noise).values(), run(once, noise).values()
    np.testing.assert_allclose(after, before, atol=1e-4)
    assert split(once) == once


def test_a_network_without_channel_scaling_is_left_as_it_is(pose: bytes, noise: np.ndarray) -> None:
    model = part_of(pose, ["Identity"])
    np.testing.assert_array_equal(run(split(model), noise)["Identity"], run(model, noise)["Identity"])


def test_an_unknown_tensor_is_named(pose: bytes) -> None:
    with pytest.raises(ValueError, match="no tensor lips"):
        part_of(pose, ["lips"])


def test_inputs_that_do_not_suffice_are_refused(pose: bytes) -> None:
    with pytest.raises(ValueError, match="also need input_1"):
        part_of(pose, ["Identity"], ["Identity_1"])


def test_custom_operators_are_listed_with_their_options(weights: Path) -> None:
    operators = tflite_surgery.custom_operators(
        tflite_surgery.load_model((weights / FACE_LANDMARK[478].file).read_bytes())
    )
    names = [operator.name for operator in operators]
    assert names == ["Landmarks2TransformMatrix"] * 3 + ["TransformTensorBilinear"] * 3 + ["TransformLandmarks"] * 5
    assert all(operator.custom_options for operator in operators[:6])
    assert operators[3].inputs[1] == operators[0].outputs[0]


def test_a_model_of_standard_operators_has_no_custom_ones(pose: bytes) -> None:
    assert tflite_surgery.custom_operators(tflite_surgery.load_model(pose)) == []


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
def test_outputs_are_the_same_bits_without_dead_channels(weights: Path, network: NetworkSpec) -> None:
    whole = (weights / network.file).read_bytes()
    for expected, found in zip(
        outputs(whole, network.size), outputs(without_dead_channels(whole), network.size), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_the_hand_network_loses_a_third_of_its_weights(weights: Path) -> None:
    whole = (weights / HAND_LANDMARK.file).read_bytes()
    assert len(without_dead_channels(whole)) < 0.7 * len(whole)


def multiplications(network: tflite.Network) -> int:
    """Return the multiplications of a network's convolutions and fully connected layers for one image."""
    total = 0
    for operator in network.operators:
        if operator.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            weight, output = network.constants[operator.inputs[1]], network.shapes[operator.outputs[0]]
            total += math.prod(output[:-1]) * weight.size
    return total


def test_what_is_read_without_dead_channels_is_a_tenth_less_work(weights: Path) -> None:
    content = (weights / HAND_LANDMARK.file).read_bytes()
    whole, living = tflite.read(content, HAND_LANDMARK.outputs), read_living(content, HAND_LANDMARK.outputs)
    assert [operator.name for operator in living.operators] == [operator.name for operator in whole.operators]
    assert living.outputs == whole.outputs
    assert multiplications(living) < 0.92 * multiplications(whole)
