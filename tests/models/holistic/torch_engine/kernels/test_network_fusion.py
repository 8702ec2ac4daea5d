"""Each rule by which steps become one, with and without what forbids it; results stay those of the plain torch path."""

from __future__ import annotations

import numpy as np
import pytest

from phoenix_ray.models.holistic.torch_engine.kernels.network_steps import Dense
from tests.models.holistic.torch_engine.kernels.made_up_networks import (
    NONE,
    RELU,
    RELU6,
    VALID,
    MadeUpNetwork,
    assert_runs_as_in_torch,
)


def assert_steps(made_up: MadeUpNetwork, outputs: tuple[str, ...], expected: list[str]) -> None:
    """Fail unless a network has such steps, and gives the bits of the plain torch path."""
    assert made_up.steps(*outputs) == expected
    assert_runs_as_in_torch(made_up.network(*outputs))


@pytest.mark.parametrize("amounts", [((1, 1), (2, 2), (0, 0)), ((0, 1), (1, 0), (0, 0))])
def test_zeros_around_a_map_become_padding_of_all_convolutions_that_read_it(
    amounts: tuple[tuple[int, int], ...],
) -> None:
    net = MadeUpNetwork()
    padded = net.pad("images", *amounts)
    first, second = net.convolve(padded, 4, 3, 2, VALID), net.convolve_depthwise(padded, 3, 1, VALID)
    assert net.steps(first, second) == ["dense 3x3/2", "depthwise 3x3"]
    if amounts[0][0] == amounts[0][1]:
        assert_runs_as_in_torch(net.network(first, net.mean(second)))


def test_zeros_before_an_odd_kernel_shift_its_windows() -> None:
    net = MadeUpNetwork()
    padded = net.pad("images", (1, 0), (1, 0), (0, 0))
    convolved = net.convolve(padded, 2, 2, 2, VALID)
    (step,) = net.plan(convolved).steps
    assert isinstance(step, Dense)
    assert step.layer.taps.padding == (1, 1)
    assert_runs_as_in_torch(net.network(convolved))


@pytest.mark.parametrize("reader", ["output", "sum"])
def test_zeros_around_a_map_that_another_operator_reads_are_refused(reader: str) -> None:
    net = MadeUpNetwork()
    padded = net.pad("images", (1, 1), (1, 1), (0, 0))
    other = padded if reader == "output" else net.relu(padded)
    with pytest.raises(ValueError, match=r"that computes pad 0 has a reader"):
        net.plan(net.convolve(padded, 4, 3, 1, VALID), other)


@pytest.mark.parametrize("activation", ["prelu", "relu"])
def test_activations_run_in_the_convolution(activation: str) -> None:
    net = MadeUpNetwork()
    features = getattr(net, activation)(net.convolve("images", 4, 3))
    assert_steps(net, (net.convolve(features, 2),), [f"dense 3x3 {activation}", "dense 1x1"])


def test_a_tensor_that_is_an_output_or_has_two_readers_is_stored() -> None:
    net = MadeUpNetwork()
    features = net.convolve("images", 4, 3)
    active = net.prelu(features)
    total = net.convolve(net.add(active, features), 2)
    assert_steps(net, (total,), ["dense 3x3", "elementwise prelu + map[4]", "dense 1x1"])
    net = MadeUpNetwork(2, 2)
    features = net.convolve("images", 4, 2, 2, VALID)
    assert_steps(net, (net.prelu(features), features), ["dense 2x2/2", "elementwise prelu"])


def test_a_second_activation_is_a_kernel_of_its_own() -> None:
    net = MadeUpNetwork()
    features = net.prelu(net.convolve("images", 4, 3, activation=RELU6))
    assert_steps(net, (net.convolve(features, 2),), ["dense 3x3 relu6", "elementwise prelu", "dense 1x1"])


@pytest.mark.parametrize("swapped", [False, True])
def test_a_sum_and_its_activation_run_in_the_last_convolution(swapped: bool) -> None:
    net = MadeUpNetwork()
    first = net.convolve("images", 4, 3, activation=RELU)
    second = net.convolve(first, 4, 3, activation=RELU6)
    total = net.prelu(net.add(*((second, first) if swapped else (first, second))))
    assert_steps(net, (net.convolve(total, 2),), ["dense 3x3 relu", "dense 3x3 relu6 + map[4] prelu", "dense 1x1"])


def test_of_two_convolutions_the_one_that_has_no_sum_yet_takes_it() -> None:
    net = MadeUpNetwork()
    first, other = net.convolve("images", 4), net.convolve("images", 4, 3)
    chained = net.add(first, net.convolve(first, 4), RELU6)
    total = net.add(chained, other)
    steps = ["dense 1x1", "dense 1x1 + map[4] relu6", "dense 3x3 + map[4]", "dense 1x1"]
    assert_steps(net, (net.convolve(total, 2),), steps)


def test_a_pooled_map_with_channels_of_zeros_is_added_without_being_stored() -> None:
    net = MadeUpNetwork()
    features = net.convolve("images", 4, 3)
    pooled = net.pad(net.pool(features), (0, 0), (0, 0), (0, 3))
    total = net.add(pooled, net.convolve(features, 7, 3, 2), RELU)
    assert_steps(net, (net.convolve(total, 2),), ["dense 3x3", "dense 3x3/2 + pooled[4] relu", "dense 1x1"])


def test_the_first_channels_of_a_pooled_map_are_added() -> None:
    net = MadeUpNetwork()
    features = net.convolve("images", 6, 3)
    total = net.add(net.take_channels(net.pool(features), 4), net.convolve(features, 4, 3, 2))
    assert_steps(net, (net.convolve(total, 2),), ["dense 3x3", "dense 3x3/2 + pooled[4]", "dense 1x1"])


def test_two_sums_pool_the_same_map_each_for_itself() -> None:
    net = MadeUpNetwork()
    features = net.convolve("images", 4, 3)
    totals = [net.add(net.pool(features), net.convolve(features, 4, 3, 2)) for _ in range(2)]
    outputs = tuple(net.convolve(total, 2) for total in totals)
    fused = "dense 3x3/2 + pooled[4]"
    assert_steps(net, outputs, ["dense 3x3", fused, fused, "dense 1x1", "dense 1x1"])


@pytest.mark.parametrize(("size", "stride", "rows"), [(3, 2, 6), (2, 1, 6), (2, 2, 7)])
def test_other_pools_are_kernels_of_their_own(size: int, stride: int, rows: int) -> None:
    net = MadeUpNetwork(height=rows)
    features = net.convolve("images", 4, 3)
    total = net.add(net.pool(features, size, stride, padding=0), net.convolve(features, 4, 3, stride))
    by = "/2" if stride == 2 else ""
    steps = ["dense 3x3", f"maxpool {size}x{size}{by}", f"dense 3x3{by} + map[4]", "dense 1x1"]
    assert_steps(net, (net.convolve(total, 2),), steps)


def test_channels_of_zeros_that_a_convolution_reads_are_refused() -> None:
    net = MadeUpNetwork()
    with pytest.raises(ValueError, match="that computes pad 0 has a reader"):
        net.plan(net.convolve(net.pad("images", (0, 0), (0, 0), (0, 2)), 4))


def test_depthwise_and_pointwise_convolution_are_one_kernel() -> None:
    net = MadeUpNetwork()
    separable = net.convolve(net.convolve_depthwise("images", 5, 2, activation=RELU6), 4)
    assert_steps(net, (net.convolve(net.prelu(separable), 2),), ["separable 5x5/2 relu6 prelu", "dense 1x1"])


def test_a_prelu_between_them_is_part_of_it() -> None:
    net = MadeUpNetwork()
    separable = net.convolve(net.prelu(net.convolve_depthwise("images")), 4)
    assert_steps(net, (separable,), ["separable 3x3 prelu"])


def test_what_else_reads_the_depthwise_convolution_keeps_them_apart() -> None:
    net = MadeUpNetwork()
    filtered = net.convolve_depthwise("images", activation=RELU)
    outputs = net.convolve(filtered, 4), net.mean(filtered)
    assert_steps(net, outputs, ["depthwise 3x3 relu", "dense 1x1", "cellmean"])


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (1, 2)])
def test_only_a_convolution_of_single_cells_fuses_with_a_depthwise_one(size: int, stride: int) -> None:
    net = MadeUpNetwork()
    kind = f"dense {size}x{size}" + ("/2" if stride == 2 else "")
    assert_steps(net, (net.convolve(net.convolve_depthwise("images"), 4, size, stride),), ["depthwise 3x3", kind])


def test_a_sum_between_them_keeps_them_apart() -> None:
    net = MadeUpNetwork()
    total = net.add(net.convolve_depthwise("images"), "images")
    assert_steps(net, (net.convolve(total, 4),), ["depthwise 3x3 + map[3]", "dense 1x1"])


def test_a_resized_map_is_added_where_it_is_resized() -> None:
    net = MadeUpNetwork()
    small, large = net.convolve("images", 4, 3, 2), net.convolve("images", 4)
    total = net.add(net.resize(small, 6, 8), large)
    assert_steps(net, (net.convolve(total, 2),), ["dense 3x3/2", "dense 1x1", "resizing + map", "dense 1x1"])


def test_a_resized_map_with_two_readers_is_stored() -> None:
    net = MadeUpNetwork()
    small, large = net.convolve("images", 4, 3, 2), net.convolve("images", 4)
    resized = net.resize(small, 6, 8, align_corners=True)
    outputs = net.convolve(net.add(resized, large), 2), net.convolve(resized, 2)
    assert net.steps(*outputs) == ["dense 3x3/2", "resizing", "dense 1x1 + map[4]", "dense 1x1", "dense 1x1"]
    assert_runs_as_in_torch(net.network(*outputs))


def test_scaling_of_channels_is_rounded_twice_and_joins_the_activation_before_it() -> None:
    net = MadeUpNetwork()
    features = net.add(net.convolve("images", 4, 3), net.convolve("images", 4, 3))
    scaled = net.convolve_depthwise(net.prelu(features), 1)
    other = net.convolve(features, 2)
    steps = ["dense 3x3", "dense 3x3 + map[4]", "elementwise prelu scale", "dense 1x1", "dense 1x1"]
    assert sorted(net.steps(net.convolve(scaled, 2), other)) == sorted(steps)
    assert_runs_as_in_torch(net.network(net.convolve(scaled, 2), other))


def test_the_same_operator_twice_runs_once() -> None:
    net = MadeUpNetwork(2, 2)
    features = net.convolve("images", 4, 2, 2, VALID)
    scaled = [net.multiply(net.reshape(features, 2, 2), np.array([0.25], np.float32)) for _ in range(2)]
    factors = np.array([[[2, 3], [5, 7]]], np.float32), np.array([11, 13], np.float32)
    outputs = tuple(net.reshape(net.multiply(*pair), 4) for pair in zip(scaled, factors, strict=True))
    assert_steps(net, outputs, ["dense 2x2/2", "elementwise scale", "elementwise scale", "elementwise scale"])


def test_what_nobody_reads_is_left_out() -> None:
    net = MadeUpNetwork()
    wanted = net.convolve("images", 4)
    net.convolve(net.convolve("images", 2, activation=NONE), 2)
    assert net.steps(wanted) == ["dense 1x1"]
