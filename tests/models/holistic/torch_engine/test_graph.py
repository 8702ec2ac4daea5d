"""Single operators with made-up networks; `test_torch_networks` compares whole ones with LiteRT."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray.models.holistic.tflite import Network, Operator

torch = pytest.importorskip("torch")

from ai_edge_litert import schema_py_generated as schema  # noqa: E402

from phoenix_ray.models.holistic.torch_engine import graph  # noqa: E402

Array = NDArray[np.float32]


def run(
    name: str,
    images: Array,
    output_shape: tuple[int, ...],
    *constants: NDArray[Any],
    custom: bytes = b"",
    **options: Any,
) -> Array:
    """Run one operator on images (N, height, width, channels)."""
    names = [f"constant {position}" for position in range(len(constants))]
    network = Network(
        input="images",
        outputs=("result",),
        shapes={"images": (1, *images.shape[1:]), "result": (1, *output_shape)},
        constants=dict(zip(names, constants, strict=True)),
        operators=(Operator(name, ("images", *names), ("result",), SimpleNamespace(**options), custom),),
    )
    module = graph.build_module(network)
    (result,) = module(torch.from_numpy(images).permute(0, 3, 2, 1))
    values: Array = result.detach().numpy()
    return values


def counting(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


CONVOLUTION: dict[str, Any] = {"dilationHFactor": 1, "dilationWFactor": 1, "fusedActivationFunction": 0}


def test_same_padding_of_a_stride_of_two_adds_the_odd_row_and_column_behind() -> None:
    images = counting(1, 4, 6, 1)
    sums = run(
        "CONV_2D", images, (2, 3, 1), np.ones((1, 3, 3, 1), "f4"), padding=0, strideH=2, strideW=2, **CONVOLUTION
    )
    padded = np.pad(images[0, :, :, 0], ((0, 1), (0, 1)))
    expected = [[padded[row : row + 3, column : column + 3].sum() for column in (0, 2, 4)] for row in (0, 2)]
    np.testing.assert_array_equal(sums[0, :, :, 0], expected)


def test_same_padding_of_a_pool_never_wins() -> None:
    pooled = run(
        "MAX_POOL_2D",
        -1 - counting(1, 3, 3, 1),
        (2, 2, 1),
        padding=0,
        filterHeight=2,
        filterWidth=2,
        strideH=2,
        strideW=2,
        fusedActivationFunction=0,
    )
    np.testing.assert_array_equal(pooled[0, :, :, 0], [[-1, -3], [-7, -9]])


def test_depthwise_convolution_keeps_channels_apart() -> None:
    images = counting(2, 2, 2, 3)
    weight = np.array([1, 10, 100], "f4").reshape(1, 1, 1, 3)
    bias = np.array([0, 0, 7], "f4")
    result = run("DEPTHWISE_CONV_2D", images, (2, 2, 3), weight, bias, padding=1, strideH=1, strideW=1, **CONVOLUTION)
    np.testing.assert_array_equal(result, images * [1, 10, 100] + [0, 0, 7])


def test_depth_to_space_has_the_place_in_the_block_as_slower_part_of_the_channel() -> None:
    images = counting(2, 1, 2, 8)
    result = run("DEPTH_TO_SPACE", images, (2, 4, 2), blockSize=2)
    expected = images.reshape(2, 1, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(2, 2, 4, 2)
    np.testing.assert_array_equal(result, expected)


def test_reshape_reads_channels_fastest_and_keeps_items_apart() -> None:
    images = counting(3, 2, 2, 4)
    np.testing.assert_array_equal(run("RESHAPE", images, (8, 2)), images.reshape(3, 8, 2))
    np.testing.assert_array_equal(run("RESHAPE", images, (1, 8, 2)), images.reshape(3, 1, 8, 2))


def test_slices_count_in_the_order_of_the_file() -> None:
    images = counting(2, 4, 5, 6)
    bounds = [np.array(values, np.int32) for values in ([0, 1, 0, 2], [1, 3, 5, 6], [1, 1, 2, 1])]
    masks: dict[str, Any] = dict.fromkeys(("beginMask", "endMask", "ellipsisMask", "newAxisMask", "shrinkAxisMask"), 0)
    np.testing.assert_array_equal(run("STRIDED_SLICE", images, (2, 3, 4), *bounds, **masks), images[:, 1:3, 0:5:2, 2:6])


def test_padding_may_add_channels() -> None:
    images = counting(2, 2, 2, 2)
    amounts = np.array([[0, 0], [1, 0], [0, 2], [0, 3]], np.int32)
    expected = np.pad(images, amounts.tolist())
    np.testing.assert_array_equal(run("PAD", images, (3, 4, 5), amounts), expected)


@pytest.mark.parametrize(("align_corners", "expected"), [(True, [0, 1 / 3, 2 / 3, 1]), (False, [0, 0.25, 0.75, 1])])
def test_resizing_aligns_corners_or_centres(align_corners: bool, expected: list[float]) -> None:
    images = np.array([0, 1], "f4").reshape(1, 1, 2, 1)
    resized = run(
        "RESIZE_BILINEAR",
        images,
        (1, 4, 1),
        np.array([1, 4], np.int32),
        alignCorners=align_corners,
        halfPixelCenters=not align_corners,
    )
    np.testing.assert_allclose(resized.ravel(), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("SOFTMAX", {}, "operator SOFTMAX is not known"),
        ("RESIZE_BILINEAR", {"alignCorners": False, "halfPixelCenters": False}, "RESIZE_BILINEAR aligns neither"),
    ],
)
def test_what_is_not_known_is_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(name, counting(1, 2, 2, 1), (4, 4, 1), **options)


def test_an_unknown_activation_is_named() -> None:
    options = {**CONVOLUTION, "fusedActivationFunction": schema.ActivationFunctionType.TANH}
    with pytest.raises(ValueError, match="activation 4 is not known"):
        run(
            "CONV_2D",
            counting(1, 2, 2, 1),
            (2, 2, 1),
            np.ones((1, 1, 1, 1), "f4"),
            padding=1,
            strideH=1,
            strideW=1,
            **options,
        )


def test_padding_before_a_convolution_becomes_part_of_it() -> None:
    shapes = {"images": (1, 4, 4, 1), "padded": (1, 6, 6, 1), "result": (1, 4, 4, 1)}
    around = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)
    options = SimpleNamespace(padding=schema.Padding.VALID, strideH=1, strideW=1, **CONVOLUTION)
    network = Network(
        "images",
        ("result",),
        shapes,
        {"around": around, "weight": np.ones((1, 3, 3, 1), "f4")},
        (
            Operator("PAD", ("images", "around"), ("padded",), None, b""),
            Operator("CONV_2D", ("padded", "weight"), ("result",), options, b""),
        ),
    )
    module = graph.build_module(network)
    (sums,) = module(torch.ones(1, 1, 4, 4))
    assert [node.op for node in module.graph.nodes].count("call_function") == 0
    np.testing.assert_array_equal(sums.detach()[0, :, :, 0], [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]])
