"""What kernels hand to each other: frames on a device, and the regions of them in which a network looks."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton.language as tl

# Kernels take it from here; the plain path, which needs no Triton, has it too.
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames as DeviceFrames

# Rows of `Regions.boxes`: the normalised ROI, the rectangle in pixels that is cropped for it, and the share of the crop
# that is padding on its left and top (`geometry.View`).
ROI_X, ROI_Y, ROI_WIDTH, ROI_HEIGHT, ROTATION = (tl.constexpr(row) for row in range(5))
CROP_X, CROP_Y, CROP_WIDTH, CROP_HEIGHT = (tl.constexpr(row) for row in range(5, 9))
LETTERBOX_LEFT, LETTERBOX_TOP = (tl.constexpr(row) for row in range(9, 11))
BOX_ROWS = 11


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
