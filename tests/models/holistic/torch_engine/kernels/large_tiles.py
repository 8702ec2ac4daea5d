"""Lets the interpreter compute whole networks: its time goes by operations, however many numbers each has.

A tile changes no bit of a result, so kernels run in much larger ones than a GPU has registers for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import triton

from phoenix_ray.models.holistic.torch_engine.kernels import convolutions, elementwise
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch

ALL_KERNELS_VARIABLE = "PHOENIX_RAY_ALL_KERNELS"
# For tests of what other tests check part by part.
takes_minutes = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") == "1" and ALL_KERNELS_VARIABLE not in os.environ,
    reason="it takes minutes in Triton's interpreter: make test-kernels",
)

MOST_CELLS, MOST_SUMS = 4096, 2**18
BLOCK = 2**17


@contextmanager
def in_large_tiles() -> Iterator[None]:
    """Run the kernels of networks in large tiles until the block ends."""
    with (
        mock.patch.object(convolutions, "launch", _launch_in_large_tiles),
        mock.patch.object(elementwise, "BLOCK", BLOCK),
    ):
        yield


def _launch_in_large_tiles(
    kernel: Any, grid: tuple[int, ...], arguments: Mapping[str, Any], constants: Mapping[str, Any], **options: Any
) -> None:
    outputs = arguments.get("outputs", arguments["channels"])
    high = 1 << (min(outputs, 256).bit_length() - 1)
    rest = min(high // 2, max(16, triton.next_power_of_2(outputs - high))) if outputs > high else 0
    if outputs <= 16 or "tile_channels" in constants:
        high, rest = max(16, triton.next_power_of_2(outputs)), 0
    cells = arguments["items"] * arguments["cells"] * constants["unit"]
    tile_cells = min(triton.next_power_of_2(max(cells, 16)), MOST_CELLS, MOST_SUMS // high)
    tile: dict[str, int] = {"tile_cells": tile_cells}
    if "tile_channels" in constants:
        tile |= {"tile_channels": high}
    else:
        tile |= {"tile_outputs": high, "rest_outputs": rest, "depth": 32}
    blocks = triton.cdiv(outputs, high + rest) * triton.cdiv(cells, tile_cells)
    launch(kernel, (blocks,), arguments, {**constants, **tile}, **options)
