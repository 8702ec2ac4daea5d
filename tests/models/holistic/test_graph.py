from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from phoenix_ray.models.holistic import graph
from phoenix_ray.models.holistic.networks import FACE_LANDMARK, HAND_LANDMARK, HAND_RECROP, POSE_LANDMARK


def run(model: bytes, *inputs: np.ndarray) -> dict[str, np.ndarray]:
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return {detail["name"]: interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()}


def part_of(content: bytes, outputs: list[str], inputs: list[str] | None = None) -> bytes:
    model = graph.load_model(content)
    graph.cut(model, outputs, inputs)
    return graph.pack_model(model)


def split(content: bytes) -> bytes:
    model = graph.load_model(content)
    graph.split_channel_scaling(model)
    return graph.pack_model(model)


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
    operators = graph.custom_operators(graph.load_model((weights / FACE_LANDMARK[478].file).read_bytes()))
    names = [operator.name for operator in operators]
    assert names == ["Landmarks2TransformMatrix"] * 3 + ["TransformTensorBilinear"] * 3 + ["TransformLandmarks"] * 5
    assert all(operator.options for operator in operators[:6])
    assert operators[3].inputs[1] == operators[0].outputs[0]


def test_a_model_of_standard_operators_has_no_custom_ones(pose: bytes) -> None:
    assert graph.custom_operators(graph.load_model(pose)) == []
