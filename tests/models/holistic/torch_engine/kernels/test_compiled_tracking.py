"""What Triton makes of the kernels of tracking and of the attention network: nothing fused, nothing approximate."""

from __future__ import annotations

import math
import struct

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from phoenix_ray.models.holistic import elementary as formulas
from phoenix_ray.models.holistic.smoothing import FRAME_NANOSECONDS, as_float32
from phoenix_ray.models.holistic.torch_engine.kernels import attention
from phoenix_ray.models.holistic.torch_engine.kernels.launching import Launch, recording
from phoenix_ray.models.holistic.tracking import AUXILIARY_FILTER, POSE_FILTER, WORLD_FILTER
from tests.models.holistic.torch_engine.kernels.compiling import TARGETS, compile_launches
from tests.models.holistic.torch_engine.kernels.test_attention import REGIONS
from tests.models.holistic.torch_engine.kernels.test_tracking import launches_of_a_step

# Numbers of float64 that lose bits if they become float32 on the way.
OF_COSINE = (formulas.UNITS_PER_RADIAN, formulas.QUADRANT, *formulas.SINE, *formulas.COSINE)
OF_FILTERS = (
    *(float(FRAME_NANOSECONDS), 1e-9, 2 * math.pi),
    *(as_float32(options.min_cutoff) for options in (POSE_FILTER, AUXILIARY_FILTER, WORLD_FILTER)),
    *(as_float32(options.beta) for options in (POSE_FILTER, AUXILIARY_FILTER, WORLD_FILTER)),
)
DOUBLES = {
    "choose_bodies": (),
    "choose_rois": (*OF_COSINE, math.pi),
    "filter_poses": (*OF_COSINE, *OF_FILTERS),
    "copy_parts": (),
    "find_transforms": OF_COSINE,
    "sample": (),
    "move": (),
    "refine": (),
}


def launches() -> list[Launch]:
    steps = [*launches_of_a_step(478, detect=True)[0], *launches_of_a_step(468, detect=False)[0]]
    with FakeTensorMode(), recording() as operators:
        mesh, features = (torch.empty(shape, device="cuda:0") for shape in ((128, 468, 3), (128, 32, 48, 48)))
        transforms = attention.landmarks_to_transform(mesh, REGIONS["lips"])
        attention.sample_bilinear(features, transforms, 16, 16)
        attention.sample_bilinear(features.half(), transforms, 16, 16)
        attention.transform_landmarks(torch.empty((128, 80, 2), device="cuda:0"), transforms)
    return [launch for launch in (*steps, *operators) if launch.name in DOUBLES]


@pytest.mark.slow
@pytest.mark.parametrize(("targets", "most_variants"), [((90,), 2), (tuple({*TARGETS} - {90}), 1)])
def test_every_kernel_rounds_each_operation_and_spills_nothing(targets: tuple[int, ...], most_variants: int) -> None:
    variants = compile_launches(launches(), targets, most_variants)
    assert {compiled.kernel for compiled in variants} == DOUBLES.keys()
    for compiled in variants:
        assert compiled.stack == 0, f"{compiled} spills {compiled.stack} bytes of a thread"
        assert not compiled.findings, f"{compiled} has {compiled.findings}"
        assert compiled.fma == 0, f"{compiled} rounds {compiled.fma} products and sums only once"
        # The compiler may turn a difference into a sum with the number's negative.
        found = {abs(struct.unpack(">d", bytes.fromhex(code[2:]))[0]) for code in compiled.doubles}
        missing = {abs(number) for number in DOUBLES[compiled.kernel]} - found
        assert not missing, f"{compiled} lacks {sorted(missing)}"
