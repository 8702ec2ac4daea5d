"""What a convolution of a network is to a kernel: weights on the device, where it looks, and what ends it.

Feature maps are (N, channels, height, width), float32 or, in half precision, float16. `convolutions` computes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

Activation = Literal["none", "relu", "relu6", "prelu"]


class Taps(NamedTuple):
    """Where a convolution looks; pairs are rows, then columns.

    Attributes:
        size: Cells of the window.
        stride: Cells from one window to the next.
        padding: Zeros before the first row and the first column; beyond the last there are as many as windows need.
        dilation: Cells from one tap of a window to the next.
    """

    size: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A convolution over all channels, or a fully connected layer (one cell).

    Attributes:
        weight: (rows * columns * channels, outputs): XNNPACK's order of the sum, row by row, then channel by channel.
        bias: float32 (outputs,): the sum starts with it.
        taps: Where it looks.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    taps: Taps


@dataclass(frozen=True, slots=True)
class DepthwiseLayer:
    """A convolution of each channel on its own.

    Attributes:
        weight: (channels, columns * rows): XNNPACK's order of the sum, column by column.
        bias: float32 (channels,): the sum starts with it.
        taps: Where it looks.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    taps: Taps

    @property
    def scales(self) -> bool:
        """Whether it is a multiplication and an addition, each rounded (`torch_engine.layers.ChannelScaling`)."""
        return self.taps.size == (1, 1) and self.taps.stride == (1, 1)


@dataclass(frozen=True, slots=True)
class Ending:
    """What follows the sums in the same kernel, in this order.

    Attributes:
        activation: The first activation.
        slope: float32 (outputs,) of the activation 'prelu'.
        residual: Feature map that is added then, (N, channels, height, width) of the output; channels beyond its own
            are zeros. Where `pooled`, the maximum of each 2 x 2 cells of it is added, so it is twice as high and wide.
        pooled: Whether the residual is pooled.
        last: Activation of the sum.
        last_slope: float32 (outputs,) of the last activation 'prelu'.
    """

    activation: Activation = "none"
    slope: torch.Tensor | None = None
    residual: torch.Tensor | None = None
    pooled: bool = False
    last: Activation = "none"
    last_slope: torch.Tensor | None = None
