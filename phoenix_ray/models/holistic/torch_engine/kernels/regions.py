"""The regions of frames in which networks look: how kernels make them, write them and read them.

A *ROI* is what one stage finds for the next: `geometry.Rect`'s five fields, normalised. ROIs travel between stages as
float32 (5, M), NaN where there is none; in tracking mode those of the frame before may replace them on the way. A
*region* is a ROI with all that its network and the reader of its output need: whether it is there, the view of it
(`geometry.View`) and the matrix that cuts its crop. ROI m and region m lie in frame m % N of N frames.

In kernels a rect is a tuple of five, a size one of width and height in pixels, all float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from phoenix_ray.models.holistic.networks import NetworkSpec
from phoenix_ray.models.holistic.torch_engine.kernels.crop_matrices import image_from_crop
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from phoenix_ray.models.holistic.torch_engine.kernels.rectangles import padded_view, stretched_view, whole_image
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames

# Rows of `Regions.boxes`: the normalised ROI, the rectangle in pixels that is cropped for it, and the share of the crop
# that is padding on its left and top (`geometry.View`).
ROI_X, ROI_Y, ROI_WIDTH, ROI_HEIGHT, ROTATION = (tl.constexpr(row) for row in range(5))
CROP_X, CROP_Y, CROP_WIDTH, CROP_HEIGHT = (tl.constexpr(row) for row in range(5, 9))
LETTERBOX_LEFT, LETTERBOX_TOP = (tl.constexpr(row) for row in range(9, 11))
BOX_ROWS = 11
# Regions of a program of one warp.
REGIONS_TOGETHER = 32


class Regions(NamedTuple):
    """M regions; region m lies in frame m % N.

    Attributes:
        present: uint8 (M,): 1 where there is a region. Elsewhere the whole frame stands in for it, so that a network
            sees the same number of crops whatever was found, and readers drop what it finds there.
        boxes: float32 (BOX_ROWS, M).
        matrices: float64 (9, M): maps a place in the crop to its place in the frame, in pixels, row by row
            (`crop_transforms.image_from_crop`).
    """

    present: torch.Tensor
    boxes: torch.Tensor
    matrices: torch.Tensor

    @classmethod
    def empty(cls, count: int, device: torch.device) -> Regions:
        """Return regions to be written."""
        return cls(
            torch.empty(count, dtype=torch.uint8, device=device),
            torch.empty((BOX_ROWS, count), dtype=torch.float32, device=device),
            torch.empty((9, count), dtype=torch.float64, device=device),
        )


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


def regions_at(frames: DeviceFrames, rois: torch.Tensor, spec: NetworkSpec) -> Regions:
    """Return the regions in which a network looks; those whose ROI has no area are not present.

    Args:
        frames: N frames.
        rois: float32 (5, M), M a multiple of N.
        spec: The network.
    """
    count = rois.shape[1]
    regions = Regions.empty(count, rois.device)
    arguments = {
        "rois": rois,
        "table": frames.table,
        **regions._asdict(),
        "count": count,
        "frame_count": frames.table.shape[1],
    }
    constants = {"side": spec.size, "stretches": spec.stretches, "together": REGIONS_TOGETHER}
    launch(take_rois, (triton.cdiv(count, REGIONS_TOGETHER),), arguments, constants, warps=1)
    return regions


@triton.jit(do_not_specialize=["count", "frame_count"])
def take_rois(
    rois,
    table,
    present,
    boxes,
    matrices,
    count,
    frame_count,
    side: tl.constexpr,
    stretches: tl.constexpr,
    together: tl.constexpr,
):
    region = tl.program_id(0) * together + tl.arange(0, together)
    inside = region < count
    frame = region % frame_count
    # Regions beyond the last have a size all the same, so that nothing is divided by zero.
    width = tl.load(table + frame_count + frame, mask=inside, other=1).to(tl.float32)
    height = tl.load(table + 2 * frame_count + frame, mask=inside, other=1).to(tl.float32)
    rect = (
        tl.load(rois + region, mask=inside, other=0.0),
        tl.load(rois + count + region, mask=inside, other=0.0),
        tl.load(rois + 2 * count + region, mask=inside, other=0.0),
        tl.load(rois + 3 * count + region, mask=inside, other=0.0),
        tl.load(rois + 4 * count + region, mask=inside, other=0.0),
    )
    store_region(present, boxes, matrices, region, count, inside, inside, rect, (width, height), side, stretches)


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
def load_size(table, frame, frames):
    """Return width and height of a frame from `DeviceFrames.table`, of `frames` frames."""
    width, height = tl.load(table + frames + frame), tl.load(table + 2 * frames + frame)
    return width.to(tl.float32), height.to(tl.float32)


@triton.jit
def load_roi(boxes, region, regions):
    """Return the normalised ROI of a region from `Regions.boxes`, of `regions` regions."""
    boxes += region
    return (
        tl.load(boxes + ROI_X * regions),
        tl.load(boxes + ROI_Y * regions),
        tl.load(boxes + ROI_WIDTH * regions),
        tl.load(boxes + ROI_HEIGHT * regions),
        tl.load(boxes + ROTATION * regions),
    )


@triton.jit
def load_crop(boxes, region, regions):
    """Return the rectangle in pixels that was cropped for a region."""
    boxes += region
    return (
        tl.load(boxes + CROP_X * regions),
        tl.load(boxes + CROP_Y * regions),
        tl.load(boxes + CROP_WIDTH * regions),
        tl.load(boxes + CROP_HEIGHT * regions),
        tl.load(boxes + ROTATION * regions),
    )


@triton.jit
def load_letterbox(boxes, region, regions):
    boxes += region
    return tl.load(boxes + LETTERBOX_LEFT * regions), tl.load(boxes + LETTERBOX_TOP * regions)


@triton.jit
def store_roi(rois, region, regions, rect, found):
    """Write a ROI into float32 (5, regions), NaN where not `found`."""
    for row in tl.static_range(5):
        tl.store(rois + row * regions + region, tl.where(found, rect[row], float("nan")))
