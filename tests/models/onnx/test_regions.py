from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray.models.onnx.manifest import InputFormat
from phoenix_ray.models.onnx.regions import (
    Resize,
    Warp,
    fill_input,
    input_shape,
    region_of,
    rows_of_sizes,
    to_picture,
)

Image = NDArray[np.uint8]

FRAME = np.array([0, 0, 210, 260], np.float32)
SIDES = st.integers(1, 1500)
# Corners and extents of boxes, in eighths of a pixel, as detectors give them and beyond pictures.
PLACES = st.integers(-2000, 8000).map(lambda value: value / 8)
EXTENTS = st.integers(8, 8000).map(lambda value: value / 8)


def form_of(resize: str, size: tuple[int, int] = (288, 384), **fields: Any) -> InputFormat:
    return InputFormat.model_validate({"size": size, "resize": resize, **fields})


def noise(height: int, width: int) -> Image:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8)


def box_of(left: float, top: float, width: float, height: float) -> NDArray[np.float32]:
    return np.array([left, top, left + width, top + height], np.float32)


# The region of MMPose, in the words of its documentation: the box is padded about its middle, and its shorter side
# grows until the proportions are the input's.
@given(left=PLACES, top=PLACES, width=EXTENTS, height=EXTENTS, udp=st.booleans())
def test_affine_shows_the_padded_box_grown_to_the_inputs_proportions(
    left: float, top: float, width: float, height: float, udp: bool
) -> None:
    region = region_of(box_of(left, top, width, height), form_of("affine", padding=1.25, udp=udp))
    wide, high = width * 1.25, height * 1.25
    if wide > high * 0.75:
        high = wide / 0.75
    else:
        wide = high * 0.75
    middle = (left + width / 2, top + height / 2)
    last = (287, 383) if udp else (288, 384)
    corners = to_picture(np.array([[[0, 0], last]], np.float32), [region])[0]
    expected = [[middle[0] - wide / 2, middle[1] - high / 2], [middle[0] + wide / 2, middle[1] + high / 2]]
    assert np.allclose(corners, expected, rtol=1e-5, atol=1e-3)


@given(left=PLACES, top=PLACES, width=EXTENTS, height=EXTENTS, udp=st.booleans())
def test_the_way_back_from_an_affine_input_undoes_the_way_there(
    left: float, top: float, width: float, height: float, udp: bool
) -> None:
    region = region_of(box_of(left, top, width, height), form_of("affine", padding=1.25, udp=udp))
    assert isinstance(region.pixels, Warp)
    matrix = np.array(region.pixels.matrix)
    picture = to_picture(np.array([[[0, 0], [100, 200], [288, 384]]], np.float32), [region])[0]
    there = picture @ matrix[:, :2].T + matrix[:, 2]
    assert np.allclose(there, [[0, 0], [100, 200], [288, 384]], rtol=1e-4, atol=0.02)


def test_a_box_of_the_inputs_size_is_cut_out_as_it_is() -> None:
    image = noise(500, 400)
    region = region_of(box_of(40, 60, 288, 384), form_of("affine"))
    cut = fill_input(image, region, form_of("affine", layout="nhwc"))
    assert np.array_equal(cut, image[60:444, 40:328])


def test_unbiased_data_processing_leaves_out_the_last_fraction_of_a_pixel() -> None:
    """With use_udp, 287 steps between pixels span the box, not 288."""
    biased, unbiased = (region_of(box_of(0, 0, 288, 384), form_of("affine", udp=udp)) for udp in (False, True))
    assert biased.scale == (1, 1)
    assert unbiased.scale == (288 / 287, 384 / 383)


# Python's round and Ultralytics' LetterBox, by hand: 640 / 260 makes 210 columns 516.9, and 27 more a multiple of 32.
def test_a_letterbox_fills_up_to_a_multiple_of_pixels() -> None:
    region = region_of(FRAME, form_of("letterbox", (640, 640), multiple_of=32, fill=114))
    assert region.size == (544, 640)
    assert region.pixels == Resize((0, 0, 210, 260), (13, 0, 517, 640))
    assert region.scale == (210 / 517, 260 / 640)
    assert region.offset == (-13 * 210 / 517, 0)


def test_a_letterbox_fills_up_to_the_whole_input() -> None:
    region = region_of(FRAME, form_of("letterbox", (640, 640), fill=114))
    assert region.size == (640, 640)
    # 123 columns are left: 61 and 62.
    assert region.pixels == Resize((0, 0, 210, 260), (61, 0, 517, 640))
    cut = fill_input(noise(260, 210), region, form_of("letterbox", (640, 640), fill=114, layout="nhwc"))
    assert (cut[:, :61] == 114).all()
    assert (cut[:, 578:] == 114).all()
    assert len(np.unique(cut[:, 61:578])) > 200


def test_a_letterbox_at_the_top_left_cuts_sides_off_to_whole_pixels_and_has_one_factor() -> None:
    """YOLOX: int(210 * 640 / 260) = 516; boxes are divided by the ratio on both axes."""
    region = region_of(FRAME, form_of("letterbox", (640, 640), position="top_left", fill=114))
    assert region.pixels == Resize((0, 0, 210, 260), (0, 0, 516, 640))
    assert region.scale == (260 / 640, 260 / 640)
    assert region.offset == (0, 0)


@given(width=SIDES, height=SIDES, multiple=st.sampled_from([None, 32, 64]), central=st.booleans())
def test_a_letterbox_holds_the_whole_picture_and_little_more(
    width: int, height: int, multiple: int | None, central: bool
) -> None:
    form = form_of(
        "letterbox", (640, 512), multiple_of=multiple, position="center" if central else "top_left", fill=114
    )
    region = region_of(box_of(0, 0, width, height), form)
    assert isinstance(region.pixels, Resize)
    left, top, across, down = region.pixels.inner
    right, bottom = region.size[0] - left - across, region.size[1] - top - down
    assert min(left, top, right, bottom) >= 0
    if multiple is None:
        assert region.size == (640, 512)
    else:
        # 640 and 512 are multiples, so both sides end up as multiples.
        assert region.size[0] % multiple == region.size[1] % multiple == 0
        assert left + right < multiple
        assert top + bottom < multiple
    if central:
        assert 0 <= right - left <= 1
        assert 0 <= bottom - top <= 1
    # A pixel of the picture is a pixel of the input times scale.
    assert math.isclose(across * region.scale[0], width, rel_tol=0.01, abs_tol=1 * region.scale[0])


# Lightweight OpenPose: 256 / 260 makes 210 columns 206.8; the least width is 256.
def test_height_gives_the_width_what_it_needs_and_no_less_than_the_inputs() -> None:
    region = region_of(FRAME, form_of("height", (256, 256), multiple_of=8))
    assert region.size == (256, 256)
    assert region.pixels == Resize((0, 0, 210, 260), (24, 0, 207, 256), 256 / 260)
    assert region.scale == (260 / 256, 260 / 256)
    wide = region_of(box_of(0, 0, 1920, 1080), form_of("height", (256, 256), multiple_of=8))
    # 455.1 columns, and one more.
    assert wide.size == (456, 256)
    assert wide.pixels == Resize((0, 0, 1920, 1080), (0, 0, 455, 256), 256 / 1080)


def test_stretch_gives_up_the_proportions() -> None:
    image = noise(40, 60)
    form = form_of("stretch", (30, 10), layout="nhwc")
    region = region_of(box_of(0, 0, 60, 40), form)
    assert region.scale == (2, 4)
    assert fill_input(image, region, form).shape == (10, 30, 3)


def test_pixels_outside_of_the_picture_are_filled() -> None:
    image = np.full((20, 20, 3), 200, np.uint8)
    form = form_of("stretch", (40, 40), padding=2.0, fill=7, layout="nhwc")
    cut = fill_input(image, region_of(box_of(0, 0, 20, 20), form), form)
    assert (cut[10:30, 10:30] == 200).all()
    assert (cut[:10] == 7).all()
    assert (cut[:, 30:] == 7).all()
    beside = fill_input(image, region_of(box_of(500, -300, 20, 20), form), form)
    assert (beside == 7).all()


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("order", ["rgb", "bgr", "grey"])
def test_channels_come_in_the_manifests_order_and_normalised(layout: str, order: str) -> None:
    image = noise(8, 6)
    mean, std = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]) if order != "grey" else ([127.5], [127.5])
    form = form_of("stretch", (6, 8), layout=layout, channel_order=order, mean=mean, std=std)
    region = region_of(box_of(0, 0, 6, 8), form)
    found = fill_input(image, region, form)
    assert found.dtype == np.float32
    assert found.shape == input_shape(region, form)
    for row in range(8):
        for column in range(6):
            red, green, blue = (int(value) for value in image[row, column])
            if order == "grey":
                # ITU-R 601, rounded.
                values = [round(0.299 * red + 0.587 * green + 0.114 * blue)]
            else:
                values = [red, green, blue] if order == "rgb" else [blue, green, red]
            for channel, value in enumerate(values):
                expected = (np.float32(value) - np.float32(mean[channel])) / np.float32(std[channel])
                place = (channel, row, column) if layout == "nchw" else (row, column, channel)
                assert found[place] == expected


def test_an_input_may_be_written_into_a_batch() -> None:
    image, form = noise(260, 210), form_of("affine", padding=1.25)
    region = region_of(FRAME, form)
    batch = np.zeros((2, *input_shape(region, form)), np.float32)
    assert fill_input(image, region, form, out=batch[1]) is not None
    assert np.array_equal(batch[1], fill_input(image, region, form))
    assert not batch[0].any()


def test_rows_of_one_size_go_together_in_their_order() -> None:
    form = form_of("letterbox", (640, 640), multiple_of=32)
    boxes = [FRAME, box_of(0, 0, 320, 240), FRAME]
    assert rows_of_sizes([region_of(box, form) for box in boxes]) == {(544, 640): [0, 2], (640, 480): [1]}


SCRIPT = """
import hashlib
import numpy as np
from phoenix_ray.models.onnx.manifest import InputFormat, PafDecoder
from phoenix_ray.models.onnx.regions import fill_input, region_of
from phoenix_ray.models.onnx.decoders.heatmap import decode_heatmaps, HeatmapDecoder
from phoenix_ray.models.onnx.decoders.paf import decode_fields
random = np.random.default_rng(9)
digest = hashlib.sha256()
mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
for height, width in ((260, 210), (720, 1280)):
    image = random.integers(0, 256, (height, width, 3), np.uint8)
    for box in ((0, 0, width, height), (13.3, 20.7, 190.1, 255.9)):
        for resize in ("affine", "letterbox", "height", "stretch"):
            for order in ("rgb", "grey"):
                size = (288, 384)
                form = InputFormat(size=size, resize=resize, channel_order=order, mean=mean[:1], std=std[:1])
                digest.update(fill_input(image, region_of(np.array(box, np.float32), form), form).tobytes())
maps = random.random((1, 17, 32, 24), np.float32)
for refine in ("quarter", "dark", "udp"):
    digest.update(decode_heatmaps(maps, HeatmapDecoder(kind="heatmap", refine=refine), (96, 128)).xy.tobytes())
limbs = [{"points": [start, start + 1], "channels": [2 * start, 2 * start + 1]} for start in range(3)]
heatmaps = {"output": "h"}
paf = PafDecoder(kind="paf", heatmaps=heatmaps, fields={"output": "f"}, limbs=limbs, min_samples=0.1, min_points=2)
fields = random.normal(0, 1, (1, 6, 32, 24)).astype(np.float32)
found = decode_fields(maps[:, :4], fields, paf)
assert not np.isnan(found.person).any()
digest.update(found.xy.tobytes() + found.scores.tobytes() + found.person.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="instruction sets of x86-64 are switched off")
def test_inputs_and_points_are_the_same_bits_on_any_processor() -> None:
    """OpenCV and numpy choose their code by the processor; older ones are imitated by switching newer code off."""
    newer = "AVX512-SKX,AVX512-ICL,AVX512-CNL,AVX512-CLX,AVX512-COMMON"
    older = f"{newer},AVX2,FMA3,AVX,FP16,SSE4.2,SSE4.1,SSSE3"
    numpy_newer = "X86_V4 AVX512_ICL AVX512_SPR"
    machines: list[dict[str, str]] = [
        {},
        {"OPENCV_IPP": "disabled"},
        {"OPENCV_CPU_DISABLE": newer, "NPY_DISABLE_CPU_FEATURES": numpy_newer},
        {"OPENCV_CPU_DISABLE": older, "OPENCV_IPP": "disabled", "NPY_DISABLE_CPU_FEATURES": f"X86_V3 {numpy_newer}"},
    ]
    digests = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, env=os.environ | machine
        ).stdout
        for machine in machines
    }
    assert len(digests) == 1


def test_a_picture_that_height_makes_thinner_than_a_pixel_keeps_one() -> None:
    form = form_of("height", (256, 256))
    region = region_of(box_of(0, 0, 1, 3000), form)
    assert fill_input(noise(3000, 1), region, form).shape == (3, 256, 256)
