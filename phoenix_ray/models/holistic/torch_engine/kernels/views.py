"""The views of `holistic.geometry` inside of kernels, and how a kernel that has found regions writes them.

A rect is a tuple of `geometry.Rect`'s five fields, a size one of width and height in pixels, all float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

from phoenix_ray.models.holistic.networks import NetworkSpec
from phoenix_ray.models.holistic.torch_engine.kernels.crop_matrices import image_from_crop
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from phoenix_ray.models.holistic.torch_engine.kernels.regions import (
    CROP_HEIGHT,
    CROP_WIDTH,
    CROP_X,
    CROP_Y,
    LETTERBOX_LEFT,
    LETTERBOX_TOP,
    ROI_HEIGHT,
    ROI_WIDTH,
    ROI_X,
    ROI_Y,
    ROTATION,
    DeviceFrames,
    Regions,
)

# Regions of a program of one warp.
REGIONS_TOGETHER = 32


def whole_frames(frames: DeviceFrames, spec: NetworkSpec) -> Regions:
    """Return each frame as a whole as a region for a network."""
    count = frames.table.shape[1]
    regions = Regions.empty(count, frames.table.device)
    arguments = {"table": frames.table, **regions._asdict(), "count": count}
    constants = {"side": spec.size, "stretches": spec.stretches, "together": REGIONS_TOGETHER}
    launch(take_whole_frames, (triton.cdiv(count, REGIONS_TOGETHER),), arguments, constants, warps=1)
    return regions


@triton.jit(do_not_specialize=["count"])
def take_whole_frames(
    table, present, boxes, matrices, count, side: tl.constexpr, stretches: tl.constexpr, together: tl.constexpr
):
    frame = tl.program_id(0) * together + tl.arange(0, together)
    inside = frame < count
    # Frames beyond the last have a size all the same, so that nothing is divided by zero.
    width = tl.load(table + count + frame, mask=inside, other=1).to(tl.float32)
    height = tl.load(table + 2 * count + frame, mask=inside, other=1).to(tl.float32)
    rect = whole_image(width)
    store_region(present, boxes, matrices, frame, count, inside, inside, rect, (width, height), side, stretches)


@triton.jit
def store_region(
    present, boxes, matrices, region, count, inside, worthwhile, rect, size, side: tl.constexpr, stretches: tl.constexpr
):
    """Write regions: whether each is there, the view of it (or of the whole frame in its place) and the crop's matrix.

    Args:
        present: Pointer to `Regions.present`.
        boxes: Pointer to `Regions.boxes`.
        matrices: Pointer to `Regions.matrices`.
        region: Numbers of the regions.
        count: Number of all regions.
        inside: Where to write.
        worthwhile: Where a network shall look, if the region has an area.
        rect: The normalised ROIs.
        size: Of their frames.
        side: Pixels per side of the crops (`NetworkSpec.size`).
        stretches: Whether ROIs fill the crops, or are padded (`NetworkSpec.stretches`).
    """
    is_present = worthwhile & (rect[2] > 0) & (rect[3] > 0)
    whole = whole_image(rect[0])
    roi = (
        tl.where(is_present, rect[0], whole[0]),
        tl.where(is_present, rect[1], whole[1]),
        tl.where(is_present, rect[2], whole[2]),
        tl.where(is_present, rect[3], whole[3]),
        tl.where(is_present, rect[4], whole[4]),
    )
    if stretches:
        crop, letterbox = stretched_view(roi, size)
    else:
        crop, letterbox = padded_view(roi, size)
    tl.store(present + region, is_present.to(tl.uint8), mask=inside)
    boxes += region
    tl.store(boxes + ROI_X * count, roi[0], mask=inside)
    tl.store(boxes + ROI_Y * count, roi[1], mask=inside)
    tl.store(boxes + ROI_WIDTH * count, roi[2], mask=inside)
    tl.store(boxes + ROI_HEIGHT * count, roi[3], mask=inside)
    tl.store(boxes + ROTATION * count, roi[4], mask=inside)
    tl.store(boxes + CROP_X * count, crop[0], mask=inside)
    tl.store(boxes + CROP_Y * count, crop[1], mask=inside)
    tl.store(boxes + CROP_WIDTH * count, crop[2], mask=inside)
    tl.store(boxes + CROP_HEIGHT * count, crop[3], mask=inside)
    tl.store(boxes + LETTERBOX_LEFT * count, letterbox[0], mask=inside)
    tl.store(boxes + LETTERBOX_TOP * count, letterbox[1], mask=inside)
    matrix = image_from_crop(crop[0], crop[1], crop[2], crop[3], crop[4], side)
    for entry in tl.static_range(9):
        tl.store(matrices + entry * count + region, matrix[entry], mask=inside)


@triton.jit
def whole_image(like):
    """`like` has the shape of the rect's fields."""
    nothing = tl.zeros(like.shape, tl.float32)
    return nothing + 0.5, nothing + 0.5, nothing + 1.0, nothing + 1.0, nothing


@triton.jit
def stretched_view(roi, size):
    """Return the rect in pixels that is cropped, and left and top of the letterbox."""
    center_x, center_y, roi_width, roi_height, rotation = roi
    width, height = size
    x = center_x * width
    return (x, center_y * height, roi_width * width, roi_height * height, rotation), (0.0 * x, 0.0 * x)


@triton.jit
def padded_view(roi, size):
    """Return the rect in pixels that is cropped, and left and top of the letterbox."""
    crop, _ = stretched_view(roi, size)
    x, y, width, height, rotation = crop
    aspect = tl.div_rn(height, width)
    is_wide = aspect < 1
    side = tl.where(is_wide, width, height)
    # `1 / aspect` with a number for 1 would not be rounded right.
    inverted = tl.div_rn(tl.full(aspect.shape, 1.0, tl.float32), aspect)
    left, top = tl.where(is_wide, 0.0, 0.5 * (1 - inverted)), tl.where(is_wide, 0.5 * (1 - aspect), 0.0)
    return (x, y, side, side, rotation), (left, top)
