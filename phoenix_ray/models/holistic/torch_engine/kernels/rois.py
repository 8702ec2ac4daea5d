"""From the ROIs that one stage finds to the regions in which the next one looks.

ROIs travel between stages as float32 (5, M): `geometry.Rect`'s fields, normalised, NaN where there is none. ROI m lies
in frame m % N. In tracking mode they may be replaced by those of the frame before on the way.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from phoenix_ray.models.holistic.networks import NetworkSpec
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from phoenix_ray.models.holistic.torch_engine.kernels.regions import DeviceFrames, Regions
from phoenix_ray.models.holistic.torch_engine.kernels.views import REGIONS_TOGETHER, store_region


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
