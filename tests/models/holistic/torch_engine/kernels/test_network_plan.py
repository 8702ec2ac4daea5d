"""Where a plan puts tensors, when it frees them, and what the plans of Holistic's networks cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARKS,
    NetworkSpec,
)
from phoenix_ray.models.holistic.tflite_surgery import read_living
from phoenix_ray.models.holistic.torch_engine.kernels.launching import Launch, recording
from phoenix_ray.models.holistic.torch_engine.kernels.network_plan import NetworkPlan, plan_network
from phoenix_ray.models.holistic.torch_engine.kernels.networks import KernelNetwork
from phoenix_ray.setting_types import Precision
from tests.models.holistic.torch_engine.kernels.made_up_networks import RELU, MadeUpNetwork, assert_runs_as_in_torch

BATCH = 128
# The networks of complexity 1 with 468 points: how often a frame goes through each, and the most launches of each.
NETWORKS = (
    (POSE_DETECTION, 1, 51),
    (POSE_LANDMARKS[1], 1, 55),
    (HAND_RECROP, 2, 27),
    (HAND_LANDMARK, 2, 35),
    (FACE_DETECTION, 1, 21),
    (FACE_LANDMARK[468], 1, 25),
)
OTHERS = ((POSE_LANDMARKS[0], 51), (POSE_LANDMARKS[2], 121), (FACE_LANDMARK[478], 95))


@cache
def plan_of(folder: Path, spec: NetworkSpec) -> NetworkPlan:
    return plan_network(read_living((folder / spec.file).read_bytes(), spec.outputs))


def launches_of(plan: NetworkPlan, items: int, precision: Precision = "exact") -> list[Launch]:
    network = KernelNetwork(plan, torch.device("cpu"), precision)
    _, height, width, channels = plan.shapes[plan.input]
    with FakeTensorMode(allow_non_fake_inputs=True), recording() as launches:
        outputs = network(torch.empty((items, channels, height, width), dtype=network.dtype))
    for name, output in zip(plan.outputs, outputs, strict=True):
        assert output.dtype == torch.float32
        assert output.shape == (items, *plan.shapes[name][1:])
    return launches


@pytest.mark.parametrize(("precision", "most_megabytes"), [("exact", 190), ("tf32", 190), ("fp16", 96)])
def test_a_frame_takes_few_launches_and_megabytes(weights: Path, precision: Precision, most_megabytes: float) -> None:
    total, moved = 0, 0
    for spec, times, most in NETWORKS:
        launches = launches_of(plan_of(weights, spec), times * BATCH, precision)
        moved += sum(launch.bytes_moved for launch in launches)
        total += len(launches)
        megabytes = sum(launch.bytes_moved for launch in launches) / BATCH / 1e6
        print(f"{spec.file} {precision}: {len(launches)} launches, {megabytes:.1f} MB a frame")
        assert len(launches) <= most
    print(f"all six networks, {precision}: {total} launches, {moved / BATCH / 1e6:.1f} MB a frame")
    assert total <= 214
    assert moved / BATCH / 1e6 <= most_megabytes


@pytest.mark.parametrize(("spec", "most"), OTHERS, ids=lambda value: str(getattr(value, "file", value)))
def test_the_other_networks_take_few_launches(all_weights: Path, spec: NetworkSpec, most: int) -> None:
    assert len(launches_of(plan_of(all_weights, spec), BATCH)) <= most


def test_launches_do_not_depend_on_the_batch(weights: Path) -> None:
    plan = plan_of(weights, FACE_DETECTION)
    names = [[launch.name for launch in launches_of(plan, items)] for items in (1, 5)]
    assert names[0] == names[1]


def test_a_plan_is_a_table_of_steps(weights: Path) -> None:
    lines = plan_of(weights, FACE_DETECTION).lines()
    assert lines[:3] == [
        "0 dense 5x5/2 relu (input) (64, 64, 24)",
        "1 separable 3x3 + map[24] relu (0, 0) (64, 64, 24)",
        "2 separable 3x3 + map[24] relu (1, 1) (64, 64, 28)",
    ]


def heads(made_up: MadeUpNetwork) -> str:
    """Return the boxes of two maps, one behind the other, as detectors have them."""
    large = made_up.convolve("images", 4, 3)
    small = made_up.convolve(large, 4, 3, 2)
    boxes = [
        made_up.reshape(made_up.convolve(large, 6), 6 * 8 * 2, 3),
        made_up.reshape(made_up.convolve(small, 9), 36, 3),
    ]
    return made_up.join(*boxes)


def test_convolutions_write_straight_into_a_concatenation() -> None:
    net = MadeUpNetwork()
    boxes = heads(net)
    plan = net.plan(boxes)
    assert [line.split(" (")[0] for line in plan.lines()] == [
        "0 dense 3x3",
        "1 dense 3x3/2",
        "2 dense 1x1",
        "3 dense 1x1",
    ]
    places = [plan.places[step.output] for step in plan.steps[2:]]
    assert places == [(boxes, 0), (boxes, 6 * 8 * 6)]
    assert plan.buffers[boxes] == 6 * 8 * 6 + 12 * 9
    assert_runs_as_in_torch(net.network(boxes), 3)


def test_maps_that_are_outputs_lie_as_in_the_file() -> None:
    net = MadeUpNetwork()
    heatmap = net.convolve("images", 5, 3, activation=RELU)
    network = KernelNetwork(net.plan(heatmap), torch.device("cpu"), "exact")
    with FakeTensorMode(allow_non_fake_inputs=True):
        (output,) = network(torch.empty((2, 3, 6, 8)))
    assert output.is_contiguous()
    assert_runs_as_in_torch(net.network(heatmap))


@pytest.mark.parametrize(
    "read_on",
    [
        lambda net, features: (features, net.convolve(features, 2)),
        lambda net, features: (net.prelu(net.relu(features)),),
        lambda net, features: (net.reshape(features, 48, 4), net.mean(features)),
        lambda net, features: (net.mean(net.reshape(features, 4, 12, 4)),),
        lambda net, features: (net.mean(net.join(features, net.convolve("images", 4))),),
    ],
    ids=[
        "an output that is read",
        "an output without a convolution",
        "a reshaped map that is read",
        "a map that is read reshaped",
        "a joined map",
    ],
)
def test_a_map_in_two_layouts_is_refused(read_on: Callable[[MadeUpNetwork, str], tuple[str, ...]]) -> None:
    net = MadeUpNetwork()
    with pytest.raises(ValueError, match="lie in memory in two ways"):
        net.plan(*read_on(net, net.convolve("images", 4)))


def test_an_input_that_is_reshaped_is_refused() -> None:
    net = MadeUpNetwork()
    with pytest.raises(ValueError, match="its input images is reshaped"):
        net.plan(net.reshape("images", 48, 3))


def test_a_part_of_two_concatenations_is_refused() -> None:
    net = MadeUpNetwork(1, 1)
    first, second = net.convolve("images", 2), net.convolve("images", 3)
    joined = [net.join(*parts, axis=3) for parts in ((first, second), (second, first))]
    with pytest.raises(ValueError, match="would have to lie in two places"):
        net.plan(*joined)


def test_a_part_that_no_convolution_computes_is_refused() -> None:
    net = MadeUpNetwork()
    means = [net.mean(net.convolve("images", 4)), net.mean(net.convolve("images", 2))]
    with pytest.raises(ValueError, match="is part of another, which CellMean cannot reach"):
        net.plan(net.join(*means))


def test_buffers_die_with_their_last_reader() -> None:
    net = MadeUpNetwork()
    first = net.convolve("images", 4, 3)
    second = net.convolve(first, 4, 3)
    last = net.convolve(net.add(net.convolve(second, 4, 3), first), 2)
    plan = net.plan(last)
    alive = [step.output for step in plan.steps]
    assert plan.dying == (("images",), (), (first, second), (alive[2],))


def test_all_buffers_but_outputs_are_freed(weights: Path) -> None:
    for spec, *_ in NETWORKS:
        plan = plan_of(weights, spec)
        freed = [buffer for buffers in plan.dying for buffer in buffers]
        assert len(freed) == len(set(freed))
        assert set(freed) | {plan.places[name].buffer for name in plan.outputs} == set(plan.buffers)


def test_the_last_convolutions_stay_in_full_precision() -> None:
    net = MadeUpNetwork(2, 2)
    features = net.convolve("images", 4, 2, 2)
    values = net.convolve(features, 3)
    scaled = net.multiply(values, np.array([2], np.float32))
    logit = net.convolve(features, 1)
    assert net.plan(values, scaled, logit).in_full == {values, scaled, logit}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net: net.join("images", net.convolve("images", 3), axis=3), "CONCATENATION joins tensors along axis 3"),
        (lambda net: net.connect("images", 3), "FULLY_CONNECTED takes a tensor"),
        (lambda net: net.add("images", net.resize("images", 3, 4)), "ADD adds something other"),
        (lambda net: net.multiply("images", np.ones(2, np.float32)), "MUL has constants"),
        (lambda net: net.pool("images", padding=1) and net._operator("SOFTMAX", ("images",), (1, 3)), "SOFTMAX is not"),
    ],
)
def test_what_is_not_supported_is_named(make: Callable[[MadeUpNetwork], str], message: str) -> None:
    net = MadeUpNetwork()
    with pytest.raises(ValueError, match=message):
        net.plan(make(net))
