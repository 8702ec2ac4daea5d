"""What Triton makes of the kernels between the networks for real GPUs: nothing fused, nothing approximate."""

from __future__ import annotations

import struct

import pytest

from phoenix_ray.models.holistic import elementary as formulas
from phoenix_ray.models.holistic.torch_engine.kernels.launching import Launch
from tests.models.holistic.torch_engine.kernels.compiling import TARGETS, Compiled, compile_launches
from tests.models.holistic.torch_engine.kernels.test_pipeline import launches_and_operators

LANES = 32
# Kernels of other modules, with tests of their own.
NOT_HERE = ("warp", "take_whole_frames")
# Numbers of float64 that lose bits if they become float32 on the way.
OF_SIGMOID = (formulas.STEPS_PER_E, formulas.CUBIC, formulas.SQUARE, formulas.LINEAR)
OF_COSINE = (formulas.UNITS_PER_RADIAN, formulas.QUADRANT, *formulas.SINE, *formulas.COSINE)
DOUBLES = {
    "read_rois": (*OF_SIGMOID, *OF_COSINE),
    "read_poses": (*OF_SIGMOID, *OF_COSINE),
    "find_hands_of_poses": OF_COSINE,
    "find_hands": OF_COSINE,
    "write_hands": (*OF_SIGMOID, *OF_COSINE),
    "find_faces_of_poses": OF_COSINE,
    "write_faces": (*OF_SIGMOID, *OF_COSINE),
}


def launches_of_stages() -> list[Launch]:
    formulas.powers_of_two.cache_clear()
    launches, _ = launches_and_operators(468)
    formulas.powers_of_two.cache_clear()
    return [launch for launch in launches if launch.name not in NOT_HERE]


def assert_exact(compiled: Compiled) -> None:
    assert compiled.stack == 0, f"{compiled} spills {compiled.stack} bytes of a thread"
    assert not compiled.findings, f"{compiled} has {compiled.findings}"
    assert compiled.fma == 0, f"{compiled} rounds {compiled.fma} products and sums only once"
    # The compiler may turn a difference into a sum with the number's negative.
    found = {abs(struct.unpack(">d", bytes.fromhex(code[2:]))[0]) for code in compiled.doubles}
    missing = {abs(number) for number in DOUBLES.get(compiled.kernel, ())} - found
    assert not missing, f"{compiled} lacks {sorted(missing)}"


@pytest.mark.slow
def test_every_kernel_rounds_each_operation_and_spills_nothing() -> None:
    variants = compile_launches(launches_of_stages(), most_variants=2)
    assert {compiled.kernel for compiled in variants} == {*DOUBLES, "take_rois"}
    for compiled in variants:
        assert_exact(compiled)


@pytest.mark.slow
def test_so_it_is_on_older_and_newer_gpus() -> None:
    launches = [launch for launch in launches_of_stages() if launch.name in DOUBLES]
    targets = [target for target in TARGETS if target != 90]
    variants = compile_launches(launches, targets, most_variants=1)
    assert len(variants) == len(DOUBLES) * len(targets)
    for compiled in variants:
        assert_exact(compiled)
