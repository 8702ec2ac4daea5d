"""Arrange pictures with captions on one sheet: sections, rows of a video's frames, a legend of the colours.

Called by `contact_sheet` and `verify.pictures`, which pick the frames. Nothing here knows a dataset, so a sheet can be
made of any pictures.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from phoenix_ray.errors import OutputError
from phoenix_ray.layouts import Layout
from phoenix_ray.viewer.overlay import Colour, Image, styles_of


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a row.

    Attributes:
        image: RGB uint8 (height, width, 3) of any size, or None where there is no picture.
        caption: Written below it.
        badge: Short remark written over it ("no person", "unreadable"), empty where all is well.
    """

    image: Image | None
    caption: str
    badge: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """The tiles of one video, below its title and a line of details."""

    title: str
    detail: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class SheetSection:
    """Rows below a heading, such as the videos of one split."""

    heading: str
    rows: tuple[Row, ...]


# A tile is about this high; a frame is enlarged by a whole factor before its landmarks are drawn.
TILE_HEIGHT = 390
BACKGROUND: Colour = (17, 20, 27)
TILE_BACKGROUND: Colour = (31, 36, 47)
RULE: Colour = (52, 59, 75)
TEXT: Colour = (240, 243, 248)
FAINT_TEXT: Colour = (150, 160, 178)
BADGE: Colour = (255, 196, 82)
MARGIN, GAP = 28, 10
TITLE_SIZE, HEADING_SIZE, ROW_SIZE, CAPTION_SIZE = 28, 22, 17, 14
# What the legend calls parts, and in which order; it calls others by their names.
LEGEND: Mapping[str, str] = {
    "pose": "body",
    "left_hand": "left hand",
    "right_hand": "right hand",
    "face": "face",
}

# Pillow brings one font inside itself, of plain Latin letters. Those of the system know more scripts; the first that is
# there is taken: on Linux, on Windows, on macOS.
SYSTEM_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "segoeui.ttf", "Arial Unicode.ttf", "Arial.ttf")


def tile_scale(image: Image) -> int:
    """Return how many times to enlarge a frame before drawing on it: to twice the size of its tile, for fine lines."""
    return 2 * max(1, -(-TILE_HEIGHT // len(image)))


def write_sheet(title: str, sections: Sequence[SheetSection], file: Path, layout: Layout) -> None:
    """Write sections as a picture, in tiles as wide as their widest image; the legend names the parts of a layout.

    Raises:
        OutputError: It cannot be written.
    """
    images = [
        tile.image for section in sections for row in section.rows for tile in row.tiles if tile.image is not None
    ]
    widest = max((image.shape[1] / image.shape[0] for image in images), default=1.0)
    sheet = compose(title, sections, (round(TILE_HEIGHT * widest), TILE_HEIGHT), layout)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(sheet).save(file, quality=95)
    except (OSError, ValueError) as error:
        raise OutputError(f"{file} cannot be written as a picture: {error}") from None


def compose(title: str, sections: Sequence[SheetSection], tile_size: tuple[int, int], layout: Layout) -> Image:
    """Return the sheet, RGB uint8 (height, width, 3).

    Args:
        title: The sheet's first line; the legend of the colours stands below it.
        sections: Drawn one below the other.
        tile_size: Width and height in pixels of the box that each picture is fitted into.
        layout: The legend names its parts, in their colours.
    """
    tile_width, tile_height = tile_size
    columns = max((len(row.tiles) for section in sections for row in section.rows), default=1)
    width = 2 * MARGIN + max(columns * (tile_width + GAP) - GAP, 480)
    row_height = 2 * ROW_SIZE + GAP + tile_height + CAPTION_SIZE + 3 * GAP
    heading_height = HEADING_SIZE + 3 * GAP
    header_height = TITLE_SIZE + CAPTION_SIZE + 4 * GAP
    height = MARGIN + header_height + MARGIN
    height += sum(heading_height + row_height * len(section.rows) for section in sections)

    sheet = Picture.new("RGB", (width, height), BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    y = MARGIN
    write(pen, (MARGIN, y), title, TITLE_SIZE, TEXT, width - 2 * MARGIN)
    _draw_legend(pen, MARGIN, y + TITLE_SIZE + 2 * GAP, width - MARGIN, layout)
    y += header_height
    for section in sections:
        pen.line((MARGIN, y, width - MARGIN, y), RULE, 1)
        write(pen, (MARGIN, y + GAP), section.heading, HEADING_SIZE, TEXT, width - 2 * MARGIN)
        y += heading_height
        for row in section.rows:
            write(pen, (MARGIN, y), row.title, ROW_SIZE, TEXT, width - 2 * MARGIN)
            write(pen, (MARGIN, y + ROW_SIZE + 5), row.detail, CAPTION_SIZE, FAINT_TEXT, width - 2 * MARGIN)
            for column, tile in enumerate(row.tiles):
                corner = (MARGIN + column * (tile_width + GAP), y + 2 * ROW_SIZE + GAP)
                _draw_tile(sheet, pen, tile, corner, tile_size)
            y += row_height
    return np.asarray(sheet, np.uint8)


def write(pen: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, size: int, colour: Colour, width: int) -> None:
    """Write one line with its top left corner at `corner`, cut with an ellipsis where it is wider than `width` pixels.

    Characters that no font here can draw are written as their unicode escape, never as an empty box.
    """
    font, letters = _font(size)
    if letters is not None:
        text = "".join(letter if letter in letters else letter.encode("unicode_escape").decode() for letter in text)
    if font.getlength(text) > width:
        dots = "..."
        while text and font.getlength(text + dots) > width:
            text = text[:-1]
        text += dots
    pen.text(corner, text, colour, font)


def text_width(text: str, size: int) -> int:
    """Return how many pixels wide `write` makes a line."""
    return round(_font(size)[0].getlength(text))


@cache
def _font(size: int) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, frozenset[str] | None]:
    """Return a font and the letters it is limited to, None for a system font."""
    for name in SYSTEM_FONTS:
        with suppress(OSError):
            return ImageFont.truetype(name, size), None
    return ImageFont.load_default(size), frozenset(string.printable)


def _draw_legend(pen: ImageDraw.ImageDraw, x: int, y: int, right: int, layout: Layout) -> None:
    styles = styles_of(layout)
    for part in (*(name for name in LEGEND if name in styles), *(name for name in styles if name not in LEGEND)):
        if x + CAPTION_SIZE + 2 * GAP > right:
            return
        label = LEGEND.get(part, part.replace("_", " "))
        pen.rounded_rectangle((x, y + 2, x + CAPTION_SIZE, y + 2 + CAPTION_SIZE), 3, styles[part].colour)
        x += CAPTION_SIZE + 8
        room = min(200, right - x)
        write(pen, (x, y), label, CAPTION_SIZE, FAINT_TEXT, room)
        x += min(room, text_width(label, CAPTION_SIZE)) + 2 * GAP


def _draw_tile(
    sheet: Picture.Image,
    pen: ImageDraw.ImageDraw,
    tile: Tile,
    corner: tuple[int, int],
    size: tuple[int, int],
) -> None:
    x, y = corner
    width, height = size
    pen.rectangle((x, y, x + width - 1, y + height - 1), TILE_BACKGROUND)
    if tile.image is None:
        pen.line((x, y, x + width - 1, y + height - 1), RULE, 2)
        pen.line((x, y + height - 1, x + width - 1, y), RULE, 2)
    else:
        picture = Picture.fromarray(tile.image)
        factor = min(width / picture.width, height / picture.height)
        fitted = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        picture = picture.resize(fitted, Picture.Resampling.LANCZOS)
        sheet.paste(picture, (x + (width - picture.width) // 2, y + (height - picture.height) // 2))
    if tile.badge:
        bottom = y + height
        pen.rectangle((x, bottom - CAPTION_SIZE - 12, x + width - 1, bottom - 1), BACKGROUND)
        write(pen, (x + 6, bottom - CAPTION_SIZE - 9), tile.badge, CAPTION_SIZE, BADGE, width - 12)
    write(pen, (x, y + height + 5), tile.caption, CAPTION_SIZE, FAINT_TEXT, width)
