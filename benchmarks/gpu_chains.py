"""A kernel of fused multiply-adds alone: what it reaches is the most that sums in order can reach on a GPU."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch

# Multiply-adds of a chain in a round; written out, so that the loop costs next to nothing.
STEPS = tl.constexpr(64)


@triton.jit
def multiply_and_add(values, rounds, block: tl.constexpr):
    """Replace each value x by the end of a chain t = t * x + x that starts with x; 0.5 becomes 1."""
    places = tl.program_id(0) * block + tl.arange(0, block)
    factor = tl.load(values + places)
    total = factor
    for _ in range(rounds):
        for _ in tl.static_range(STEPS):
            total = tl.fma(total, factor, factor)
    tl.store(values + places, tl.where(total == 1.0, 0.5, total))


def multiply_and_add_often(values: torch.Tensor, rounds: int, block: int) -> int:
    """Run the kernel and return its floating-point operations.

    Args:
        values: float32 (N,), each 0.5, and so they are afterwards if there was a round.
        rounds: Rounds of 64 multiply-adds for each value.
        block: Values of a program; a power of two that divides N.
    """
    launch(multiply_and_add, (len(values) // block,), {"values": values, "rounds": rounds}, {"block": block}, warps=4)
    return 2 * int(STEPS.value) * rounds * len(values)
