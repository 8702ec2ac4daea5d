"""Crops on the device that the networks run on, bit for bit those of `crops`: OpenCV's warp in torch, all ROIs at once.

OpenCV 4.10 to 4.13 warp 8-bit images in fixed point: where a pixel comes from is counted in 1/32 pixel, what it is made
of in whole grey values. The arithmetic below follows it step by step: `RotatedRect::points`, `getPerspectiveTransform`
(`hal::LU`), `invert`, `warpPerspective` with INTER_LINEAR, `remap`. Frames go to the device once; of everything else no
value is ever brought back, so the device never waits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from phoenix_ray.models.holistic.arrays import constant
from phoenix_ray.models.holistic.crops import within_limits
from phoenix_ray.models.holistic.geometry import ImageSize, Rect
from phoenix_ray.models.holistic.networks import NetworkInput

# Steps that OpenCV divides a pixel into (INTER_TAB_SIZE), and columns for which it counts from the same start.
STEPS = 32
BLOCK_COLUMNS = 64
# Smaller pivots make a matrix singular for hal::LU.
SMALLEST_PIVOT = 100 * np.finfo(np.float64).eps
# Pixels that are warped together, about 100 bytes each while they are. On a CPU, what fits into its caches is fastest.
PIXELS_AT_ONCE_ON_A_CPU = 2**15
PIXELS_AT_ONCE_ON_A_GPU = 2**23

# Entries of a 3x3 matrix, row by row, of whose products the cofactors are differences: entry of the first list times
# entry of the second, less third times fourth.
_COFACTORS = (
    (4, 2, 1, 5, 0, 2, 3, 1, 0),
    (8, 7, 5, 6, 8, 3, 7, 6, 4),
    (5, 1, 2, 3, 2, 0, 4, 0, 1),
    (7, 8, 4, 8, 6, 5, 6, 7, 3),
)

# A pixel is one 64-bit word of three channels. A sum of its values weighted by 32 x 32 parts needs 18 bits.
_CHANNEL_BITS = 21
_ONE_PER_CHANNEL = sum(1 << (_CHANNEL_BITS * channel) for channel in range(3))


class Uploader:
    """Brings frames to a device, in one copy from page-locked memory where that is a GPU.

    The memory is used again by the next call; wait for what was computed from the frames before.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._is_gpu = device.type == "cuda"
        self._staging = torch.empty(0, dtype=torch.uint8)

    def upload(self, images: Sequence[NDArray[np.uint8]], count: int) -> DeviceCropper:
        """Return images ready to be cropped.

        Args:
            images: RGB, each uint8 (height, width, 3); sizes may differ.
            count: Images to return, at least as many as are given; the last one stands in for those that lack.
        """
        images = [within_limits(image) for image in images]
        shapes = np.array([image.shape[:2] for image in images], dtype=np.int64)
        ends = np.cumsum(3 * shapes.prod(axis=1))
        if len(self._staging) < ends[-1]:
            self._staging = torch.empty(int(ends[-1]), dtype=torch.uint8, pin_memory=self._is_gpu)
        memory = self._staging.numpy()
        for image, end in zip(images, ends, strict=True):
            memory[end - image.size : end] = image.reshape(-1)
        starts = ends // 3 - shapes.prod(axis=1)
        table = np.stack([starts, shapes[:, 1], shapes[:, 0]])
        table = torch.from_numpy(np.pad(table, ((0, 0), (0, count - len(images))), mode="edge"))
        if self._is_gpu:
            table = table.pin_memory()
        pixels = self._staging[: int(ends[-1])].to(self.device, non_blocking=True)
        return DeviceCropper(pixels.reshape(-1, 3), table.to(self.device, non_blocking=True))


class DeviceCropper:
    """RGB images on a device, cropped there; a `networks.Cropper`.

    Args:
        pixels: uint8 (pixels of all images, 3), image after image, row after row.
        table: int64 (3, N): of each image its first pixel, width and height.
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

    def crop(self, image: torch.Tensor, roi: Rect, network: NetworkInput) -> torch.Tensor:
        """Return uint8 (M, size, size, 3)."""
        transforms = _inverse(_perspective_transform(_corners(roi), network.size))
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

    def _warp(self, transforms: torch.Tensor, table: torch.Tensor, network: NetworkInput) -> torch.Tensor:
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
            # Conversion to 8 bits drops the channels above.
            crops[..., channel] = mixed >> (_CHANNEL_BITS * channel + 10)
        return crops


def _corners(roi: Rect) -> torch.Tensor:
    """Return the corners of ROIs in pixels, float32 (M, 4, 2): bottom left, top left, top right, bottom right."""
    degrees = ((roi.rotation * 180.0).to(torch.float64) / math.pi).to(torch.float32)
    radians = degrees.to(torch.float64) * math.pi / 180.0
    across, down = torch.cos(radians).to(torch.float32) * 0.5, torch.sin(radians).to(torch.float32) * 0.5
    x, y, width, height = roi.center_x, roi.center_y, roi.width, roi.height
    bottom_left = torch.stack([x - down * height - across * width, y + across * height - down * width], dim=1)
    top_left = torch.stack([x + down * height - across * width, y - across * height - down * width], dim=1)
    twice_center = torch.stack([2 * x, 2 * y], dim=1)
    return torch.stack([bottom_left, top_left, twice_center - bottom_left, twice_center - top_left], dim=1)


def _perspective_transform(corners: torch.Tensor, side: int) -> torch.Tensor:
    """Return the matrices float64 (M, 9) that take corners (M, 4, 2) to those of a square.

    All 0 but for the last entry where the corners do not span an area.

    OpenCV solves eight equations of eight unknowns: four corners times column and row of the square. Those for columns
    have zeros where those for rows have x, y and 1, and the other way round, and a product with zero changes nothing.
    So hal::LU works on two systems with three unknowns each and two in common; here they go side by side. The first
    has one row more than unknowns of its own, and that row takes part in the pivoting of the second: it stands before
    the second's rows, as zeros and marked by the last coefficient, until all that is left are the unknowns in common.
    """
    x, y = corners[:, :, 0], corners[:, :, 1]
    # The square's corners, from the bottom left clockwise; made on the device by comparison alone.
    order = torch.arange(4, device=corners.device)
    targets = (side * (order >= 2).to(x.dtype), side * ((order == 0) | (order == 3)).to(x.dtype))
    one, nothing = torch.ones_like(x), torch.zeros_like(x)
    columns, rows = (
        torch.stack([x, y, one, -x * target, -y * target, target.expand_as(x), nothing], dim=2).to(torch.float64)
        for target in targets
    )
    is_mark = torch.arange(7, device=corners.device) == 6
    mark = is_mark.to(torch.float64).expand(len(x), 1, 7)
    system = torch.stack([torch.cat([columns, 0 * mark], dim=1), torch.cat([mark, rows], dim=1)], dim=1)
    pivots = []
    for step in range(3):
        system, pivot = _eliminate(system, step)
        pivots.append(pivot)

    left_over, rest = system[:, 0, 3, None, 3:6], system[:, 1, 3:]
    rest, pivot = _eliminate((rest[:, :, 3:6] + rest[:, :, 6:] * left_over)[:, None], 0)
    first, second = rest[:, 0].unbind(1)
    smallest = torch.cat([*pivots, pivot, second[:, 1:2].abs()], dim=1).amin(dim=1)
    seventh = second[:, 2] / second[:, 1]
    sixth = (first[:, 2] - first[:, 1] * seventh) / first[:, 0]

    in_common = (system[:, :, :3, 3] * sixth[:, None, None], system[:, :, :3, 4] * seventh[:, None, None])
    unknowns: list[torch.Tensor] = []
    for row in (2, 1, 0):
        value = system[:, :, row, 5]
        for column, known in enumerate(unknowns, start=row + 1):
            value = value - system[:, :, row, column] * known
        for product in in_common:
            value = value - product[:, :, row]
        unknowns.insert(0, value / system[:, :, row, row])
    own = torch.stack(unknowns, dim=2).flatten(1)
    matrix = torch.cat([own, torch.stack([sixth, seventh], dim=1)], dim=1)
    matrix = torch.where((smallest < SMALLEST_PIVOT)[:, None], 0.0, matrix)
    return torch.cat([matrix, torch.ones_like(matrix[:, :1])], dim=1)


def _eliminate(system: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring the first largest pivot of a column to its row and take it out of the rows below, as a step of hal::LU.

    Args:
        system: float64 (M, S, rows, columns).
        step: The column, and the row.

    Returns:
        The system after the step, and the size of the pivot, float64 (M, S).
    """
    size, offset = system[:, :, step:, step].abs().max(dim=2)
    rows = torch.arange(system.shape[2], device=system.device)
    is_pivot = (rows == (offset + step)[:, :, None])[:, :, :, None]
    pivot = torch.where(is_pivot, system, 0.0).sum(dim=2, keepdim=True)
    swapped = torch.where(is_pivot, system[:, :, step : step + 1], system)[:, :, step + 1 :]
    # Each product is rounded before it is added.
    factor = swapped[:, :, :, step : step + 1] * (-1 / pivot[:, :, :, step : step + 1])
    return torch.cat([system[:, :, :step], pivot, swapped + factor * pivot], dim=2), size


def _inverse(matrices: torch.Tensor) -> torch.Tensor:
    """Return the inverse of matrices (M, 9), by cofactors; of singular ones one that takes everything to (0, 0)."""
    first, second, third, fourth = (
        matrices.index_select(1, constant(entries, like=matrices)) for entries in _COFACTORS
    )
    cofactors = first * second - third * fourth
    products = matrices[:, :3] * cofactors[:, ::3]
    determinant = (products[:, 0] + products[:, 1] + products[:, 2])[:, None]
    # OpenCV gives zeros, and takes a division by zero for 0.
    nowhere = (torch.arange(9, device=matrices.device) == 8).to(matrices.dtype)
    return torch.where(determinant == 0, nowhere, cofactors * (1 / determinant))


def _source_coordinates(transforms: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x and y, in steps of 1/32 pixel, of where each pixel of square crops lies: int64 (M, side, side)."""
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
    """Return, for coordinates along an axis in steps, the two pixels they lie between and the weight of each.

    Args:
        coordinate: int64 (M, ...), steps of 1/32 pixel.
        length: int64 (M, 1, 1), pixels along the axis.
        repeat_border: Whether pixels outside are those of the border, or black.
    """
    second_weight = coordinate & (STEPS - 1)
    first_weight = STEPS - second_weight
    # OpenCV keeps whole pixels in 16 bits.
    first = (coordinate >> 5).clamp_(-(2**15), 2**15 - 1)
    second = first + 1
    last = length - 1
    if not repeat_border:
        first_weight *= (first >= 0) & (first <= last)
        second_weight *= (second >= 0) & (second <= last)
    zero = torch.zeros_like(last)
    return first.clamp_(zero, last), second.clamp_(zero, last), first_weight, second_weight
