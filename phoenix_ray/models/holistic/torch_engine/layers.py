"""Layers of the torch networks: convolutions that add up in the CPU engine's order, or in that of torch's libraries.

XNNPACK, which computes inside LiteRT and MediaPipe, starts each sum with the bias and adds product after product,
rounding once for both (fused multiply-add): a convolution's products row by row of its kernel and channel by channel, a
depthwise convolution's column by column. A last bit becomes tenths of pixels two networks later, so the order of the
sums decides how near landmarks are. `in_order` keeps it; `by_library` leaves it to cuDNN or oneDNN. `graph` takes
either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Convolution:
    """What a convolution of feature maps (N, channels, width, height) does; pairs are along width, then height.

    Attributes:
        weight: float32 (outputs, channels / groups, kernel's columns, kernel's rows).
        bias: float32 (outputs,).
        stride: Cells from one window to the next.
        padding: Cells of zeros added on both sides.
        dilation: Cells from one tap of a window to the next.
        groups: 1; for a depthwise convolution the number of channels.
    """

    weight: FloatArray
    bias: FloatArray
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


MakeLayer = Callable[[Convolution], nn.Module]


def by_library(convolution: Convolution) -> nn.Module:
    """Return a convolution that adds up in whatever order is fastest."""
    outputs, channels, columns, rows = convolution.weight.shape
    layer = nn.Conv2d(
        convolution.groups * channels,
        outputs,
        (columns, rows),
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
    )
    layer.weight.data = torch.from_numpy(np.array(convolution.weight))
    layer.bias.data = torch.from_numpy(np.array(convolution.bias))
    return layer


def in_order(convolution: Convolution) -> nn.Module:
    """Return a convolution that adds up in XNNPACK's order.

    On a CPU the sums are the same bits. On a GPU they are as far as cuBLAS adds up the products of a matrix in order.
    """
    if convolution.groups == 1:
        return ConvolutionInOrder(convolution)
    if convolution.weight.shape[1:] == (1, 1, 1) and convolution.stride == (1, 1):
        return ChannelScaling(convolution)
    return DepthwiseInOrder(convolution)


class ConvolutionInOrder(nn.Module):  # type: ignore[misc]  # torch is not analysed
    """A convolution as a product of matrices, with the bias as the factor of a leading 1."""

    def __init__(self, convolution: Convolution) -> None:
        super().__init__()
        outputs, _, self._columns, self._rows = convolution.weight.shape
        self._stride, self._dilation = convolution.stride, convolution.dilation
        self._padding = convolution.padding
        row_by_row = convolution.weight.transpose(0, 3, 2, 1).reshape(outputs, -1)
        factors = np.concatenate([convolution.bias[:, None], row_by_row], axis=1)
        self.register_buffer("factors", torch.from_numpy(factors))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return float32 (N, outputs, width, height) for features (N, channels, width, height)."""
        if any(self._padding):
            along_width, along_height = self._padding
            features = functional.pad(features, (along_height, along_height, along_width, along_width))
        # For each column and row of the kernel, the slices along width and height that it is multiplied with.
        widths = self._slices(features.shape[2], axis=0, taps=self._columns)
        heights = self._slices(features.shape[3], axis=1, taps=self._rows)
        taps = [features[:, :, width, height] for height in heights for width in widths]
        values = torch.cat([torch.ones_like(taps[0][:, :1]), *taps], dim=1)
        return product_in_order(self.factors, values.flatten(2)).unflatten(2, values.shape[2:])

    def _slices(self, length: int, axis: int, taps: int) -> list[slice]:
        stride, dilation = self._stride[axis], self._dilation[axis]
        reach = (length - dilation * (taps - 1) - 1) // stride * stride + 1
        return [slice(dilation * tap, dilation * tap + reach, stride) for tap in range(taps)]


class DepthwiseInOrder(nn.Module):  # type: ignore[misc]  # torch is not analysed
    """A convolution of each channel on its own.

    Torch's kernels for contiguous feature maps, channel after channel, also start with the bias and go along the last
    axis first: the height here.
    """

    def __init__(self, convolution: Convolution) -> None:
        super().__init__()
        self.layer = by_library(convolution)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return float32 (N, outputs, width, height) for features (N, channels, width, height)."""
        result: torch.Tensor = self.layer(features.contiguous())
        return result


class ChannelScaling(nn.Module):  # type: ignore[misc]  # torch is not analysed
    """A depthwise convolution of single cells: a multiplication and an addition, each rounded as in MediaPipe.

    `tflite_surgery.split_channel_scaling` does the same for LiteRT.
    """

    def __init__(self, convolution: Convolution) -> None:
        super().__init__()
        self.register_buffer("scale", torch.from_numpy(np.array(convolution.weight)).reshape(-1, 1, 1))
        self.register_buffer("bias", torch.from_numpy(np.array(convolution.bias)).reshape(-1, 1, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return float32 (N, channels, width, height) for features of that shape."""
        result: torch.Tensor = features * self.scale + self.bias
        return result


class ResizeBilinear(nn.Module):  # type: ignore[misc]  # torch is not analysed
    """Resizes feature maps along the width, then along the height, and rounds each step as XNNPACK does.

    Args:
        source: Cells along width and height.
        target: Cells along width and height of the result.
        align_corners: Whether the centres of the first and last cells stay in place, or the edges of the map.
    """

    def __init__(self, source: tuple[int, int], target: tuple[int, int], align_corners: bool) -> None:
        super().__init__()
        for axis, lengths in (("width", (source[0], target[0])), ("height", (source[1], target[1]))):
            first, second, share = neighbours(*lengths, align_corners)
            self.register_buffer(f"{axis}_first", torch.from_numpy(first))
            self.register_buffer(f"{axis}_second", torch.from_numpy(second))
            self.register_buffer(f"{axis}_share", torch.from_numpy(share))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return (N, channels, width, height) of the target."""
        first, second = features.index_select(2, self.width_first), features.index_select(2, self.width_second)
        wide = first + (second - first) * self.width_share[:, None]
        first, second = wide.index_select(3, self.height_first), wide.index_select(3, self.height_second)
        return first + (second - first) * self.height_share


def mean_of_cells(features: torch.Tensor) -> torch.Tensor:
    """Return the means (N, channels) of feature maps (N, channels, width, height), added up row by row."""
    cells = features.transpose(2, 3).flatten(2).to(torch.float32).unbind(2)
    total = cells[0]
    for cell in cells[1:]:
        total = total + cell
    return (total * (1 / len(cells))).to(features.dtype)


def product_in_order(factors: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return float32 (N, M, P): factors (M, K) times values (N, K, P), added up from the first of K to the last."""
    if values.device.type == "cpu" and torch.backends.mkldnn.is_available():
        # A matrix product adds up blocks of K, then the blocks. A kernel as long as an image of one channel does not.
        # With AVX-512, oneDNN adds up an image of a single column differently, so all such columns become one image.
        is_column = values.shape[2] == 1
        image = values[:, :, 0].T[None, None] if is_column else values.unsqueeze(1)
        kernels = factors[:, None, :, None]
        product: torch.Tensor = torch.ops.aten.mkldnn_convolution(image, kernels, None, [0, 0], [1, 1], [1, 1], 1)
        return product[0].permute(2, 0, 1) if is_column else product.squeeze(2)
    if values.shape[2] == 1:
        # For such small products cuBLAS would split K.
        return torch.mm(factors, values[:, :, 0].T).T[:, :, None]
    return torch.bmm(factors.expand(len(values), -1, -1), values)


def neighbours(
    source: int, target: int, align_corners: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Return, for each cell along an axis of a resized map, the source's two around it and the share of the second.

    Args:
        source: Cells along the axis.
        target: Cells along it afterwards.
        align_corners: Whether the centres of the first and last cells stay in place, or the edges of the map.
    """
    cells = np.arange(target, dtype=np.float32)
    if align_corners:
        place = cells * np.float32((source - 1) / max(target - 1, 1))
    else:
        place = ((cells + np.float32(0.5)) * np.float32(source / target) - np.float32(0.5)).clip(0, source - 1)
    first = np.floor(place).astype(np.int64).clip(0, source - 1)
    return first, (first + 1).clip(0, source - 1), (place - first).astype(np.float32)
