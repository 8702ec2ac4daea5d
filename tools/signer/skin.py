"""Paints skin: each texel of the texture is coloured by where it lies on the reference body at rest.

All bodies share the mesh and its texture coordinates, so a texture that fits the reference body fits every other.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.signer.figure import FINGERS, JOINTS, SIDES, Array, Figure, unit

SIZE = 2048
Colour = tuple[int, int, int]
# How far, in shares of a triangle, colour is painted over its edge: no seams.
BLEED = 0.15


@dataclass(frozen=True, slots=True)
class Palette:
    """sRGB colours, 0 to 255, of a skin and what grows on it.

    Attributes:
        grain: How uneven the skin is; 1 is usual.
    """

    skin: Colour = (208, 158, 130)
    palm: Colour = (216, 166, 142)
    lips: Colour = (176, 96, 90)
    nails: Colour = (226, 182, 166)
    blush: Colour = (200, 120, 102)
    brows: Colour = (62, 42, 32)
    hair: Colour = (52, 36, 28)
    stubble: float = 0.0
    grain: float = 1.0


def scalp(points: Array) -> Array:
    """Return metres of points of the reference head above the hairline: hair grows where it is positive."""
    x, y, z = np.abs(points[..., 0]), points[..., 1], points[..., 2]
    back = [-0.14, -0.12, -0.095, -0.075, -0.05, -0.03, 0.0, 0.03, 0.08]
    line = np.interp(y, back, [0.864, 0.856, 0.838, 0.806, 0.796, 0.796, 0.755, 0.712, 0.700])
    peak = 0.10 * np.clip(0.02 - x, 0, 1) * (y < -0.1)
    return np.where(z > 0.68, z - line - peak, -1.0)


def map_positions(reference: Figure) -> tuple[Array, NDArray[np.bool_]]:
    """Return the rest position of each texel, (SIZE, SIZE, 3), and which texels lie on the body."""
    positions = np.zeros((SIZE, SIZE, 3))
    on_body = np.zeros((SIZE, SIZE), bool)
    pixels = reference.uv * [SIZE, -SIZE] + [0, SIZE]
    for quad, texture in zip(reference.faces, reference.face_uv, strict=True):
        for corners in ([0, 1, 2], [0, 2, 3]):
            a, b, c = pixels[texture[corners]]
            low = np.floor(np.minimum(np.minimum(a, b), c)).astype(int) - 1
            high = np.ceil(np.maximum(np.maximum(a, b), c)).astype(int) + 2
            x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
            area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
            if abs(area) < 1e-9:
                continue
            right, down = x + 0.5 - a[0], y + 0.5 - a[1]
            v = (right * (c[1] - a[1]) - (c[0] - a[0]) * down) / area
            w = ((b[0] - a[0]) * down - right * (b[1] - a[1])) / area
            u = 1 - v - w
            inside = (np.minimum(np.minimum(u, v), w) > -BLEED) & (x >= 0) & (y >= 0) & (x < SIZE) & (y < SIZE)
            p, q, r = reference.rest[quad[corners]]
            weights = (part[inside, None] for part in (u, v, w))
            positions[y[inside], x[inside]] = sum(
                part * corner for part, corner in zip(weights, (p, q, r), strict=True)
            )
            on_body[y[inside], x[inside]] = True
    return positions, on_body


class Painter:
    """Paints any number of palettes on the positions of the reference body, which are computed once."""

    def __init__(self, reference: Figure) -> None:
        self._figure = reference
        self._points, self._on_body = map_positions(reference)

    def paint(self, palette: Palette) -> NDArray[np.uint8]:
        """Return the texture, sRGB uint8 (SIZE, SIZE, 3)."""
        rng = np.random.default_rng(0)
        noise = sum(
            cv2.resize(rng.normal(size=(n, n)), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC) * strength
            for n, strength in ((64, 0.010), (256, 0.012), (1024, 0.014))
        )
        uneven = 1 + palette.grain * np.asarray(noise)[..., None] * [0.6, 1.0, 1.1]
        self._image = _share(palette.skin) * uneven
        self._paint_face(palette, rng)
        for side in SIDES:
            self._paint_hand(palette, side)
        self._image[~self._on_body] = _share(palette.skin)
        return np.asarray(np.clip(self._image, 0, 1) * 255, np.uint8)

    def _mix(self, colour: Array, amount: Array) -> None:
        share = np.clip(amount, 0, 1)[..., None]
        self._image = self._image * (1 - share) + colour * share

    def _paint_face(self, palette: Palette, rng: np.random.Generator) -> None:
        """Paint blush, lips, eyebrows, lids and scalp. All numbers are metres on the reference body."""
        x, y, z = np.abs(self._points[..., 0]), self._points[..., 1], self._points[..., 2]

        def blob(cx: float, cy: float, cz: float, radius: float) -> Array:
            return np.asarray(np.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / radius**2))

        blush, lips, brows, hair = map(_share, (palette.blush, palette.lips, palette.brows, palette.hair))
        self._mix(blush, 0.28 * blob(0.045, -0.135, 0.755, 0.022) + 0.25 * blob(0, -0.172, 0.76, 0.012))
        if palette.stubble:
            beard = (
                blob(0.022, -0.140, 0.695, 0.030)
                + blob(0.050, -0.095, 0.715, 0.030)
                + 0.7 * blob(0, -0.16, 0.745, 0.016)
            )
            self._mix(hair, palette.stubble * beard * (z < 0.752))
        # Lips lie between a cupid's bow and a lower edge, and narrow to the corners.
        t = np.clip(x / 0.0255, 0, 1)
        top = 0.7272 + (0.0102 + 0.0016 * np.exp(-(((x - 0.006) / 0.004) ** 2))) * (1 - t**1.8)
        bottom = 0.7268 - 0.0150 * np.sqrt(np.clip(1 - t**2, 0, 1))
        edge = np.minimum(top - z, z - bottom)
        self._mix(lips, np.where((y < -0.125) & (x < 0.0265), edge / 0.0012 + 0.5, 0) * 0.9)
        self._mix(lips * 0.45, np.where((y < -0.12) & (x < 0.025), 1 - np.abs(z - 0.7272) / 0.0011, 0) * 0.8)
        # Eyebrows are arcs that thin outwards; noise makes hairs of them.
        s = np.clip((x - 0.011) / 0.044, 0, 1)
        middle = 0.8195 + 0.0065 * np.sin(np.pi * np.clip(s * 0.82 + 0.02, 0, 1)) - 0.002 * s
        half = 0.0040 * (1 - s) ** 0.6 + 0.0010
        hairs = cv2.resize(rng.normal(size=(SIZE // 2, SIZE // 2)), (SIZE, SIZE)) * 0.25
        brow = (half - np.abs(z - middle)) / 0.0018 + 0.35 + hairs
        self._mix(brows, np.where((x > 0.011) & (x < 0.056) & (y < -0.105), brow, 0) * 0.88)
        lid = np.exp(-(((np.hypot((x - 0.0305) / 1.45, z - 0.8005) - 0.0105) / 0.0035) ** 2))
        self._mix(brows, 0.16 * np.where(y < -0.11, lid, 0))
        self._mix(hair, (scalp(self._points) + 0.001) / 0.007)

    def _paint_hand(self, palette: Palette, side: str) -> None:
        """Paint the palm, and each finger's nail and knuckles."""
        figure = self._figure
        along_hand, palm = figure.hand_directions(side)
        wrist = figure.head(f"wrist.{side}")
        offset = self._points - wrist
        in_hand = (offset @ along_hand > -0.01) & (np.sign(self._points[..., 0]) == np.sign(wrist[0]))
        in_hand &= np.linalg.norm(offset, axis=-1) < 0.25
        self._mix(_share(palette.palm), np.where(in_hand, (offset @ palm + 0.004) / 0.008, 0) * 0.9)
        for finger in FINGERS:
            bone = f"finger{finger}-3.{side}"
            along = unit(figure.tail(bone) - figure.head(bone))
            back = -palm
            if finger == 1:
                across = unit(figure.tail(bone) - figure.head(f"finger5-1.{side}"))
                back = unit(-palm * 0.4 + across * 0.6)
            back = unit(back - along * (back @ along))
            offset = self._points - (figure.tail(bone) - along * 0.007)
            a, b = offset @ along, offset @ back
            c = np.sqrt(np.clip((offset**2).sum(-1) - a**2 - b**2, 0, None))
            nail = np.minimum(1 - np.maximum(np.abs(a) / 0.0068, c / 0.0055), (b - 0.0015) / 0.003)
            self._mix(_share(palette.nails), np.where(b > 0, nail / 0.15, 0) * 0.85)
            for joint in JOINTS:
                offset = self._points - figure.head(f"finger{finger}-{joint}.{side}")
                self._mix(_share(palette.blush), 0.28 * np.exp(-(offset**2).sum(-1) / 0.010**2))


def _share(colour: Colour) -> Array:
    return np.array(colour) / 255
