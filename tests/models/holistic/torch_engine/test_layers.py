"""Layers against sums that are written out, one fused multiply-add after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from phoenix_ray.models.holistic.torch_engine.layers import (  # noqa: E402
    Convolution,
    ResizeBilinear,
    by_library,
    in_order,
    mean_of_cells,
    product_in_order,
)

Array = NDArray[np.float32]

# The order of oneDNN's sums is known on processors with AVX2 or AVX-512.
knows_the_order = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="oneDNN may add up in another order on this processor",
)


def noise(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def fused(first: Array, second: Array, addend: Array) -> Array:
    """A product and a sum, rounded once.

    The product of two float32 is exact in float64. The sum is rounded there to a neighbour with an odd last bit, which
    float32 then rounds as it would round the exact sum.
    """
    product = first.astype(np.float64) * second
    total = product + addend
    from_addend = total - product
    error = (product - (total - from_addend)) + (addend - from_addend)
    bits = total.view(np.int64)
    towards_exact = np.where((error > 0) == (total > 0), 1, -1)
    odd = np.where((error != 0) & (bits & 1 == 0), bits + towards_exact, bits)
    result: Array = odd.view(np.float64).astype(np.float32)
    return result


def written_out(convolution: Convolution, features: Array) -> Array:
    """The sums of a convolution in XNNPACK's order; features (N, channels, width, height)."""
    outputs, channels, columns, rows = convolution.weight.shape
    features = np.pad(features, ((0, 0), (0, 0), *((amount, amount) for amount in convolution.padding)))
    span = [
        (length - dilation * (taps - 1) - 1) // stride + 1
        for length, dilation, taps, stride in zip(
            features.shape[2:], convolution.dilation, (columns, rows), convolution.stride, strict=True
        )
    ]

    def met(column: int, row: int) -> Array:
        """What a tap of the kernel meets in each window."""
        starts = (column * convolution.dilation[0], row * convolution.dilation[1])
        cuts = [
            slice(start, start + (count - 1) * stride + 1, stride)
            for start, count, stride in zip(starts, span, convolution.stride, strict=True)
        ]
        return features[:, :, cuts[0], cuts[1]]

    sums = np.broadcast_to(convolution.bias[:, None, None], (len(features), outputs, *span)).astype(np.float32)
    if convolution.groups > 1:
        for column in range(columns):
            for row in range(rows):
                sums = fused(met(column, row), convolution.weight[:, 0, column, row, None, None], sums)
        return sums
    for row in range(rows):
        for column in range(columns):
            for channel in range(channels):
                factor = convolution.weight[:, channel, column, row, None, None]
                sums = fused(met(column, row)[:, channel, None], factor, sums)
    return sums


def apply(layer: Callable[[Any], Any], features: Array) -> Array:
    with torch.inference_mode():
        return np.asarray(layer(torch.from_numpy(features)))


convolutions = st.builds(
    lambda seed, outputs, channels, kernel, stride, padding: Convolution(
        noise(seed, outputs, channels, *kernel), noise(seed + 1, outputs), stride, padding
    ),
    seed=st.integers(0, 1000),
    outputs=st.sampled_from((1, 2, 8, 24)),
    channels=st.sampled_from((1, 3, 16, 300)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 1), st.integers(0, 1)),
)


@knows_the_order
@settings(max_examples=25, deadline=None)
@given(convolution=convolutions, items=st.integers(1, 3))
def test_a_convolution_adds_up_row_by_row_and_channel_by_channel_from_the_bias(
    convolution: Convolution, items: int
) -> None:
    features = noise(7, items, convolution.weight.shape[1], 6, 5)
    np.testing.assert_array_equal(apply(in_order(convolution), features), written_out(convolution, features))


@knows_the_order
@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("channels", [6, 32])
def test_a_depthwise_convolution_adds_up_column_by_column_from_the_bias(side: int, stride: int, channels: int) -> None:
    convolution = Convolution(
        noise(1, channels, 1, side, side),
        noise(2, channels),
        stride=(stride, stride),
        padding=(side // 2, side // 2),
        groups=channels,
    )
    features = noise(3, 2, channels, 14, 10)
    np.testing.assert_array_equal(apply(in_order(convolution), features), written_out(convolution, features))


def test_scaling_of_channels_rounds_twice() -> None:
    scaling = Convolution(noise(1, 32, 1, 1, 1), noise(2, 32), groups=32)
    features = noise(3, 2, 32, 4, 5)
    expected = features * scaling.weight[:, 0] + scaling.bias[:, None, None]
    np.testing.assert_array_equal(apply(in_order(scaling), features), expected)


@settings(max_examples=15, deadline=None)
@given(convolution=convolutions, dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)))
def test_both_kinds_of_convolution_compute_the_same(convolution: Convolution, dilation: tuple[int, int]) -> None:
    dilated = replace(convolution, dilation=dilation)
    features = noise(7, 2, convolution.weight.shape[1], 8, 7)
    some, others = apply(in_order(dilated), features), apply(by_library(dilated), features)
    np.testing.assert_allclose(some, others, rtol=1e-4, atol=1e-3)


@knows_the_order
@pytest.mark.parametrize("items", [1, 2, 5])
@pytest.mark.parametrize("terms", [1, 27, 289, 1153])
@pytest.mark.parametrize(("outputs", "places"), [(1, 1), (2, 200), (63, 1), (117, 1), (195, 1), (1152, 49)])
def test_a_product_adds_up_from_the_first_term_to_the_last(terms: int, outputs: int, places: int, items: int) -> None:
    factors, values = noise(1, outputs, terms), noise(2, items, terms, places)
    sums = np.zeros((items, outputs, places), np.float32)
    for term in range(terms):
        sums = fused(factors[:, term, None], values[:, term, None], sums)
    np.testing.assert_array_equal(
        np.asarray(product_in_order(torch.from_numpy(factors), torch.from_numpy(values))), sums
    )


def test_products_elsewhere_than_on_a_cpu_have_the_same_shape() -> None:
    for places in (1, 5):
        factors, values = torch.empty(4, 3, device="meta"), torch.empty(2, 3, places, device="meta")
        assert product_in_order(factors, values).shape == (2, 4, places)


@pytest.mark.parametrize("align_corners", [True, False])
def test_resizing_goes_along_the_width_and_then_along_the_height(align_corners: bool) -> None:
    features = noise(1, 2, 3, 4, 5)
    with torch.inference_mode():
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(features), (8, 10), mode="bilinear", align_corners=align_corners
        )
    resized = apply(ResizeBilinear((4, 5), (8, 10), align_corners), features)
    np.testing.assert_allclose(resized, np.asarray(expected), rtol=1e-5, atol=1e-6)


def test_means_are_added_up_row_by_row() -> None:
    features = noise(1, 2, 9, 7, 7)
    total = np.zeros((2, 9), np.float32)
    for row in range(7):
        for column in range(7):
            total = total + features[:, :, column, row]
    means = np.asarray(mean_of_cells(torch.from_numpy(features)))
    np.testing.assert_array_equal(means, total * np.float32(1 / 49))
    assert mean_of_cells(torch.from_numpy(features).half()).dtype == torch.float16
