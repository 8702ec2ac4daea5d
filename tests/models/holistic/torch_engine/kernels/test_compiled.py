"""What Triton makes of the convolutions for real GPUs: one chain of fused multiply-adds an output, and no spills.

Networks are read and their layers launched on fake tensors, as `network_layers` fuses them; what was launched is
compiled by other processes, for sm_90 every variant, for sm_80 and sm_100 a few of each kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

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
from phoenix_ray.models.holistic.torch_engine.kernels.launching import Launch, recording
from tests.models.holistic.torch_engine.kernels.compiling import Compiled, compile_launches
from tests.models.holistic.torch_engine.kernels.network_layers import Layer, layer_shapes

ITEMS = 128
USUAL = (POSE_DETECTION, POSE_LANDMARK, HAND_RECROP, HAND_LANDMARK, FACE_DETECTION, FACE_LANDMARK[468])
# Kernels that a worker with the usual settings compiles when it first starts, about a second each.
MOST_VARIANTS = 60
LANES = 32


def launches_of(
    weights: Path, specs: Sequence[NetworkSpec], dtype: torch.dtype = torch.float32, precision: str = "exact"
) -> list[Launch]:
    with FakeTensorMode(), recording() as launches:
        for spec in specs:
            for shape in layer_shapes(weights, spec):
                Layer(shape, ITEMS, dtype=dtype).run("tf32" if precision == "tf32" else "exact")
    return launches


def assert_exact(compiled: Compiled) -> None:
    """Fail unless each output is one chain of fused multiply-adds, rounded as on a CPU."""
    constants = compiled.constants
    threads = compiled.warps * LANES

    def shared_out(*lengths: int) -> int:
        return -(-int(np.prod(lengths)) // threads)

    assert compiled.stack == 0, f"{compiled} spills {compiled.stack} bytes of a thread"
    assert not compiled.findings, f"{compiled} has {compiled.findings}"
    assert not compiled.doubles, f"{compiled} has {compiled.doubles}"
    # A pooled residual takes more registers, in a few layers of small planes.
    programs = 1 if constants["added"] == "pooled" else 2
    assert compiled.registers * threads * programs <= 65536, f"{compiled}: too few programs fit a multiprocessor"
    if compiled.kernel == "depthwise":
        outputs = [shared_out(constants["tile_channels"], constants["tile_cells"])]
        chain = 0 if constants["scales"] else outputs[0]
        scaling = outputs[0] if constants["scales"] else 0
    else:
        parts = [part for part in (constants["tile_outputs"], constants["rest_outputs"]) if part]
        outputs = [shared_out(part, constants["tile_cells"]) for part in parts]
        chain, scaling = sum(outputs) * constants["depth"], 0
        if compiled.kernel == "separable":
            chain += shared_out(constants["depth"], constants["tile_cells"])
    assert compiled.fma == chain, f"{compiled}: {compiled.fma} multiply-adds where {chain} belong"
    # Beside the chains: slopes multiply, biases and residuals are added once.
    slopes = sum(constants.get(name) == "prelu" for name in ("activation", "last"))
    assert compiled.mul <= scaling + sum(outputs) * slopes, f"{compiled}: {compiled.mul} products are rounded"
    additions = scaling + sum(outputs) * (1 + (constants["added"] != "nothing"))
    assert compiled.add <= additions, f"{compiled}: {compiled.add} additions where {additions} belong"


@pytest.mark.slow
def test_every_kernel_of_the_usual_networks_is_a_chain_of_multiply_adds_without_spills(weights: Path) -> None:
    variants = compile_launches(launches_of(weights, USUAL))
    assert {variant.kernel for variant in variants} == {"dense", "depthwise", "separable"}
    assert len(variants) <= MOST_VARIANTS
    for variant in variants:
        assert_exact(variant)


@pytest.mark.slow
def test_every_kernel_of_the_other_networks_is_a_chain_of_multiply_adds_without_spills(all_weights: Path) -> None:
    others = launches_of(all_weights, (POSE_LANDMARKS[0], POSE_LANDMARKS[2], FACE_LANDMARK[478]))
    for variant in compile_launches(others, known=launches_of(all_weights, USUAL)):
        assert_exact(variant)


@pytest.mark.slow
def test_kernels_for_other_cards_are_chains_of_multiply_adds_without_spills(weights: Path) -> None:
    variants = compile_launches(launches_of(weights, [FACE_DETECTION, HAND_RECROP]), targets=(80, 100), most_variants=3)
    assert {variant.target for variant in variants} == {80, 100}
    for variant in variants:
        assert_exact(variant)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "dtype"), [("tf32", torch.float32), ("fp16", torch.float16)])
def test_lower_precisions_multiply_on_tensor_cores(weights: Path, precision: str, dtype: torch.dtype) -> None:
    launches = launches_of(weights, [HAND_LANDMARK], dtype, precision)
    for variant in compile_launches(launches, most_variants=2):
        if variant.kernel != "depthwise":
            assert "mma" in variant.findings, variant
            assert variant.stack == 0, variant
