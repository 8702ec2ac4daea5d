"""Pixels that are not square: frames resized so that a circle in front of the camera is a circle in the frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.sources.decode import check_size


def with_square_pixels(image: NDArray[np.uint8], ratio: float | None, max_pixels: int) -> NDArray[np.uint8]:
    """Return a picture with square pixels: one side is enlarged, so that no detail is lost.

    Interpolation is linear in OpenCV's fixed-point form (`INTER_LINEAR_EXACT`), which gives the same bits on every
    processor; the plain form may differ by a step of brightness.

    Args:
        image: RGB uint8 of shape (height, width, 3).
        ratio: Width of a pixel over its height; None where it is not known, and the picture stays as it is.
        max_pixels: Limit on the pixels of the result.

    Raises:
        UnreadableFrameError: The result would be too large.
    """
    if ratio is None or ratio == 1:
        return image
    height, width = image.shape[:2]
    size = (round(width * ratio), height) if ratio > 1 else (width, round(height / ratio))
    check_size(*size, max_pixels)
    if size == (width, height):
        return image
    import cv2

    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR_EXACT), np.uint8)
