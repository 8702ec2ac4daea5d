"""Sources as an attacker would make them: flagged or refused, without taking memory, time or other files."""

from __future__ import annotations

import io
import os
import resource
import struct
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from phoenix_ray.config import DecodeSettings
from phoenix_ray.sources import decode
from phoenix_ray.sources.base import SourceProblem
from phoenix_ray.sources.containers import examine_container
from phoenix_ray.sources.decode import PICTURE_FORMATS, UnreadableFrameError, decode_picture
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.files import ContainerError
from phoenix_ray.sources.frames import read_frames
from tests.sources.made_up import (
    container_video,
    folder_video,
    listed,
    listed_videos,
    problem,
    write_frames,
    write_video,
)

SETTINGS = DecodeSettings(max_pixels=1_000_000)


def peak_memory() -> int:
    """Return the largest resident size so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.mark.timeout(60)
def test_a_pipe_among_frames_is_flagged_without_waiting(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "video", 2)
    os.mkfifo(folder / "images0003.png")
    video = folder_video(folder)
    errors = [frame.error for frame in read_frames(video, 0, 3, SETTINGS)]
    assert errors[:2] == [None, None]
    assert "It is not a regular file" in (errors[2] or "")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("target", ["/dev/zero", "/dev/tty0", "loop.png"])
def test_a_link_to_a_device_or_to_itself_is_flagged(tmp_path: Path, target: str) -> None:
    folder = write_frames(tmp_path / "video", 1)
    (folder / "loop.png").symlink_to(target)
    *_, last = read_frames(folder_video(folder), 0, 2, SETTINGS)
    assert last.image is None
    assert last.error


@pytest.mark.timeout(60)
def test_a_pipe_that_calls_itself_a_video_is_a_problem(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "clip.mp4")
    assert "It is not a regular file" in problem(tmp_path).message


def test_links_out_of_the_source_are_followed(tmp_path: Path) -> None:
    write_frames(tmp_path / "elsewhere", 2)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "video").symlink_to(tmp_path / "elsewhere")
    (video,) = listed_videos(tmp_path / "source")
    assert video.frame_count == 2


@pytest.mark.parametrize("kind", PICTURE_FORMATS)
def test_a_picture_bomb_of_every_format_is_refused_before_it_is_decoded(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (1200, 1200)).save(file, kind)
    monkeypatch.setattr(decode, "_opencv", lambda: pytest.fail("it was decoded"))
    with pytest.raises(UnreadableFrameError, match=r"1200x1200 is 1,440,000 pixels, more than decode.max_pixels"):
        decode_picture(file, 1_000_000)


def test_a_small_tiff_of_vast_tiles_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 277: 1, 322: 1 << 15, 323: 1 << 14, 324: 134, 325: 64}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    file = io.BytesIO(b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4 + 64))
    monkeypatch.setattr(decode, "_opencv", lambda: pytest.fail("it was decoded"))
    with pytest.raises(UnreadableFrameError, match="32768x16384 is 536,870,912 pixels"):
        decode_picture(file, 50_000_000)


def test_a_small_picture_in_a_vast_file_is_not_read_whole(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "video", 1)
    os.truncate(folder / "images0001.png", 1 << 40)
    before = peak_memory()
    (frame,) = read_frames(folder_video(folder), 0, 1, SETTINGS)
    assert "more than 67,158,016 bytes for 48x64 pixels" in (frame.error or "")
    assert peak_memory() - before < 300


def write_growing_video(path: Path, side: int) -> Path:
    """Write a video whose second frame is `side` pixels wide and high, the others 48x64."""
    vast = cv2.imencode(".jpg", np.zeros((side, side, 3), np.uint8))[1].tobytes()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 64, "yuvj420p"
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 48, 3), np.uint8), format="rgb24")
        for index in range(3):
            for packet in stream.encode(picture):
                if index == 1:
                    larger = av.Packet(vast)
                    larger.stream, larger.pts, larger.dts = stream, packet.pts, packet.dts
                    larger.time_base, larger.is_keyframe = packet.time_base, True
                    container.mux(larger)
                else:
                    container.mux(packet)
        container.mux(stream.encode(None))
    return path


def test_a_video_whose_size_grows_takes_no_memory_for_it(tmp_path: Path) -> None:
    video = container_video(write_growing_video(tmp_path / "clip.avi", 12_000))
    before = peak_memory()
    frames = list(read_frames(video, 0, 3, SETTINGS))
    assert [frame.image is not None for frame in frames] == [True, False, True]
    assert peak_memory() - before < 100


@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts", "clip.avi"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.ts\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile secret.ts\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    ],
)
def test_a_playlist_that_calls_itself_a_video_is_refused(tmp_path: Path, name: str, text: str) -> None:
    write_video(tmp_path / "secret.ts", codec="mpeg2video")
    (tmp_path / name).write_text(text)
    with pytest.raises(ContainerError, match="cannot be opened"):
        examine_container(DiskPath(tmp_path / name))


@pytest.mark.parametrize("path", ["../elsewhere", "{outside}/elsewhere", "sub/../../elsewhere"])
def test_a_table_may_name_any_path(tmp_path: Path, path: str) -> None:
    write_frames(tmp_path / "elsewhere", 2)
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables" / "videos.csv"
    table.write_text(f"video_id,path\n../../x,{path.format(outside=tmp_path)}\n")
    (video,) = listed_videos(table)
    assert (video.video_id, video.location) == ("../../x", str(tmp_path / "elsewhere"))


def test_secrets_in_a_table_are_not_passed_on(tmp_path: Path) -> None:
    write_frames(tmp_path / "frames", 1)
    table = tmp_path / "videos.csv"
    table.write_text(
        "video_id,path,url\n1,frames,https://anna:geheim@host/x?token=geheim&v=7\n"
        "2,https://anna:geheim@host/clip.mp4?sig=geheim,\n"
    )
    video, found = listed(table)
    assert not isinstance(video, SourceProblem)
    assert video.annotation == {"url": "https://***@host/x?token=***&v=7"}
    assert isinstance(found, SourceProblem)
    assert "geheim" not in found.message


def test_folders_around_a_table_are_not_columns(tmp_path: Path) -> None:
    folder = tmp_path / "path=elsewhere" / "split=test"
    write_frames(folder / "frames", 1)
    parquet.write_table(pa.table({"video_id": ["1"], "path": ["frames"]}), folder / "videos.parquet")
    (video,) = listed_videos(folder / "videos.parquet")
    assert (video.split, video.location) == ("all", str(folder / "frames"))
