"""What Triton makes of whole networks for sm_90: of all kernels those that `test_compiled.py` does not compile."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from phoenix_ray.models.holistic.networks import FACE_LANDMARK
from phoenix_ray.models.holistic.tflite_surgery import read_living
from phoenix_ray.models.holistic.torch_engine.kernels.launching import Launch, recording
from phoenix_ray.models.holistic.torch_engine.kernels.network_plan import plan_network
from phoenix_ray.models.holistic.torch_engine.kernels.networks import KernelNetwork
from tests.models.holistic.torch_engine.kernels.compiling import compile_launches
from tests.models.holistic.torch_engine.kernels.test_compiled import USUAL, assert_exact, launches_of

CONVOLUTIONS = ("dense", "depthwise", "separable")


def network_launches(weights: Path) -> list[Launch]:
    found: list[Launch] = []
    for spec in (*USUAL, FACE_LANDMARK[478]):
        plan = plan_network(read_living((weights / spec.file).read_bytes(), spec.outputs))
        network = KernelNetwork(plan, torch.device("cpu"), "exact")
        with FakeTensorMode(allow_non_fake_inputs=True), recording() as launches:
            network(torch.empty((128, 3, spec.size, spec.size)))
        found += launches
    return found


def variant_of(launch: Launch) -> object:
    """Return what a convolution is compiled for."""
    return launch.name, repr(sorted(launch.constants.items())), repr(sorted(launch.types.items())), launch.warps


@pytest.mark.slow
def test_networks_compile_without_spills_and_contractions(weights: Path) -> None:
    known = {variant_of(launch) for launch in launches_of(weights, USUAL)}
    launches = [
        launch
        for launch in network_launches(weights)
        if launch.name not in CONVOLUTIONS or variant_of(launch) not in known
    ]
    variants = compile_launches(launches)
    assert {"dense", "separable", "finish_block", "resize_block", "spread_block", "mean_block"} <= {
        variant.kernel for variant in variants
    }
    for variant in variants:
        if variant.kernel in CONVOLUTIONS:
            assert_exact(variant)
        elif variant.kernel.endswith("_block"):
            assert (variant.stack, variant.fma, variant.findings, variant.doubles) == (0, 0, [], []), variant
