from __future__ import annotations

import io
import random
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from phoenix_ray.config import DecodeSettings
from phoenix_ray.sources import decode
from phoenix_ray.sources.decode import MOST_SCANS, UnreadableFrameError, decode_picture
from phoenix_ray.sources.frames import read_frames
from tests.sources.made_up import folder_video, picture, write_frames

MAX_PIXELS = DecodeSettings().max_pixels
RGB = Image.fromarray(picture(0))
GREY = RGB.convert("L")


def see_through() -> Image.Image:
    image = RGB.copy()
    image.putalpha(GREY)
    return image


PNGS = {
    "rgb": RGB,
    "grey": GREY,
    "black and white": RGB.convert("1"),
    "palette": RGB.quantize(200),
    "palette of 4 colours": RGB.quantize(4),
    "alpha": see_through(),
    "grey and alpha": see_through().convert("LA"),
    "16-bit grey": Image.fromarray(np.random.default_rng(1).integers(0, 2**16, (64, 48), dtype=np.uint16)),
    "1x1": RGB.crop((0, 0, 1, 1)),
}


def encoded(image: Image.Image, picture_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, picture_format, **options)
    return buffer.getvalue()


FILES = {
    "png": encoded(RGB, "PNG"),
    "jpeg": encoded(RGB, "JPEG"),
    "progressive jpeg": encoded(RGB, "JPEG", progressive=True),
    "webp": encoded(RGB, "WEBP"),
    "lossless webp": encoded(RGB, "WEBP", lossless=True),
    "bmp": encoded(RGB, "BMP"),
    "tiff": encoded(RGB, "TIFF"),
    "packed tiff": encoded(RGB, "TIFF", compression="tiff_lzw"),
}


def check_equals_imread(path: Path) -> None:
    expected = cv2.imread(str(path))
    assert expected is not None
    with path.open("rb") as file:
        pixels = decode_picture(file, MAX_PIXELS)
    np.testing.assert_array_equal(pixels, expected[:, :, ::-1])
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize("kind", PNGS)
def test_every_kind_of_png_gives_the_pixels_of_imread(tmp_path: Path, kind: str) -> None:
    PNGS[kind].save(tmp_path / "frame.png")
    check_equals_imread(tmp_path / "frame.png")


def test_a_16_bit_colour_png_gives_the_pixels_of_imread(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 2**16, (8, 6, 3), dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "frame.png"), pixels)
    check_equals_imread(tmp_path / "frame.png")


@pytest.mark.parametrize("kind", FILES)
def test_every_format_gives_the_pixels_of_imread(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "frame"
    path.write_bytes(FILES[kind])
    check_equals_imread(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    RGB.save(tmp_path / "frame.jpg", exif=exif)
    check_equals_imread(tmp_path / "frame.jpg")


def test_colours_are_in_rgb_order() -> None:
    red = Image.new("RGB", (2, 2), (200, 10, 30))
    assert decode_picture(io.BytesIO(encoded(red, "PNG")), MAX_PIXELS)[0, 0].tolist() == [200, 10, 30]


def test_an_empty_file_is_unreadable() -> None:
    with pytest.raises(UnreadableFrameError, match=r"is empty \(0 bytes\)"):
        decode_picture(io.BytesIO(), MAX_PIXELS)


def test_a_file_of_another_kind_is_unreadable() -> None:
    with pytest.raises(UnreadableFrameError, match=r"of 12 bytes is not a PNG, JPEG"):
        decode_picture(io.BytesIO(b"not a frame\n"), MAX_PIXELS)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", FILES)
@given(kept=st.floats(0, 1, exclude_max=True))
def test_a_truncated_picture_never_gives_pixels(kind: str, kept: float) -> None:
    data = FILES[kind]
    with pytest.raises((UnreadableFrameError, OSError)):
        decode_picture(io.BytesIO(data[: int(kept * len(data))]), MAX_PIXELS)


@pytest.mark.parametrize("kind", ["png", "jpeg", "progressive jpeg"])
@given(kept=st.floats(0, 0.98))
def test_a_picture_whose_end_a_crash_left_as_zeros_never_gives_pixels(kind: str, kept: float) -> None:
    data = FILES[kind]
    written = int(kept * len(data))
    with pytest.raises((UnreadableFrameError, OSError)):
        decode_picture(io.BytesIO(data[:written].ljust(len(data), b"\0")), MAX_PIXELS)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", FILES)
@given(seed=st.integers(0, 2**32), damages=st.integers(1, 20))
def test_damage_gives_pixels_or_a_reason_and_nothing_else(kind: str, seed: int, damages: int) -> None:
    numbers = random.Random(seed)
    data = bytearray(FILES[kind])
    for _ in range(damages):
        data[numbers.randrange(min(len(data), numbers.choice((30, 300, len(data)))))] = numbers.randrange(256)
    try:
        pixels = decode_picture(io.BytesIO(bytes(data)), 1_000_000)
    except (UnreadableFrameError, OSError):
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2:] == (3,)


def test_a_header_that_pillow_gives_up_on_is_unreadable() -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    png = FILES["png"]
    header = len(b"\x89PNG\r\n\x1a\n") + len(chunk(b"IHDR", bytes(13)))
    swollen = png[:header] + chunk(b"zTXt", b"title\0\0" + zlib.compress(bytes(5_000_000))) + png[header:]
    with pytest.raises(UnreadableFrameError, match="its header is damaged: Decompressed data too large"):
        decode_picture(io.BytesIO(swollen), MAX_PIXELS)


@pytest.fixture(scope="module")
def vast_png() -> bytes:
    return encoded(Image.new("1", (12_000, 12_000)), "PNG")


def test_a_picture_of_too_many_pixels_is_refused_without_decoding(
    vast_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        pytest.fail("it was decoded")

    monkeypatch.setattr(decode, "_opencv", fail)
    with pytest.raises(UnreadableFrameError, match=r"12000x12000 is 144,000,000 pixels, more than decode.max_pixels="):
        decode_picture(io.BytesIO(vast_png), MAX_PIXELS)


@pytest.mark.slow
def test_a_large_picture_is_read_where_the_setting_allows_it(vast_png: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_picture(io.BytesIO(vast_png), 144_000_000).shape == (12_000, 12_000, 3)


def test_pillows_own_limit_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    decode._pillow.cache_clear()
    assert decode_picture(io.BytesIO(FILES["png"]), MAX_PIXELS).shape == (64, 48, 3)


def test_a_side_that_the_dataset_cannot_store_is_refused() -> None:
    wide = encoded(Image.new("1", (32_768, 1)), "PNG")
    with pytest.raises(UnreadableFrameError, match=r"32768x1 has a side of more than 32,767 pixels"):
        decode_picture(io.BytesIO(wide), MAX_PIXELS)


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
