"""Pictures of so many parts that a decoder is busy with them for minutes are refused, and no ordinary one is."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phoenix_ray.config import DecodeSettings
from phoenix_ray.sources.decode import UnreadableFrameError, decode_picture
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.picture_parts import MOST_SCANS
from tests.sources.made_up import folder_video, picture, write_frames

MAX_PIXELS = DecodeSettings().max_pixels
SCAN, END = b"\xff\xda", b"\xff\xd9"


def encode(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(picture(0))).save(file, kind, **options)
    return file.getvalue()


PNG = encode("PNG")
JPEG = encode("JPEG")
PROGRESSIVE = encode("JPEG", Image.new("L", (500, 500), 128), progressive=True)


def chunk(kind: bytes) -> bytes:
    return struct.pack(">I", 0) + kind + struct.pack(">I", zlib.crc32(kind))


def repeated_scans(scans: int) -> bytes:
    """Return a progressive JPEG that ends with its last scan so many times more."""
    start, end = PROGRESSIVE.rfind(SCAN), PROGRESSIVE.rfind(END)
    return PROGRESSIVE[:end] + PROGRESSIVE[start:end] * scans + PROGRESSIVE[end:]


def sequential_scans(scans: int) -> bytes:
    """Return a JPEG that is not progressive, with scans of one colour each."""
    start, end = JPEG.index(SCAN), JPEG.rfind(END)
    scan = SCAN + b"\x00\x08\x01\x01\x00\x00\x3f\x00" + JPEG[start + 14 : end]
    return JPEG[:start] + scan * scans + JPEG[end:]


def strips(order: str, strips: int) -> bytes:
    """Return the beginning of a TIFF with so many strips."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    tags = [(256, 50), (257, 50), (258, 8), (259, 1), (262, 1), (273, None), (277, 1), (278, 1), (279, 50)]
    entries = [
        struct.pack(f"{order}HHII", tag, 4, strips if value is None else 1, 126 if value is None else value)
        for tag, value in tags
    ]
    return mark + struct.pack(f"{order}IH", 8, len(tags)) + b"".join(entries) + bytes(8) + bytes(4 * strips)


HOSTILE = {
    "scans": repeated_scans(2_000),
    "sequential scans": sequential_scans(2_000),
    "chunks before the pixels": PNG[:33] + chunk(b"tEXt") * 100_000 + PNG[33:],
    "chunks after the pixels": PNG[:-12] + chunk(b"tEXt") * 100_000 + PNG[-12:],
    "empty chunks of pixels": PNG[:-12] + chunk(b"IDAT") * 100_000 + PNG[-12:],
    "comments": JPEG[:2] + b"\xff\xfe\x00\x02" * 100_000 + JPEG[2:],
    "zeros between segments": JPEG[:2] + bytes(100_000) + JPEG[2:],
    "padding between segments": JPEG[:2] + b"\xff" * 100_000 + JPEG[2:],
    "strips": strips("<", 300_000),
    "strips of big endian": strips(">", 300_000),
    "restarts between segments": JPEG[:2] + b"\xff\xd0" * 100_000 + JPEG[2:],
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_picture_of_too_many_parts_is_refused(name: str) -> None:
    with pytest.raises(UnreadableFrameError, match="more than"):
        decode_picture(io.BytesIO(HOSTILE[name]), MAX_PIXELS)


def test_such_a_frame_becomes_a_row_with_its_reason(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "video", 2)
    (folder / "images9999.jpg").write_bytes(HOSTILE["scans"])
    *_, last = read_frames(folder_video(folder), 0, 3, DecodeSettings())
    assert last.image is None
    assert last.error == f"a JPEG of more than {MOST_SCANS} scans"


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_what_an_encoder_writes_is_decoded(mode: str, progressive: bool) -> None:
    image = Image.fromarray(picture(0)).convert(mode)
    assert decode_picture(io.BytesIO(encode("JPEG", image, progressive=progressive)), MAX_PIXELS).size


def test_a_profile_and_pictures_behind_the_end_do_not_count() -> None:
    with_profile = encode("JPEG", icc_profile=bytes(255 * 65_000))
    behind = (SCAN + b"\x00\x08\x01\x01\x00\x00\x3f\x00" + b"x") * 1_000 + END
    whole = encode("JPEG", progressive=True)
    for data in (with_profile, JPEG + behind, whole + behind):
        assert decode_picture(io.BytesIO(data), MAX_PIXELS).size


def test_a_png_of_many_small_chunks_of_pixels_is_decoded() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1_000, 1_000, 3), dtype=np.uint8))
    whole = encode("PNG", noise)
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in np.asarray(noise)), 0)
    parts = [pixels[start : start + 400] for start in range(0, len(pixels), 400)]
    chunks = b"".join(
        struct.pack(">I", len(part)) + b"IDAT" + part + struct.pack(">I", zlib.crc32(b"IDAT" + part)) for part in parts
    )
    assert len(parts) > 5_000
    decoded = decode_picture(io.BytesIO(whole[:33] + chunks + whole[-12:]), MAX_PIXELS)
    assert np.array_equal(decoded, np.asarray(noise))
