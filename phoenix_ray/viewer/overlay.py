"""Draw landmarks over the frame they were found in.

Called by `contact_sheet` and `moving_pictures`, and from notebooks: `draw(image, layout, points)` takes one frame of a
`LandmarkBatch` or of a dataset row. Lines are anti-aliased and placed with sub-pixel precision on the enlarged frame,
over a dark halo, so that they stay legible on skin, on dark clothes and on a bright wall.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from phoenix_ray.layouts import SEEN_FROM, Edge, Layout, Part

Image = NDArray[np.uint8]
Points = NDArray[np.float32]
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Style:
    """How one part is drawn.

    Attributes:
        colour: RGB of lines and points.
        line: Width of a line, in thousandths of the frame's longer side.
        point: Radius of a point, in the same unit; 0 draws none.
        opacity: Of lines and points, 0..1.
    """

    colour: Colour
    line: float
    point: float
    opacity: float = 1.0


# Hues that stay apart for colour-blind eyes: Okabe and Ito's blue, orange and green, made lighter, and a near white.
STYLES: Mapping[str, Style] = {
    "face": Style(colour=(124, 240, 178), line=2.2, point=0, opacity=0.85),
    "pose": Style(colour=(246, 244, 236), line=5.0, point=7.0, opacity=0.95),
    "left_hand": Style(colour=(92, 196, 255), line=4.4, point=5.6),
    "right_hand": Style(colour=(255, 158, 44), line=4.4, point=5.6),
}
# Parts with other names are drawn below these, feet like the body that they belong to. All others take these colours in
# turn, which are lighter forms of those of the report's charts.
FEET = ("feet",)
OTHER_STYLES = tuple(
    Style(colour=colour, line=4.4, point=5.6)
    for colour in ((255, 120, 200), (169, 155, 255), (224, 203, 77), (255, 143, 155))
)
HALO: Colour = (12, 16, 28)
HALO_OPACITY = 0.55
HALO_WIDTH = 2.4
POINT_CORE: Colour = (255, 255, 255)

# A point that is less sure than `SEEN_FROM` is a guess (hips and legs below the picture, an arm behind the body).
GUESS_OPACITY = 0.28

# The pose has coarse points of its own for face and hands; they are left out where the finer part was found.
DUPLICATES: Mapping[str, tuple[str, ...]] = {
    "face": (
        *("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
        *("left_ear", "right_ear", "mouth_left", "mouth_right"),
    ),
    "left_hand": ("left_pinky", "left_index", "left_thumb"),
    "right_hand": ("right_pinky", "right_index", "right_thumb"),
}

_SUBPIXEL_BITS = 4
# Farther out, a line's direction inside the picture no longer changes, and OpenCV's fixed point would overflow.
_FARTHEST_PIXEL = 1e6


def draw(image: Image, layout: Layout, points: Mapping[str, Points], scale: int = 4) -> Image:
    """Return the frame enlarged `scale` times with its landmarks drawn in.

    Args:
        image: RGB uint8 (height, width, 3); it is not changed.
        layout: Names the parts, their axes and the edges to draw.
        points: Part name → float32 (points, axes), x and y normalised to the image. Parts that are absent from the
            mapping, missing (NaN) or in metres are not drawn; points outside of the image are cut off at its border.
        scale: Whole factor of enlargement. 4 makes a 210x260 frame legible on a screen.

    Returns:
        RGB uint8 (height * scale, width * scale, 3).
    """
    height, width = image.shape[0] * scale, image.shape[1] * scale
    canvas: Image = np.array(cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    styles = styles_of(layout)
    for part in _drawing_order(layout):
        if part.name in points:
            style = styles[part.name]
            pixels = _to_pixels(points[part.name], width, height)
            for indices, opacity in _groups(part, points):
                _paint(canvas, part.edges, pixels, indices, style, opacity)
    return canvas


def styles_of(layout: Layout) -> dict[str, Style]:
    """Return part name → how it is drawn, of each part that lies in the image; unknown parts take colours in turn."""
    styles: dict[str, Style] = {}
    others = 0
    for part in layout.parts:
        if not part.scored:
            continue
        if part.name in STYLES or part.name in FEET:
            style = STYLES["pose" if part.name in FEET else part.name]
        else:
            style = OTHER_STYLES[others % len(OTHER_STYLES)]
            others += 1
        # Without lines only points can show the part.
        styles[part.name] = style if style.point or part.edges else replace(style, point=style.line)
    return styles


def _drawing_order(layout: Layout) -> Iterator[Part]:
    """Yield the parts that lie in the image, the finest last, so that hands are never hidden by a face or a body."""
    order = list(STYLES)
    in_image = [part for part in layout.parts if part.scored]
    yield from sorted(in_image, key=lambda part: order.index(part.name) if part.name in order else -1)


def _groups(part: Part, points: Mapping[str, Points]) -> Iterator[tuple[frozenset[int], float]]:
    """Yield (points to draw, opacity): guesses first, then what was seen."""
    values = points[part.name]
    shown = frozenset(np.flatnonzero(np.isfinite(values[:, :2]).all(axis=1)).tolist())
    if part.name == "pose":
        finer = {name for name, names in DUPLICATES.items() if name in points and np.isfinite(points[name]).any()}
        doubled = {point for name in finer for point in DUPLICATES[name]}
        shown -= {index for index, point in enumerate(part.points) if point in doubled}
    if not part.sureness:
        yield shown, 1.0
        return
    sure = values[:, part.axes.index(part.sureness)] >= SEEN_FROM[part.sureness]
    seen = frozenset(np.flatnonzero(sure).tolist())
    yield shown, GUESS_OPACITY
    yield shown & seen, 1.0


def _to_pixels(points: Points, width: int, height: int) -> NDArray[np.int64]:
    """Return OpenCV's fixed-point pixel positions of normalised points, int64 (points, 2); NaN becomes 0.

    A normalised coordinate c lies c * size from the outer edge of the first pixel, whose centre is OpenCV's 0.
    """
    pixels = np.nan_to_num(points[:, :2].astype(np.float64)) * (width, height) - 0.5
    pixels = np.clip(pixels, -_FARTHEST_PIXEL, _FARTHEST_PIXEL)
    return np.rint(pixels * (1 << _SUBPIXEL_BITS)).astype(np.int64)


def _paint(
    canvas: Image,
    edges: Sequence[Edge],
    pixels: NDArray[np.int64],
    indices: frozenset[int],
    style: Style,
    opacity: float,
) -> None:
    """Lay halo, lines, points and the points' bright cores over the canvas, each as one even layer."""
    unit = max(canvas.shape[:2]) / 1000
    lines = [(start, end) for start, end in edges if start in indices and end in indices]
    dots = sorted(indices) if style.point else []
    line, point = max(1, round(style.line * unit)), style.point * unit
    halo_line, halo_point = max(line + 2, round(style.line * HALO_WIDTH * unit)), point * 1.5
    opacity *= style.opacity
    _composite(canvas, _mask(canvas, pixels, lines, halo_line, dots, halo_point), HALO, opacity * HALO_OPACITY)
    _composite(canvas, _mask(canvas, pixels, lines, line, dots, point), style.colour, opacity)
    _composite(canvas, _mask(canvas, pixels, [], 1, dots, point * 0.45), POINT_CORE, opacity)


def _mask(
    canvas: Image,
    pixels: NDArray[np.int64],
    lines: Sequence[Edge],
    line_width: int,
    dots: Sequence[int],
    dot_radius: float,
) -> Image:
    """Return the coverage of lines and dots, uint8 (height, width), anti-aliased."""
    mask = np.zeros(canvas.shape[:2], np.uint8)
    for start, end in lines:
        cv2.line(mask, pixels[start].tolist(), pixels[end].tolist(), 255, line_width, cv2.LINE_AA, _SUBPIXEL_BITS)
    radius = round(dot_radius * (1 << _SUBPIXEL_BITS))
    for index in dots:
        cv2.circle(mask, pixels[index].tolist(), radius, 255, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)
    return mask


def _composite(canvas: Image, mask: Image, colour: Colour, opacity: float) -> None:
    """Blend a colour into the canvas where the mask covers it, in place."""
    x, y, width, height = cv2.boundingRect(mask)
    if not width:
        return
    mask, canvas = mask[y : y + height, x : x + width], canvas[y : y + height, x : x + width]
    blends = _blends(colour, opacity)
    # Most covered pixels are covered wholly: they are looked up together, those at the edges each by its coverage.
    covered = cv2.LUT(canvas, np.ascontiguousarray(blends[np.newaxis, 255]))
    edges = np.flatnonzero((mask > 0) & (mask < 255))
    rows, columns = edges // width, edges % width
    blended = blends[mask[rows, columns, np.newaxis], canvas[rows, columns], np.arange(3)]
    cv2.copyTo(covered, (mask == 255).astype(np.uint8), canvas)
    canvas[rows, columns] = blended


@lru_cache(maxsize=64)
def _blends(colour: Colour, opacity: float) -> Image:
    """Return what becomes of a pixel, uint8 (coverage 256, value 256, RGB 3): all that a blend can give."""
    weight = np.arange(256, dtype=np.float32)[:, np.newaxis, np.newaxis] * (opacity / 255)
    values = np.arange(256, dtype=np.uint8)[:, np.newaxis]
    blends = np.rint(values * (1 - weight) + np.array(colour, np.float32) * weight)
    return np.asarray(blends, np.uint8)
