"""Frames made from the public-domain astronaut picture of scikit-image, the same to the bit everywhere.

Shared by `make_golden`, which records what MediaPipe finds in them, and by the tests that compare with it. All of it is
integer arithmetic after one rounding, so no version of OpenCV or numpy changes a pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class View:
    """A window onto the picture: centre and height in its pixels (it is 512x512), turned clockwise by degrees.

    Mirrored views show the frame's left half on the right, and so turn a left hand into a right one.
    """

    centre_x: float
    centre_y: float
    height_shown: float
    degrees: float = 0.0
    width: int = 210
    height: int = 260
    mirrored: bool = False


PAN = tuple(View(x, 230, 420) for x in (185, 205, 225, 245, 265, 285))
ZOOM = tuple(View(230, 200, height) for height in (640, 540, 450, 370, 300))
TURN = tuple(View(225, 225, 400, degrees) for degrees in (-24, -12, 6, 15, 27))
# No hand is in the picture. In these views MediaPipe takes something else for one, scored well above its threshold.
LEFT_HAND = (
    View(242, 314, 749, -15),
    View(325, 301, 565, 12),
    View(344, 173, 753, -8, 320, 240),
    View(181, 285, 681, -27, 320, 240),
    View(280, 395, 448, 32, 320, 240),
)
RIGHT_HAND = (
    View(251, 294, 797, -8, 480, 640, mirrored=True),
    View(293, 411, 713, -24, 480, 640, mirrored=True),
)
NOBODY = (View(430, 90, 120),)
VIEWS = (*PAN, *ZOOM, *TURN, *LEFT_HAND, *RIGHT_HAND, *NOBODY)


def render(picture: NDArray[np.uint8], view: View) -> NDArray[np.uint8]:
    """Return the RGB frame (view.height, view.width, 3), bilinear with 1/32 px steps; outside the picture is grey."""
    scale = view.height_shown / view.height
    across, down = scale * math.cos(math.radians(view.degrees)), scale * math.sin(math.radians(view.degrees))
    # 16 fractional bits leave less than 1/100 px of rounding at the far corner of a frame.
    step_x, step_y = round(across * 65536), round(down * 65536)
    u = np.arange(view.width, dtype=np.int64) - view.width // 2
    v = np.arange(view.height, dtype=np.int64)[:, None] - view.height // 2
    x = (round(view.centre_x * 65536) + step_x * u - step_y * v) >> 11
    y = (round(view.centre_y * 65536) + step_y * u + step_x * v) >> 11
    padded = np.pad(picture, ((1, 1), (1, 1), (0, 0)), constant_values=128).astype(np.int64)
    limit_y, limit_x = picture.shape[0], picture.shape[1]
    left, top = (x >> 5).clip(-1, limit_x - 1) + 1, (y >> 5).clip(-1, limit_y - 1) + 1
    inside = (x >= -32) & (x < limit_x * 32) & (y >= -32) & (y < limit_y * 32)
    right_part, lower_part = (x & 31)[..., None], (y & 31)[..., None]
    upper = padded[top, left] * (32 - right_part) + padded[top, left + 1] * right_part
    lower = padded[top + 1, left] * (32 - right_part) + padded[top + 1, left + 1] * right_part
    frame = (upper * (32 - lower_part) + lower * lower_part + 512) >> 10
    shown = np.where(inside[..., None], frame, 128).astype(np.uint8)
    return np.ascontiguousarray(shown[:, ::-1]) if view.mirrored else shown
