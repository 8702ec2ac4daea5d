"""What Triton makes of crops and regions for real GPUs, and what they move."""

from __future__ import annotations

import math
import struct

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from phoenix_ray.models.holistic import crop_transforms, elementary
from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    NetworkSpec,
)
from phoenix_ray.models.holistic.torch_engine.kernels import crops
from phoenix_ray.models.holistic.torch_engine.kernels.launching import Launch, launch, recording
from phoenix_ray.models.holistic.torch_engine.kernels.regions import REGIONS_TOGETHER, Regions, whole_frames
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames
from tests.models.holistic.torch_engine.kernels.compiling import Compiled, compile_launches
from tests.models.holistic.torch_engine.kernels.test_regions import store_regions

FRAMES, HEIGHT, WIDTH = 128, 260, 210
# Each stage with the regions of a frame.
STAGES = (
    *((POSE_DETECTION, 1), (POSE_LANDMARK, 1), (HAND_RECROP, 2), (HAND_LANDMARK, 2)),
    *((FACE_DETECTION, 1), (FACE_LANDMARK[468], 1)),
)
LANES, REGISTERS = 32, 65536


def stages(dtype: torch.dtype = torch.float32) -> list[Launch]:
    """Return the launches that crop a batch of PHOENIX frames; what finds the later regions is not among them."""
    device = torch.device("cuda")
    with FakeTensorMode(), recording() as launches:
        pixels = torch.empty(FRAMES * HEIGHT * WIDTH * 3, dtype=torch.uint8, device=device)
        frames = DeviceFrames(pixels, torch.empty((3, FRAMES), dtype=torch.int64, device=device))
        whole_frames(frames, POSE_DETECTION)
        for spec, count in STAGES:
            crops.cut_crops(frames, Regions.empty(count * FRAMES, device), spec, dtype)
    return launches


def storing(spec: NetworkSpec) -> Launch:
    """Return the launch of a kernel that writes regions it has read; of constant ROIs less would be left to compile."""
    device = torch.device("cuda")
    with FakeTensorMode(), recording() as launches:
        regions = Regions.empty(FRAMES, device)
        arguments = {
            "rois": torch.empty((5, FRAMES), device=device),
            "sizes": torch.empty((2, FRAMES), device=device),
            "worthwhile": torch.empty(FRAMES, dtype=torch.uint8, device=device),
            **regions._asdict(),
            "count": FRAMES,
        }
        constants = {"side": spec.size, "stretches": spec.stretches, "lanes": REGIONS_TOGETHER}
        launch(store_regions, (FRAMES // REGIONS_TOGETHER,), arguments, constants, warps=1)
    return launches[0]


def in_code(*numbers: float) -> set[str]:
    """Return float64 numbers as PTX writes them."""
    return {f"0d{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}" for number in numbers}


def assert_exact(compiled: Compiled) -> None:
    """Fail unless a kernel rounds as it does in the interpreter, without memory for registers."""
    assert not compiled.findings, f"{compiled} has {compiled.findings}"
    assert compiled.stack == 0, f"{compiled} spills {compiled.stack} bytes of a thread"
    assert compiled.shared == 0, f"{compiled} exchanges numbers between threads"
    if compiled.kernel == "warp":
        assert_as_opencv(compiled)
    else:
        assert compiled.fma == 0, f"{compiled} contracts"
        numbers = (math.pi, 180.0, crop_transforms.SMALLEST_PIVOT, *elementary.LONG_SINE, *elementary.LONG_COSINE)
        for number in numbers:
            # A compiler may subtract what was to be added.
            assert in_code(number, -number) & set(compiled.doubles), f"{compiled} has other constants than {number}"


def assert_as_opencv(compiled: Compiled) -> None:
    threads = compiled.warps * LANES
    assert compiled.registers * threads * 4 <= REGISTERS, f"{compiled}: four programs do not fit a multiprocessor"
    values = 3 * compiled.constants["tile_rows"] * compiled.constants["columns"] // threads
    assert compiled.fma == values, f"{compiled}: {compiled.fma} multiply-adds where `seen` has {values}"
    assert (compiled.mul, compiled.add) == (0, 0), f"{compiled}: rounds float32 elsewhere"
    # Nothing but what the kernel says: no number was rounded to float32 on the way.
    limits = crops.LEAST_COORDINATE.value, crops.GREATEST_COORDINATE.value
    assert set(compiled.doubles) <= in_code(0.0, 1.0, crops.STEPS.value, 1.5 * 2.0**52, *limits), compiled.doubles


@pytest.mark.slow
def test_crops_and_regions_keep_to_registers_and_round_as_in_the_interpreter() -> None:
    launches = [launch for launch in stages() if launch.name == "warp"]
    variants = compile_launches([*launches, storing(POSE_LANDMARK)])
    # Hands and the pose are cropped alike.
    assert len(variants) == len(STAGES)
    for variant in variants:
        assert_exact(variant)


@pytest.mark.slow
def test_crops_and_regions_do_so_on_other_cards_and_in_half_precision() -> None:
    launches = [stages()[1], stages(torch.float16)[1], storing(FACE_LANDMARK[468])]
    variants = compile_launches(launches, targets=(80, 100))
    assert len(variants) == 6
    for variant in variants:
        assert_exact(variant)


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 5.8), (torch.float16, 3.4)])
def test_a_frame_is_cropped_in_few_launches_and_megabytes(dtype: torch.dtype, most: float) -> None:
    launches = stages(dtype)
    assert len(launches) == len(STAGES) + 1
    megabytes = sum(launch.bytes_moved for launch in launches) / FRAMES / 1e6
    assert megabytes <= most
    # The crops themselves, and the frame once in each stage.
    written = sum(3 * count * spec.size**2 for spec, count in STAGES) * dtype.itemsize
    assert megabytes == pytest.approx((written + len(STAGES) * HEIGHT * WIDTH * 3) / 1e6, rel=0.01)
