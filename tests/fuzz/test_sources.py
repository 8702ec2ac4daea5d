"""Whatever the bytes of a table or picture: rows, pixels or a reason, and nothing else."""

from __future__ import annotations

import io
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from PIL import Image
from pyarrow import parquet

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import SourceProblem, Video
from phoenix_ray.sources.containers import examine_container
from phoenix_ray.sources.decode import UnreadableFrameError, decode_picture
from phoenix_ray.sources.decoding import DecodingSessions
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.files import ContainerError
from phoenix_ray.sources.phoenix import read_annotations
from phoenix_ray.sources.table import open_table, read_table
from tests.fuzz.cases import cases, mutations
from tests.sources.made_up import picture, write_video

CSV = b'video_id,path,split,text\nmonday/1,clips/a.mp4,train,"eins, ""zwei""\n"\n2,../frames,,\n'
ANNOTATIONS = b"name|video|start|end|speaker|orth|translation\nclip|clip/1/*.png|-1|-1|S1|REGEN|es regnet\n"
MAX_PIXELS = 1_000_000


def parquet_table() -> bytes:
    sink = io.BytesIO()
    columns = {
        "video_id": ["1", "2"],
        "path": ["a", None],
        "age": [3, 4],
        "split": pa.array(["x", "y"]).dictionary_encode(),
    }
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


def pictures() -> list[bytes]:
    """Return a small picture in every format, and in every variant whose parser is another one."""
    image = Image.fromarray(picture(1))
    variants: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (image, "PNG", {}),
        (image.convert("P"), "PNG", {}),
        (image.convert("LA"), "PNG", {}),
        (image, "JPEG", {}),
        (image, "JPEG", {"progressive": True}),
        (image.convert("CMYK"), "JPEG", {}),
        (image, "WEBP", {}),
        (image, "WEBP", {"lossless": True}),
        (image, "BMP", {}),
        (image.convert("P"), "BMP", {}),
        (image, "TIFF", {}),
        (image, "TIFF", {"compression": "tiff_lzw"}),
        (image.convert("1"), "TIFF", {"compression": "group4"}),
    ]
    files = []
    for variant, kind, options in variants:
        file = io.BytesIO()
        variant.save(file, kind, **options)
        files.append(file.getvalue())
    return files


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@cases(220)
@given(content=mutations(CSV))
def test_csv(scratch: Path, content: bytes) -> None:
    table = scratch / "videos.csv"
    table.write_bytes(content)
    with suppress(SourceError):
        for found in open_table(DiskPath(table), SourceSettings(path=str(table))).videos():
            assert isinstance(found, SourceProblem)
            (found.split + found.video_id + found.message).encode()


@cases(180)
@given(content=mutations(ANNOTATIONS))
def test_phoenix_annotations(scratch: Path, content: bytes) -> None:
    path = scratch / "PHOENIX-2014-T.train.corpus.csv"
    path.write_bytes(content)
    with suppress(SourceError):
        for row in read_annotations(DiskPath(path)).values():
            assert set(row) == {"signer", "gloss", "translation"}


@cases(130)
@given(content=mutations(parquet_table()))
def test_parquet_tables(scratch: Path, content: bytes) -> None:
    path = scratch / "videos.parquet"
    path.write_bytes(content)
    with suppress(SourceError):
        assert all(isinstance(value, str) for row in read_table(DiskPath(path)) for value in row.values())


@cases(250)
@given(content=mutations(*pictures()))
def test_pictures(content: bytes) -> None:
    with warnings.catch_warnings(), suppress(UnreadableFrameError, OSError):
        warnings.simplefilter("ignore")
        pixels = decode_picture(io.BytesIO(content), MAX_PIXELS)
        assert pixels.dtype == np.uint8
        assert pixels.size <= 3 * MAX_PIXELS


def video_files() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        clips = [("clip.mp4", "mpeg4"), ("clip.mkv", "mpeg4"), ("clip.avi", "mjpeg"), ("clip.ts", "mpeg2video")]
        return [
            write_video(Path(folder, name), 3, codec, "yuvj420p" if codec == "mjpeg" else "yuv420p").read_bytes()
            for name, codec in clips
        ]


@cases(20)
@given(content=mutations(*video_files()))
def test_video_files(scratch: Path, content: bytes) -> None:
    path = scratch / "clip.mp4"
    path.write_bytes(content)
    with suppress(ContainerError, OSError):
        found = examine_container(DiskPath(path), limit_frames=20)
        video = Video("all", "clip", "video_file", str(path), found.frame_count, found.signature, found.rate.fps)
        frames = list(DecodingSessions().frames(video, DiskPath(video.location), 0, found.frame_count, MAX_PIXELS))
        assert [frame.index for frame in frames] == list(range(found.frame_count))
        assert all((frame.image is None) == (frame.error is not None) for frame in frames)
