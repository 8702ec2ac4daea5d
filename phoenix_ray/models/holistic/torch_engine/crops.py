"""Crops on the device, bit for bit those of `litert_engine.engine`: OpenCV's warp in torch, all ROIs at once.

OpenCV 4.10 to 4.13 warp 8-bit images in fixed point: source coordinates are counted in 1/32 pixel, mixed colours in
whole grey values. The arithmetic below follows `warpPerspective` with INTER_LINEAR and `remap` step by step; the
matrices are those of `crop_transforms`. No value is read back, so the device never waits.
"""

from __future__ import annotations

import torch

from phoenix_ray.models.holistic.crop_transforms import image_from_crop
from phoenix_ray.models.holistic.geometry import ImageSize, Rect
from phoenix_ray.models.holistic.networks import NetworkSpec

# Steps into which OpenCV divides a pixel (INTER_TAB_SIZE), and columns of a block that it computes from one start.
STEPS = 32
BLOCK_COLUMNS = 64
# Pixels warped together; each takes about 100 bytes meanwhile. On a CPU it is fastest to stay within its caches.
PIXELS_AT_ONCE_ON_A_CPU = 2**15
PIXELS_AT_ONCE_ON_A_GPU = 2**23

# A pixel is a 64-bit word of three channels. A weighted sum of values, with weights in 32 x 32 parts, needs 18 bits.
_CHANNEL_BITS = 21
_ONE_PER_CHANNEL = sum(1 << (_CHANNEL_BITS * channel) for channel in range(3))


class DeviceCropper:
    """RGB images on a device, cropped there; a `networks.Cropper`.

    Args:
        pixels: uint8 (pixels of all images, 3), image after image, row after row.
        table: int64 (3, N): first pixel, width and height of each image.
    """

    def __init__(self, pixels: torch.Tensor, table: torch.Tensor) -> None:
        red, green, blue = pixels.unbind(1)
        words = blue.to(torch.int64)
        for channel in (green, red):
            words.bitwise_left_shift_(_CHANNEL_BITS).bitwise_or_(channel)
        self._words = words
        self._table = table
        self._size = ImageSize(table[1].to(torch.float32), table[2].to(torch.float32))

    @property
    def size(self) -> ImageSize:
        """Width and height of the images."""
        return self._size

    def crop(self, image: torch.Tensor, roi: Rect, network: NetworkSpec) -> torch.Tensor:
        """Return uint8 (M, size, size, 3)."""
        transforms = image_from_crop(roi, network.size)
        tables = self._table[:, image]
        limit = PIXELS_AT_ONCE_ON_A_CPU if image.device.type == "cpu" else PIXELS_AT_ONCE_ON_A_GPU
        together = max(1, limit // network.size**2)
        crops = [
            self._warp(some_transforms, some_tables, network)
            for some_transforms, some_tables in zip(
                transforms.split(together), tables.split(together, dim=1), strict=True
            )
        ]
        return crops[0] if len(crops) == 1 else torch.cat(crops)

    def _warp(self, transforms: torch.Tensor, table: torch.Tensor, network: NetworkSpec) -> torch.Tensor:
        start, width, height = table[:, :, None, None]
        x, y = _source_coordinates(transforms, network.size)
        left, right, left_weight, right_weight = _neighbours(x, width, network.repeat_border)
        top, bottom, top_weight, bottom_weight = _neighbours(y, height, network.repeat_border)
        top, bottom = top.mul_(width).add_(start), bottom.mul_(width).add_(start)

        def row(first: torch.Tensor) -> torch.Tensor:
            mixed = self._words.take(first + left).mul_(left_weight)
            return mixed.addcmul_(self._words.take(first + right), right_weight)

        mixed = row(top).mul_(top_weight).addcmul_(row(bottom), bottom_weight)
        mixed += STEPS * STEPS // 2 * _ONE_PER_CHANNEL
        crops = torch.empty((*mixed.shape, 3), dtype=torch.uint8, device=mixed.device)
        for channel in range(3):
            # Conversion to 8 bits drops the higher channels.
            crops[..., channel] = mixed >> (_CHANNEL_BITS * channel + 10)
        return crops


def _source_coordinates(transforms: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x and y in the image, in steps of 1/32 pixel, of each pixel of square crops: int64 (M, side, side)."""
    entry = transforms[:, :, None, None, None]
    blocks = -(-side // BLOCK_COLUMNS)
    within = torch.arange(BLOCK_COLUMNS, device=transforms.device, dtype=torch.float64)
    block = (BLOCK_COLUMNS * torch.arange(blocks, device=transforms.device, dtype=torch.float64))[:, None]
    row = torch.arange(side, device=transforms.device, dtype=torch.float64)[:, None, None]

    def line(by_column: int, by_row: int, shift: int) -> torch.Tensor:
        start = entry[:, by_column] * block + entry[:, by_row] * row + entry[:, shift]
        return (start + entry[:, by_column] * within).flatten(2)[:, :, :side]

    scale = STEPS / line(6, 7, 8)
    least, most = -(2.0**31), 2.0**31 - 1
    x, y = (line(first, first + 1, first + 2).mul_(scale).round_().clamp_(least, most) for first in (0, 3))
    return x.to(torch.int64), y.to(torch.int64)


def _neighbours(
    coordinate: torch.Tensor, length: torch.Tensor, repeat_border: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return, for coordinates along an axis, the two pixels between which they lie and the weight of each.

    Args:
        coordinate: int64 (M, ...), steps of 1/32 pixel.
        length: int64 (M, 1, 1), pixels along the axis.
        repeat_border: Whether pixels outside repeat the border, or are black.
    """
    second_weight = coordinate & (STEPS - 1)
    first_weight = STEPS - second_weight
    # OpenCV stores whole pixels in 16 bits.
    first = (coordinate >> 5).clamp_(-(2**15), 2**15 - 1)
    second = first + 1
    last = length - 1
    if not repeat_border:
        first_weight *= (first >= 0) & (first <= last)
        second_weight *= (second >= 0) & (second <= last)
    zero = torch.zeros_like(last)
    return first.clamp_(zero, last), second.clamp_(zero, last), first_weight, second_weight
