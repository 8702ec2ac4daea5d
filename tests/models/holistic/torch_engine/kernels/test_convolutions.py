"""Convolutions as kernels against the engine's layers on a CPU, bit for bit.

The interpreter pays for each step of a program, not for each number, so most tests run large tiles, which is fair
because a tile changes no bit: `test_tiles_change_no_bit` runs the tiles of a GPU on the same layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.gpu_probe import fused_multiply_add
from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    POSE_LANDMARKS,
    NetworkSpec,
)
from phoenix_ray.models.holistic.torch_engine.kernels import convolutions
from phoenix_ray.models.holistic.torch_engine.kernels.convolution_tiles import (
    OutputTile,
    is_worth_fusing,
    separable_tile_of,
    tile_of,
)
from phoenix_ray.models.holistic.torch_engine.kernels.convolutions import convolve, convolve_depthwise, with_pitch
from phoenix_ray.models.holistic.torch_engine.kernels.layers import Activation, DenseLayer, DepthwiseLayer, Ending, Taps
from tests.models.holistic.torch_engine.kernels.network_layers import Kind, Layer, LayerShape, layer_shapes

# Rows of output that are computed of a large plane. Its rows differ only in whether a window reaches beyond the first
# or the last row of the input: a window of five rows, the largest, does so in the first two and last two of these.
ROWS = 5
Array = NDArray[np.float32]
SPECS = (POSE_DETECTION, POSE_LANDMARK, HAND_LANDMARK, FACE_DETECTION, FACE_LANDMARK[468], FACE_LANDMARK[478])

fits_the_order = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"),
    reason="oneDNN may add up in another order on this processor",
)


def power_of_two(count: int, most: int) -> int:
    """Return the least power of two that is not less, up to a limit."""
    return min(1 << (count - 1).bit_length(), most)


@pytest.fixture
def large_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def tile(outputs: int, *_: object) -> OutputTile:
        return OutputTile(power_of_two(outputs, 512), 0, 128, 128, 4)

    monkeypatch.setattr(convolutions, "tile_of", tile)
    monkeypatch.setattr(convolutions, "separable_tile_of", tile)
    monkeypatch.setattr(convolutions, "DEPTHWISE_TILE", OutputTile(128, 0, 128, 1, 4))


def assert_same_bits(expected: torch.Tensor, found: torch.Tensor, what: object = "") -> None:
    same = expected.contiguous().view(torch.int32) == found.contiguous().view(torch.int32)
    assert same.all(), f"{same.logical_not().sum()} of {same.numel()} differ: {what}"


def check(shape: LayerShape, items: int = 1, seed: int = 0) -> None:
    layer = Layer(shape, items, np.random.default_rng(seed))
    assert_same_bits(layer.reference(), layer.run(), shape)


def check_network(weights: Path, spec: NetworkSpec, known: Sequence[NetworkSpec] = ()) -> None:
    """Check each layer of a network that others do not have."""
    shapes = dict.fromkeys(shape.cut(ROWS) for shape in layer_shapes(weights, spec))
    assert len(shapes) > 10
    elsewhere = {shape.cut(ROWS) for other in known for shape in layer_shapes(weights, other)}
    for shape in shapes.keys() - elsewhere:
        check(shape, items=1 if math.prod(shape.out_size) > 64 else 2)


@fits_the_order
@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    SPECS,
    ids=lambda spec: spec.file,
)
@pytest.mark.usefixtures("large_tiles")
def test_each_layer_of_a_network_has_the_bits_of_the_cpu(weights: Path, spec: NetworkSpec) -> None:
    check_network(weights, spec, known=SPECS[: SPECS.index(spec)])


@fits_the_order
@pytest.mark.slow
@pytest.mark.parametrize("complexity", [0, 2])
@pytest.mark.usefixtures("large_tiles")
def test_each_layer_of_the_lite_and_heavy_pose_networks_has_the_bits_of_the_cpu(
    all_weights: Path, complexity: int
) -> None:
    check_network(all_weights, POSE_LANDMARKS[complexity], known=SPECS)


@fits_the_order
def test_each_layer_of_the_smallest_network_has_the_bits_of_the_cpu_with_the_tiles_of_a_gpu(weights: Path) -> None:
    check_network(weights, HAND_RECROP)


@fits_the_order
@pytest.mark.usefixtures("large_tiles")
@pytest.mark.parametrize("kind", ["dense", "depthwise", "separable"])
def test_a_large_plane_that_is_not_cut_has_the_bits_of_the_cpu(kind: Kind) -> None:
    taps = Taps((3, 3), (2, 2), (0, 0))
    check(LayerShape(kind, 3, 3 if kind == "depthwise" else 24, (112, 112), (56, 56), taps, activation="relu6"))


TILES = sorted(
    {
        *((OutputTile(*tile_of(outputs, cells, windows)), "dense") for outputs in range(1, 400) for cells in (9, 100)
          for windows in (True, False)),
        *((OutputTile(*separable_tile_of(outputs)), "separable") for outputs in range(1, 400)),
    }
)  # fmt: skip


@fits_the_order
@pytest.mark.parametrize(("tile", "kind"), TILES)
def test_tiles_change_no_bit(tile: OutputTile, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """More outputs, cells and terms than a tile has, and of each a part of a tile."""
    monkeypatch.setattr(convolutions, "tile_of", lambda *_: tile)
    monkeypatch.setattr(convolutions, "separable_tile_of", lambda *_: tile)
    outputs, channels = tile.height + 3, tile.depth + 5
    shape = LayerShape(
        kind, channels, outputs, (11, 9), (11, 9), Taps(padding=(0, 0)), "relu6", "prelu", 7, True, "relu"
    )
    if kind == "separable":
        shape = replace(shape, taps=Taps((3, 3), padding=(1, 1)))
    check(shape, items=2)


kinds: st.SearchStrategy[Kind] = st.sampled_from(("dense", "depthwise", "separable"))
activations: st.SearchStrategy[Activation] = st.sampled_from(("none", "relu", "relu6", "prelu"))


@st.composite
def shapes(draw: st.DrawFn) -> LayerShape:
    kind = draw(kinds)
    channels = draw(st.integers(1, 40))
    outputs = channels if kind == "depthwise" else draw(st.integers(1, 70))
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    taps = Taps(draw(pair), draw(pair), draw(st.tuples(st.integers(0, 2), st.integers(0, 2))), draw(pair))
    if kind == "separable" and taps.size == taps.stride == (1, 1):
        taps = taps._replace(stride=(2, 1))
    pooled, has_residual = draw(st.booleans()), draw(st.booleans())
    return LayerShape(
        kind,
        channels,
        outputs,
        draw(st.tuples(st.integers(1, 8), st.integers(1, 9))),
        # More or fewer windows than fit: the plane ends where the output says.
        draw(st.tuples(st.integers(1, 7), st.integers(1, 8))),
        taps,
        between=draw(activations),
        activation=draw(activations),
        residual_channels=draw(st.integers(1, outputs)) if has_residual else 0,
        pooled=pooled and has_residual,
        last=draw(activations) if has_residual else "none",
        channels_last=draw(st.booleans()),
    )


@fits_the_order
@pytest.mark.usefixtures("large_tiles")
@settings(max_examples=60, deadline=None)
@example(LayerShape("depthwise", 3, 3, (4, 5), (7, 6), Taps(padding=(1, 2))), 2, 0)
@given(shape=shapes(), items=st.integers(1, 4), seed=st.integers(0, 99))
def test_any_layer_has_the_bits_of_the_cpu(shape: LayerShape, items: int, seed: int) -> None:
    check(shape, items, seed)


def added_up(factors: Array, values: Array, start: Array) -> Array:
    """Return, for each output, start + the products of factors (terms, outputs) and values (terms,) one by one."""
    for factor, value in zip(factors, values, strict=True):
        start = fused_multiply_add(factor, value, start)
    return start


def test_a_sum_starts_with_the_bias_and_takes_row_by_row_then_channel_by_channel() -> None:
    """Any other order, or the bias at the end, gives other numbers."""
    random = np.random.default_rng(1)
    weight, features = random.standard_normal((2, 3, 5, 40), np.float32), random.standard_normal((2, 3, 5), np.float32)
    bias = random.standard_normal(40, np.float32)
    nothing = np.zeros_like(bias)

    def total(*order: int) -> Array:
        return added_up(weight.transpose(*order, 3).reshape(30, 40), features.transpose(order).ravel(), bias)

    factors, values = weight.reshape(30, 40), features.ravel()
    halves = added_up(factors[:15], values[:15], bias) + added_up(factors[15:], values[15:], nothing)
    expected, others = total(0, 1, 2), [total(1, 0, 2), total(2, 0, 1), total(0, 2, 1), halves]
    others += [added_up(factors[::-1], values[::-1], bias), added_up(factors, values, nothing) + bias]
    assert all((expected != other).any() for other in others)

    layer = DenseLayer(torch.from_numpy(factors), torch.from_numpy(bias), Taps((2, 3)))
    out = torch.empty(1, 40, 1, 1)
    convolve(torch.from_numpy(features.transpose(2, 0, 1)[None].copy()), layer, Ending(), out)
    np.testing.assert_array_equal(out.flatten(), expected)


def test_a_depthwise_sum_starts_with_the_bias_and_takes_column_by_column() -> None:
    random = np.random.default_rng(2)
    weight, features = random.standard_normal((2, 3, 3, 40), np.float32)
    bias = random.standard_normal(40, np.float32)

    def total(across: int, down: int, start: Array) -> Array:
        factors, values = weight.transpose(across, down, 2), features.transpose(across, down, 2)
        for factor, value in zip(factors.reshape(9, 40), values.reshape(9, 40), strict=True):
            start = fused_multiply_add(factor, value, start)
        return start

    expected = total(1, 0, bias)
    assert (expected != total(0, 1, bias)).any()
    assert (expected != total(1, 0, np.zeros_like(bias)) + bias).any()
    columns = torch.from_numpy(weight.transpose(2, 1, 0).reshape(40, 9).copy())
    out = torch.empty(1, 40, 1, 1)
    maps = torch.from_numpy(features.transpose(2, 0, 1)[None].copy())
    convolve_depthwise(maps, DepthwiseLayer(columns, torch.from_numpy(bias), Taps((3, 3))), Ending(), out)
    np.testing.assert_array_equal(out.flatten(), expected)


def test_a_scaling_of_channels_rounds_the_product_before_it_adds_the_bias() -> None:
    factor, value = np.float32(1 + 2**-12), np.float32(1 + 2**-12)
    rounded = factor * value - np.float32(1)
    assert rounded != fused_multiply_add(factor, value, np.float32(-1))
    layer = DepthwiseLayer(torch.tensor([[factor]]), torch.tensor([-1.0]), Taps())
    out = torch.empty(1, 1, 2, 2)
    convolve_depthwise(torch.full((1, 1, 2, 2), float(value)), layer, Ending(), out)
    assert (out == float(rounded)).all()


@pytest.mark.parametrize("kind", ["dense", "depthwise", "separable"])
def test_an_item_has_the_same_bits_in_any_batch(kind: Kind) -> None:
    taps = Taps((3, 3), (1, 1), (1, 1))
    shape = LayerShape(kind, 20, 20, (5, 5), (5, 5), taps, "relu6", residual_channels=20, last="relu")
    layer = Layer(shape, 9, np.random.default_rng(3))
    together = layer.run().clone()
    features, residual, out = layer.features, layer.ending.residual, layer.out
    assert residual is not None
    for first, count in ((0, 1), (3, 5), (8, 1)):
        items = slice(first, first + count)
        layer.features, layer.out = features[items], out[items]
        layer.ending = replace(layer.ending, residual=residual[items])
        assert_same_bits(together[items], layer.run())


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("kind", ["dense", "depthwise", "separable"])
def test_an_output_may_be_a_slice_of_a_concatenation(kind: Kind, channels_last: bool) -> None:
    shape = LayerShape(kind, 12, 12, (4, 6), (4, 6), Taps((3, 3), (1, 1), (1, 1)))
    layer = Layer(shape, 2, np.random.default_rng(4))
    expected = layer.run().clone()
    if channels_last:
        whole = torch.full((2, 100, 12), math.nan)
        layer.out = whole[:, 30:54].unflatten(1, (4, 6)).permute(0, 3, 1, 2)
    else:
        whole = torch.full((2, 30, 4, 6), math.nan)
        layer.out = whole[:, 10:22]
    assert_same_bits(expected, layer.run())
    assert int(whole.isnan().sum()) == whole.numel() - expected.numel()


def test_an_output_may_have_neither_cells_nor_channels_side_by_side() -> None:
    layer = Layer(LayerShape("dense", 5, 6, (3, 4), (3, 4)), 2, np.random.default_rng(5))
    expected = layer.run().clone()
    layer.out = torch.empty(2, 3, 4, 6, 2)[..., 1].permute(0, 3, 1, 2)
    assert_same_bits(expected, layer.run())


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
@pytest.mark.parametrize("kind", ["dense", "separable"])
def test_half_precision_stays_near(kind: Kind, precision: str) -> None:
    """In the interpreter 'tf32' rounds nothing; a GPU's test of networks has its pixels."""
    dtype = torch.float16 if precision == "fp16" else torch.float32
    shape = LayerShape(kind, 40, 24, (6, 6), (6, 6), Taps((3, 3), (1, 1), (1, 1)), "relu6", "relu", 24, last="relu")
    layer = Layer(shape, 2, np.random.default_rng(6), dtype)
    assert layer.run("tf32" if precision == "tf32" else "exact").dtype == dtype
    torch.testing.assert_close(layer.out.float(), layer.reference(), rtol=4e-3, atol=4e-2)


def test_weights_in_float32_make_sums_of_halves_exact() -> None:
    """As the last layers of half precision have it."""
    layer = Layer(LayerShape("dense", 40, 24, (6, 6), (6, 6)), 2, np.random.default_rng(7))
    layer.features = layer.features.half()
    assert_same_bits(layer.reference(), layer.run())


def test_a_separable_convolution_is_fused_unless_it_would_be_computed_for_many_blocks_of_outputs() -> None:
    def layers(outputs: int, side: int, taps: Taps | None = None) -> tuple[DepthwiseLayer, DenseLayer]:
        depthwise = DepthwiseLayer(torch.empty(8, side * side), torch.empty(8), taps or Taps((side, side)))
        return depthwise, DenseLayer(torch.empty(8, outputs), torch.empty(outputs), Taps())

    assert is_worth_fusing(*layers(192, side=5))
    assert is_worth_fusing(*layers(288, side=3))
    assert not is_worth_fusing(*layers(288, side=5))
    assert not is_worth_fusing(*layers(1152, side=3))
    assert not is_worth_fusing(*layers(16, side=1))


def test_padded_weights_are_the_same_weights() -> None:
    layer = DenseLayer(torch.rand(5, 24), torch.rand(24), Taps())
    padded = with_pitch(layer)
    assert torch.equal(padded.weight, layer.weight)
    assert padded.weight.stride() == (32, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.empty(2, 5, 4, 4)}, "does not fit features"),
        ({"features": torch.empty(2, 4, 4, 6).transpose(1, 3)}, "make them contiguous"),
        ({"out": torch.empty(2, 7, 4, 4)}, "does not fit 2 items of 8 channels"),
        ({"out": torch.empty(2, 8, 4, 5)[..., :4]}, "do not follow each other"),
        ({"ending": Ending(residual=torch.empty(2, 8, 4, 4), pooled=True)}, "does not fit an output"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {
        "features": torch.empty(2, 6, 4, 4),
        "layer": DenseLayer(torch.empty(6, 8), torch.empty(8), Taps()),
        "ending": Ending(),
        "out": torch.empty(2, 8, 4, 4),
    }
    with pytest.raises(ValueError, match=message):
        convolve(**{**given, **change})
