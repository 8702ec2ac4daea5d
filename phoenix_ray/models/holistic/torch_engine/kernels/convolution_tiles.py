"""How the work of a convolution is shared out among programs, and when two convolutions are one kernel.

Sizes follow from a layer's shape alone, so that the same layer always runs the same code; nothing is tried out at run
time. They were chosen by what Triton's assembler says for sm_90: registers of a thread, without spilling any to memory,
and multiply-adds by instruction. A tile changes no bit of a result.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from phoenix_ray.models.holistic.torch_engine.kernels.layers import DenseLayer, DepthwiseLayer, Taps

# Layers whose planes have at most so many cells get small tiles, as there are few outputs to share out.
_FEW_CELLS = 16


class OutputTile(NamedTuple):
    """What one program computes.

    Attributes:
        outputs: Channels of the output, a power of two.
        rest: Channels more, 0 or a lesser power of two.
        cells: Cells of the output, of one or more items.
        depth: Terms of the sums at a time.
        warps: Warps that share the work.
    """

    outputs: int
    rest: int
    cells: int
    depth: int
    warps: int

    @property
    def height(self) -> int:
        """All its outputs."""
        return self.outputs + self.rest


DEPTHWISE_TILE = OutputTile(8, 0, 128, 1, 4)
_SEPARABLE_TILES = (
    OutputTile(16, 0, 128, 16, 4),
    OutputTile(32, 0, 64, 16, 4),
    OutputTile(32, 16, 64, 16, 4),
    OutputTile(64, 0, 64, 16, 4),
    OutputTile(64, 16, 64, 16, 4),
    OutputTile(64, 32, 64, 16, 8),
    OutputTile(128, 0, 32, 16, 4),
    OutputTile(128, 16, 64, 16, 8),
    OutputTile(128, 64, 32, 16, 4),
)


def tile_of(outputs: int, cells: int, windows: bool, joins_channels: bool = False) -> OutputTile:
    """Return the tile of `convolve` for outputs, cells of a plane, and whether it has windows of several cells.

    Outputs of which a cell's channels lie side by side take more registers for their places.

    A thread has about 32 outputs, enough that its multiply-adds outweigh its loads, or fewer where there are windows,
    whose places take registers. Tiles are 64 outputs high, or 48 where more than a tenth of the work would be lost at
    the edge.
    """
    if cells <= _FEW_CELLS:
        return OutputTile(32, 0, 32, 64, 4)
    if windows:
        return OutputTile(32, 0, 64, 16, 4)
    if outputs <= 16:
        return OutputTile(16, 0, 256, 16, 4)
    if outputs <= 32:
        return OutputTile(32, 0, 128, 16, 4) if joins_channels else OutputTile(32, 0, 256, 16, 8)
    high, low = blocks_of(outputs, 64) * 64, blocks_of(outputs, 48) * 48
    return OutputTile(64, 0, 64, 16, 4) if high <= 1.1 * low else OutputTile(32, 16, 128, 16, 4)


def separable_tile_of(outputs: int) -> OutputTile:
    """Return the tile of `convolve_separable` for outputs: in most networks one block of them, without much waste."""
    for tile in _SEPARABLE_TILES:
        if outputs <= tile.height:
            return tile
    return min(_SEPARABLE_TILES[-2:], key=lambda tile: blocks_of(outputs, tile.height))


def is_worth_fusing(depthwise: DepthwiseLayer, dense: DenseLayer) -> bool:
    """Return whether `convolve_separable` beats two kernels.

    Fusing saves to store and load a number for each channel and cell, which takes about as long as 32 multiply-adds
    (8 bytes at 4 TB/s, 16 T multiply-adds/s). It costs to compute that number anew for each block of outputs beyond the
    first; a tap of it costs about two multiply-adds, with its load.
    """
    if dense.taps != Taps() or depthwise.scales:
        return False
    tile = separable_tile_of(dense.weight.shape[1])
    blocks = blocks_of(dense.weight.shape[1], tile.height)
    return 2 * (blocks - 1) * math.prod(depthwise.taps.size) <= 32


def blocks_of(count: int, size: int) -> int:
    """Return how many blocks of a size cover a count."""
    return -(-count // size)
