"""The steps of a network on a GPU: each is one kernel, or, where it says so, only another look at the same memory.

Steps are data: `network_plan` makes them from a file and fuses them, `networks` runs them. Tensors have the names and
shapes of the file, (1, height, width, channels) for feature maps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch

from phoenix_ray.models.holistic.attention import RegionOfFace
from phoenix_ray.models.holistic.torch_engine.kernels.layers import Activation, DenseLayer, DepthwiseLayer, Taps


@dataclass(frozen=True, slots=True)
class Activate:
    """Stage of a finish: an activation.

    Attributes:
        kind: Which one.
        slope: float32 (channels,) of 'prelu'.
    """

    kind: Activation
    slope: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """Stage of a finish: a multiplication, then an addition; each is rounded.

    Attributes:
        factor: float32 (channels,).
        shift: float32 (channels,); None adds nothing.
    """

    factor: torch.Tensor
    shift: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class AddMap:
    """Stage of a finish: another map is added.

    Attributes:
        tensor: Its name.
        channels: How many of its channels are added; beyond them, zeros are.
        pooled: Whether the maximum of each 2 x 2 cells of it is added; it is twice as high and wide then.
    """

    tensor: str
    channels: int
    pooled: bool = False


Stage = Activate | Scale | AddMap


@dataclass(frozen=True, slots=True)
class Finish:
    """What follows in the same kernel, stage after stage: an activation, a scaling, a sum, the sum's activation.

    Each of the four may be missing. Without a scaling and a sum there is one activation at most.
    """

    activation: Activate | None = None
    scale: Scale | None = None
    sum: AddMap | None = None
    last: Activate | None = None

    def stages(self) -> Iterator[Stage]:
        """Iterate over the stages that are there, in order."""
        for stage in (self.activation, self.scale, self.sum, self.last):
            if stage is not None:
                yield stage

    @classmethod
    def of(cls, stages: Sequence[Stage]) -> Finish | None:
        """Return the finish of some stages in this order; None where no kernel has them in one."""
        finish = cls()
        for stage in stages:
            before = [*finish.stages()]
            match stage:
                case Activate() if not before:
                    finish = replace(finish, activation=stage)
                case Activate() if isinstance(before[-1], Scale | AddMap):
                    finish = replace(finish, last=stage)
                case Scale() if not before or before[-1] is finish.activation:
                    finish = replace(finish, scale=stage)
                case AddMap() if finish.sum is None and finish.last is None:
                    finish = replace(finish, sum=stage)
                case _:
                    return None
        return finish

    def then(self, later: Finish) -> Finish | None:
        """Return both in one, None where no kernel has them in one."""
        return Finish.of([*self.stages(), *later.stages()])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """A step from tensors to a tensor.

    Attributes:
        output: The tensor that it computes.
        source: The tensor that it computes it from.
    """

    output: str
    source: str

    @property
    def sources(self) -> tuple[str, ...]:
        """All tensors that it reads, one as often as it reads it."""
        return (self.source,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finishing(Step):
    """A step whose kernel has a finish.

    Attributes:
        finish: What follows in the same kernel.
    """

    finish: Finish = field(default_factory=Finish)

    @property
    def sources(self) -> tuple[str, ...]:
        """All tensors that it reads."""
        return (self.source,) if self.finish.sum is None else (self.source, self.finish.sum.tensor)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dense(Finishing):
    """A convolution over all channels, or a fully connected layer."""

    layer: DenseLayer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Depthwise(Finishing):
    """A convolution of each channel on its own."""

    layer: DepthwiseLayer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Separable(Finishing):
    """A depthwise convolution and a pointwise one, in one kernel.

    Attributes:
        depthwise: The first.
        between: Activation of its sums.
        layer: The second.
    """

    depthwise: DepthwiseLayer
    between: Activate | None
    layer: DenseLayer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Elementwise(Finishing):
    """A finish alone: stages on each value."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resizing(Step):
    """Bilinear resizing.

    Attributes:
        align_corners: Whether the centres of the first and last cells stay in place, or the edges of the map.
        added: Map that is added then; None adds nothing.
    """

    align_corners: bool
    added: str | None = None

    @property
    def sources(self) -> tuple[str, ...]:
        """All tensors that it reads."""
        return (self.source,) if self.added is None else (self.source, self.added)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaxPool(Step):
    """Maximum of each window; cells outside of the map never win.

    Attributes:
        taps: The windows.
    """

    taps: Taps

    @property
    def halves(self) -> bool:
        """Whether windows are 2 x 2 cells, side by side, and none outside."""
        return self.taps == Taps((2, 2), (2, 2))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthToSpace(Step):
    """Spreads channels over blocks of cells.

    Attributes:
        block: Cells along a block's side.
    """

    block: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CellMean(Step):
    """Mean over all cells of each channel, added up row by row."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pad(Step):
    """Zeros around a map or behind its channels. It runs inside of the steps that read it, or not at all.

    Attributes:
        rows: Zeros before and after.
        columns: Zeros before and after.
        channels: Zeros before and after.
    """

    rows: tuple[int, int]
    columns: tuple[int, int]
    channels: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FirstChannels(Step):
    """The first channels of a map. It runs inside of the step that reads it, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reshape(Step):
    """The same values in the same order, in another shape: another look at the same memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Join(Step):
    """Tensors one behind the other: those who compute them write into its memory.

    Attributes:
        parts: The tensors; `source` is the first.
        starts: Where each begins among the values of an item.
    """

    parts: tuple[str, ...]
    starts: tuple[int, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """All tensors that it reads."""
        return self.parts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RegionTransform(Step):
    """Matrix of a part of the face from its landmarks, `attention.landmarks_to_transform`.

    Attributes:
        region: The part.
    """

    region: RegionOfFace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample(Step):
    """Samples of a map on a grid, `attention.sample_bilinear`.

    Attributes:
        transform: The tensor of matrices from the grid to the map.
    """

    transform: str

    @property
    def sources(self) -> tuple[str, ...]:
        """All tensors that it reads."""
        return (self.source, self.transform)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MoveLandmarks(Step):
    """Landmarks moved by matrices, `attention.transform_landmarks`.

    Attributes:
        transform: The tensor of matrices.
    """

    transform: str

    @property
    def sources(self) -> tuple[str, ...]:
        """All tensors that it reads."""
        return (self.source, self.transform)


def channels_of(shape: Sequence[int]) -> int:
    """Return the channels of a tensor of the file's shape: those of a map, all values of another."""
    return shape[3] if len(shape) == 4 else math.prod(shape)
