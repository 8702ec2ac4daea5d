"""Decodes picture files to RGB pixels, or says why that is impossible.

`frames` calls it in its decoding threads. The pixels are those of `cv2.imread(path)`, in RGB order.
"""

from __future__ import annotations

from functools import cache
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from phoenix_ray.sources.picture_parts import TooManyPartsError, refuse_many_header_parts, refuse_many_parts

PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
# The dataset stores width and height as int16.
MAX_SIDE = 32_767
# A file is read whole, so its size is bounded too: four channels of 32 bits, plus room for profiles and thumbnails.
BYTES_PER_PIXEL = 16
BYTES_AROUND_PIXELS = 64 << 20
_TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT = 322, 323


class UnreadableFrameError(Exception):
    """Why a frame cannot be decoded; it becomes the `error` of a flagged row."""


def decode_picture(file: IO[bytes], max_pixels: int) -> NDArray[np.uint8]:
    """Return a picture as RGB uint8 (height, width, 3).

    Grey, palette, 16-bit and alpha pictures are converted, and EXIF orientation is applied, as OpenCV does by default.
    The size is read from the header first, so a picture of more than `max_pixels` pixels is never decoded.

    Raises:
        UnreadableFrameError: The file is empty, not a picture, too large, truncated or damaged, or has so many parts
            that decoding takes far longer than its number of pixels explains.
        OSError: The file cannot be read.
    """
    try:
        many_parts = refuse_many_header_parts(file)
    except TooManyPartsError as error:
        raise UnreadableFrameError(str(error)) from None
    file.seek(0)
    picture_format, width, height = _read_header(file, max_pixels)
    check_size(width, height, max_pixels)
    file.seek(0)
    most_bytes = BYTES_AROUND_PIXELS + width * height * BYTES_PER_PIXEL
    data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise UnreadableFrameError(f"more than {most_bytes:,} bytes for {width}x{height} pixels")
    if _lacks_its_end(picture_format, data):
        raise UnreadableFrameError(f"truncated {picture_format}: {len(data):,} bytes without an end")
    try:
        if many_parts:
            refuse_many_parts(picture_format, data)
    except TooManyPartsError as error:
        raise UnreadableFrameError(str(error)) from None
    cv2 = _opencv()
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise UnreadableFrameError(f"OpenCV cannot decode this {picture_format}: {error}") from None
    if pixels is None:
        raise UnreadableFrameError(f"damaged or truncated {picture_format} of {len(data):,} bytes")
    rgb: NDArray[np.uint8] = pixels
    return rgb


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise UnreadableFrameError when a picture of this size must not be decoded."""
    if width * height > max_pixels:
        raise UnreadableFrameError(
            f"{width}x{height} is {width * height:,} pixels, more than decode.max_pixels={max_pixels:,}"
        )
    if max(width, height) > MAX_SIDE:
        raise UnreadableFrameError(f"{width}x{height} has a side of more than {MAX_SIDE:,} pixels")


def _read_header(file: IO[bytes], max_pixels: int) -> tuple[str, int, int]:
    """Return (format, width, height) without decoding. OpenCV cannot do this, so Pillow reads the header."""
    from PIL import UnidentifiedImageError

    try:
        with _pillow().open(file, formats=PICTURE_FORMATS) as picture:
            if picture.format == "TIFF":
                # A decoder allocates a whole tile, however small the picture in it is.
                tags = picture.tag_v2
                check_size(int(tags.get(_TIFF_TILE_WIDTH, 0)), int(tags.get(_TIFF_TILE_HEIGHT, 0)), max_pixels)
            return picture.format or "picture", *picture.size
    except UnidentifiedImageError:
        file.seek(0, 2)
        size = file.tell()
        reason = (
            "is empty (0 bytes)" if size == 0 else f"of {size:,} bytes is not a {', '.join(PICTURE_FORMATS)} picture"
        )
        raise UnreadableFrameError(f"the file {reason}") from None
    except (OSError, UnreadableFrameError):
        raise
    except Exception as error:
        # Damaged headers make Pillow raise whatever its parsers run into: ValueError, EOFError, zlib.error, …
        raise UnreadableFrameError(f"its header is damaged: {error}") from None


def _lacks_its_end(picture_format: str, data: bytes) -> bool:
    """Return whether a PNG or JPEG was cut off. Zeros that a crash left in place of the end would decode to grey."""
    if picture_format == "PNG":
        return b"IEND" not in data
    # The end of the image must come after the last start of a scan: a thumbnail in the header has its own end.
    return picture_format == "JPEG" and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


@cache
def _pillow() -> Any:
    """Return `PIL.Image` without its own limit on pixels; `max_pixels` is the limit."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    return Image


@cache
def _opencv() -> Any:
    """Return cv2 with its log off: a damaged frame is recorded in its row, not on the worker's standard error."""
    import cv2

    # The place of the log level differs between builds.
    getattr(cv2.utils, "logging", cv2).setLogLevel(0)
    return cv2
