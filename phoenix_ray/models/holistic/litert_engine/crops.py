"""Crops by OpenCV, bit for bit those of MediaPipe's ImageToTensorCalculator on a CPU.

MediaPipe contains OpenCV 4.10. Its 8-bit `warpPerspective` counts in 1/32 pixel and rounds to whole grey values, and
the networks notice: an exact bilinear crop moves landmarks. OpenCV 4.10 to 4.13 give the same bits, 5.0 does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray.models.holistic.crop_transforms import image_from_crop, within_limits
from phoenix_ray.models.holistic.geometry import ImageSize, Rect
from phoenix_ray.models.holistic.networks import NetworkSpec


class WarpCropper:
    """RGB images that are cropped by `cv2.warpPerspective`; a `networks.Cropper`.

    Images with a side longer than OpenCV can warp are reduced first; landmarks are normalised, so nothing else changes.

    Args:
        images: Each uint8 (height, width, 3); sizes may differ.
    """

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images = [within_limits(image) for image in images]
        heights, widths = np.array([image.shape[:2] for image in self._images], dtype=np.float32).T
        self._size = ImageSize(widths, heights)

    @property
    def size(self) -> ImageSize:
        """Width and height that ROIs in pixels refer to."""
        return self._size

    def crop(self, image: NDArray[np.int64], roi: Rect, network: NetworkSpec) -> NDArray[np.uint8]:
        """Return uint8 (M, size, size, 3)."""
        side = network.size
        crops = np.empty((len(image), side, side, 3), dtype=np.uint8)
        border = cv2.BORDER_REPLICATE if network.repeat_border else cv2.BORDER_CONSTANT
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        for target, index, matrix in zip(crops, image, image_from_crop(roi, side).reshape(-1, 3, 3), strict=True):
            cv2.warpPerspective(self._images[index], matrix, (side, side), dst=target, flags=flags, borderMode=border)
        return crops
