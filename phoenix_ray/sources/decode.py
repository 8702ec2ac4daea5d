"""Decodes picture files to RGB pixels, or says why that is impossible.

`frames` calls it in its decoding threads. The pixels are those of `cv2.imread(path)`, in RGB order.

The number of parts in a file is limited before it is decoded. Each scan of a progressive JPEG passes over all pixels,
and each chunk of a PNG and segment of a JPEG costs time however small it is, so a file of a few hundred kB can keep a
decoder busy for minutes. Counting the parts takes microseconds.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

# Encoders write 10 scans for three colours and up to 18 for four.
MOST_SCANS = 24
# Segments or chunks before the pixels. An ICC profile has at most 255 segments.
MOST_HEADER_PARTS = 4_096
# A PNG may have this many chunks, and another for every so many bytes. Encoders write at least 4 kB of pixels in each.
_MOST_CHUNKS = 4_096
_BYTES_PER_CHUNK = 256
_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
# The first bytes of TIFF and BigTIFF files, in both byte orders.
_BIG_TIFF_STARTS = frozenset({b"II+\0", b"MM\0+"})
_TIFF_STARTS = frozenset({b"II*\0", b"MM\0*", *_BIG_TIFF_STARTS})
# Numbers in one tag: a palette has 196,608, and a list of strips at most as many as the picture has rows.
_MOST_TAG_NUMBERS = 1 << 18
# Types of tags whose values are bytes, which decoders do not parse one by one.
_KINDS_OF_BYTES = frozenset({1, 2, 6, 7})
# Markers of a frame header, one for each coding process, and those of the sequential processes among them.
_START_OF_FRAME = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_SEQUENTIAL = frozenset({0xC0, 0xC1, 0xC9})
# Markers without a segment: TEM, restarts, start and end of an image.
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xDA)})
# A marker among entropy-coded bytes, where 0xff is otherwise followed by zero or belongs to a restart.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


class TooManyPartsError(Exception):
    """Says which parts a picture has too many of."""


def refuse_many_header_parts(file: IO[bytes]) -> bool:
    """Raise TooManyPartsError if a JPEG, PNG or TIFF has too many parts before its pixels; Pillow parses each.

    Returns:
        Whether a decoder may pass over more than one scan or chunk, so that `refuse_many_parts` has to check.
    """
    file.seek(0)
    start = file.read(len(_PNG_START))
    if start == _PNG_START:
        _pass_chunks(file)
        return True
    if start.startswith(_JPEG_START):
        file.seek(len(_JPEG_START))
        return _pass_segments(file)
    if start[:4] in _TIFF_STARTS:
        _look_at_tags(file, start[:4])
    return False


def refuse_many_parts(picture_format: str, data: bytes) -> None:
    """Raise TooManyPartsError if a whole JPEG has too many scans or a PNG too many chunks."""
    if picture_format == "JPEG":
        # A video or other pictures may follow the image in the file, so a suspect is parsed.
        if _count_marks(data) > MOST_SCANS and _has_many_scans(data):
            raise TooManyPartsError(f"a JPEG of more than {MOST_SCANS} scans")
    elif picture_format == "PNG":
        most = _MOST_CHUNKS + len(data) // _BYTES_PER_CHUNK
        position = len(_PNG_START)
        for _ in range(most):
            position += 12 + int.from_bytes(data[position : position + 4], "big")
            if position >= len(data):
                return
        raise TooManyPartsError(f"a PNG of more than {most:,} chunks in {len(data):,} bytes")


def _pass_chunks(file: IO[bytes]) -> None:
    """Move to the pixels of a PNG."""
    for _ in range(MOST_HEADER_PARTS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IDAT":
            return
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    raise TooManyPartsError(f"a PNG with more than {MOST_HEADER_PARTS:,} chunks before its pixels")


def _pass_segments(file: IO[bytes]) -> bool:
    """Move to the first scan of a JPEG; return whether a decoder may pass over further scans.

    libjpeg stops after the first scan of a sequential JPEG if that scan has all colours.
    """
    sequential_colours = None
    # A byte between segments counts as a part: Pillow looks at each.
    for _ in range(MOST_HEADER_PARTS):
        head = file.read(10)
        if len(head) < 10:
            return True
        marker, length = head[1], int.from_bytes(head[2:4], "big")
        if head[0] != 0xFF or marker in (0x00, 0xFF):
            file.seek(-9, 1)
        elif marker in _BARE_MARKERS:
            file.seek(-8, 1)
        elif marker == _START_OF_SCAN:
            return head[4] != sequential_colours
        else:
            if marker in _START_OF_FRAME:
                sequential_colours = head[9] if marker in _SEQUENTIAL else None
            file.seek(max(4, length + 2) - 10, 1)
    raise TooManyPartsError(f"a JPEG with more than {MOST_HEADER_PARTS:,} parts before its pixels")


def _look_at_tags(file: IO[bytes], start: bytes) -> None:
    """Raise TooManyPartsError if a tag of a TIFF has more numbers than the tags of any picture that can be decoded."""
    order = "<" if start.startswith(b"II") else ">"
    big = start in _BIG_TIFF_STARTS
    place, count, tag = [struct.Struct(order + form) for form in (("Q", "Q", "HHQ8x") if big else ("I", "H", "HHI4x"))]
    try:
        file.seek(8 if big else 4)
        file.seek(place.unpack(file.read(place.size))[0])
        (tags,) = count.unpack(file.read(count.size))
        if tags > MOST_HEADER_PARTS:
            raise TooManyPartsError(f"a TIFF of more than {MOST_HEADER_PARTS:,} tags")
        for number, kind, values in tag.iter_unpack(file.read(tags * tag.size)):
            if values > _MOST_TAG_NUMBERS and kind not in _KINDS_OF_BYTES:
                raise TooManyPartsError(f"a TIFF with more than {_MOST_TAG_NUMBERS:,} numbers in its tag {number}")
    except (struct.error, OverflowError, ValueError):
        # The file is cut short; Pillow will say what is wrong.
        return


def _count_marks(data: bytes) -> int:
    """Return how often the marker of a scan occurs. The data of scans never looks like a marker."""
    values = np.frombuffer(data, np.uint8)
    return int(np.count_nonzero(values[np.flatnonzero(values[:-1] == 0xFF) + 1] == _START_OF_SCAN))


def _has_many_scans(data: bytes) -> bool:
    scans, position = 0, len(_JPEG_START)
    while found := _MARKER.search(data, position):
        marker, position = data[found.start() + 1], found.end()
        if marker == _END_OF_IMAGE:
            return False
        if marker not in _BARE_MARKERS:
            position += int.from_bytes(data[position : position + 2], "big")
        scans += marker == _START_OF_SCAN
        if scans > MOST_SCANS:
            return True
    return False


PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
# The dataset stores width and height as int16.
MAX_SIDE = 32_767
# A file is read whole, so its size is bounded too: four channels of 32 bits, plus room for profiles and thumbnails.
BYTES_PER_PIXEL = 16
BYTES_AROUND_PIXELS = 64 << 20
_TIFF_TILE_WIDTH, _TIFF_TILE_HEIGHT = 322, 323


class UnreadableFrameError(Exception):
    """Why a frame cannot be decoded; it becomes the `error` of a flagged row."""


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """The bytes of a picture whose header says that it may be decoded; `many_parts` may take a decoder long."""

    picture_format: str
    data: bytes
    many_parts: bool

    def decode(self) -> NDArray[np.uint8]:
        """Return the picture as RGB uint8 (height, width, 3).

        Grey, palette, 16-bit and alpha pictures are converted, and EXIF orientation is applied, as OpenCV does by
        default.

        Raises:
            UnreadableFrameError: It is truncated or damaged, or has so many parts that decoding takes far longer than
                its number of pixels explains.
        """
        if _lacks_its_end(self.picture_format, self.data):
            raise UnreadableFrameError(f"truncated {self.picture_format}: {len(self.data):,} bytes without an end")
        try:
            if self.many_parts:
                refuse_many_parts(self.picture_format, self.data)
        except TooManyPartsError as error:
            raise UnreadableFrameError(str(error)) from None
        cv2 = _opencv()
        try:
            pixels = cv2.imdecode(np.frombuffer(self.data, np.uint8), cv2.IMREAD_COLOR_RGB)
        except cv2.error as error:
            raise UnreadableFrameError(f"OpenCV cannot decode this {self.picture_format}: {error}") from None
        if pixels is None:
            raise UnreadableFrameError(f"damaged or truncated {self.picture_format} of {len(self.data):,} bytes")
        rgb: NDArray[np.uint8] = pixels
        return rgb


def read_picture(file: IO[bytes], max_pixels: int) -> EncodedPicture:
    """Read a picture file. The size is read from the header first, so no more is read than its pixels explain.

    Raises:
        UnreadableFrameError: The file is empty, not a picture, of more than `max_pixels` pixels, or damaged.
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
    return EncodedPicture(picture_format, data, many_parts)


def decode_picture(file: IO[bytes], max_pixels: int) -> NDArray[np.uint8]:
    """Return a picture file as RGB uint8 (height, width, 3).

    Raises:
        UnreadableFrameError: See `read_picture` and `EncodedPicture.decode`.
        OSError: The file cannot be read.
    """
    return read_picture(file, max_pixels).decode()


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
