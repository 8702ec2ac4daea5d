from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Frame
from phoenix_ray.sources.containers import SIGNED_BYTES, examine_container
from phoenix_ray.sources.decoding import DecodingSessions
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.files import ContainerError
from phoenix_ray.sources.formats import is_video_name
from phoenix_ray.sources.timing import FrameRate
from tests.sources.made_up import container_video, picture, write_audio, write_video

MAX_PIXELS = DecodeSettings().max_pixels


def frames_of(path: Path, max_pixels: int = MAX_PIXELS) -> list[Frame]:
    video = container_video(path)
    return list(DecodingSessions().frames(video, DiskPath(video.location), 0, video.frame_count, max_pixels))


def check_one_row_per_frame(frames: list[Frame], count: int) -> None:
    assert [frame.index for frame in frames] == list(range(count))
    assert [frame.name for frame in frames] == [f"frame-{index}" for index in range(count)]
    assert all((frame.image is None) != (frame.error is None) for frame in frames)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("clip.mp4", "libx264", "yuv420p"),
        ("clip.mkv", "libx264", "yuv444p"),
        ("clip.webm", "libvpx", "yuv420p"),
        ("clip.mov", "mjpeg", "yuvj420p"),
        ("clip.avi", "mpeg4", "yuv420p"),
        ("clip.mpg", "mpeg2video", "yuv420p"),
        ("clip.ts", "libx264", "yuv420p"),
        ("clip.gif", "gif", "rgb8"),
    ],
)
def test_every_format_gives_all_its_frames(tmp_path: Path, name: str, codec: str, pixels: str) -> None:
    path = write_video(tmp_path / name, 12, codec, pixels)
    frames = frames_of(path)
    check_one_row_per_frame(frames, 12)
    assert [frame.error for frame in frames] == [None] * 12
    assert {frame.image.shape for frame in frames if frame.image is not None} == {(64, 48, 3)}
    # A program stream does not time every frame exactly.
    tolerance = 0.041 if name == "clip.mpg" else 1e-6
    assert [frame.timestamp for frame in frames] == pytest.approx([index / 25 for index in range(12)], abs=tolerance)
    assert examine_container(DiskPath(path)).rate == FrameRate(25.0)


def test_lossless_frames_come_back_as_they_were_written(tmp_path: Path) -> None:
    for index, frame in enumerate(frames_of(write_video(tmp_path / "clip.mkv", 5, "ffv1", "bgr0"))):
        assert frame.image is not None
        np.testing.assert_array_equal(frame.image, picture(index))


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_a_variable_frame_rate_is_kept_as_time_stamps(tmp_path: Path, name: str) -> None:
    times = [100, 140, 200, 950, 960, 2000]
    frames = frames_of(write_video(tmp_path / name, codec="libx264", times_ms=times))
    assert [frame.timestamp for frame in frames] == pytest.approx([0, 0.04, 0.1, 0.85, 0.86, 1.9])


MATRICES = {
    "a quarter clockwise": (0, 1, -1, 0, 64, 0),
    "a half": (-1, 0, 0, -1, 48, 64),
    "a quarter counterclockwise": (0, -1, 1, 0, 0, 48),
}


@pytest.mark.parametrize("turn", MATRICES)
def test_rotation_is_honoured_as_opencv_does(tmp_path: Path, turn: str) -> None:
    path = write_video(tmp_path / "clip.mp4", 3)
    a, b, c, d, x, y = MATRICES[turn]
    upright, turned = (
        struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, x << 16, y << 16, 1 << 30)
        for a, b, c, d, x, y in ((1, 0, 0, 1, 0, 0), (a, b, c, d, x, y))
    )
    movie_header, track_header = path.read_bytes().split(b"tkhd")
    assert upright in track_header
    path.write_bytes(movie_header + b"tkhd" + track_header.replace(upright, turned, 1))

    capture = cv2.VideoCapture(str(path))
    for frame in frames_of(path):
        found, expected = capture.read()
        assert found
        assert frame.image is not None
        assert frame.image.flags.c_contiguous
        assert frame.image.shape == expected.shape == ((64, 48, 3) if turn == "a half" else (48, 64, 3))
        assert np.abs(frame.image.astype(int) - expected[:, :, ::-1]).mean() < 2


def test_a_file_cut_behind_its_index_keeps_its_frames_and_flags_the_rest(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 12, "libx264", movflags="faststart")
    whole = frames_of(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.7)])
    cut = frames_of(path)
    check_one_row_per_frame(cut, 12)
    sound = [frame for frame in cut if frame.image is not None]
    assert 0 < len(sound) < 12
    assert cut[-1].error
    for frame in sound:
        np.testing.assert_array_equal(frame.image, whole[frame.index].image)


def test_a_file_cut_before_its_index_is_not_a_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ContainerError, match="it cannot be opened as a video: Invalid data"):
        examine_container(DiskPath(path))


def test_a_stream_cut_in_a_container_without_index_ends_earlier(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.webm", 12, "libvpx")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    frames = frames_of(path)
    assert 0 < len(frames) < 12
    check_one_row_per_frame(frames, len(frames))


def test_a_damaged_frame_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", 8, "mjpeg", "yuvj420p")
    whole = frames_of(path)
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    assert data.count(packets[3]) == 1
    path.write_bytes(data.replace(packets[3], bytes(len(packets[3]))))
    damaged = frames_of(path)
    check_one_row_per_frame(damaged, 8)
    assert [frame.index for frame in damaged if frame.error] == [3]
    for before, after in zip(whole, damaged, strict=True):
        assert before.timestamp == after.timestamp
        if after.image is not None:
            np.testing.assert_array_equal(before.image, after.image)


def test_a_file_that_became_shorter_since_it_was_counted_is_flagged(tmp_path: Path) -> None:
    planned = container_video(write_video(tmp_path / "clip.mkv", 12))
    write_video(tmp_path / "clip.mkv", 5)
    frames = list(DecodingSessions().frames(planned, DiskPath(planned.location), 3, 9, MAX_PIXELS))
    assert [frame.image is not None for frame in frames] == [True] * 2 + [False] * 4
    assert frames[-1].error == "the video was planned with 12 frames; after frame 5: the file ends"


def test_a_file_that_is_gone_since_it_was_counted_says_nothing_about_its_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mkv", 3)
    planned = container_video(path)
    path.unlink()
    with pytest.raises(SourceError, match=r"cannot be read on this machine \(No such file or directory\)"):
        list(DecodingSessions().frames(planned, DiskPath(planned.location), 0, 3, MAX_PIXELS))


def test_too_large_a_picture_is_flagged(tmp_path: Path) -> None:
    frames = frames_of(write_video(tmp_path / "clip.mp4", 3), max_pixels=48 * 64 - 1)
    check_one_row_per_frame(frames, 3)
    assert all("48x64 is 3,072 pixels, more than decode.max_pixels" in (frame.error or "") for frame in frames)


def write_nothing(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 48, 64
        container.start_encoding()


def write_unknown_codec(path: Path) -> None:
    write_video(path, 3, "libx264")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"xyz9"))


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("sound.mkv", write_audio, "it has no video stream"),
        ("nothing.avi", write_nothing, "its video stream has no frames"),
        ("unknown.mp4", write_unknown_codec, "of a codec that cannot be decoded"),
        ("empty.mp4", Path.touch, "it cannot be opened as a video"),
        ("text.mp4", lambda path: path.write_text("no video"), "it cannot be opened as a video"),
    ],
)
def test_a_file_without_frames_is_not_a_video(
    tmp_path: Path, name: str, write: Callable[[Path], object], reason: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(ContainerError, match=reason):
        examine_container(DiskPath(tmp_path / name))


def test_a_playlist_never_reaches_the_network(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:{1}".format(*server.getsockname())
        for name, text in {
            "hls.mp4": f"#EXTM3U\n#EXTINF:1,\nhttp://{address}/clip.ts\n#EXT-X-ENDLIST\n",
            "concat.mp4": f"ffconcat version 1.0\nfile http://{address}/clip.mp4\n",
        }.items():
            (tmp_path / name).write_text(text)
            with pytest.raises(ContainerError):
                examine_container(DiskPath(tmp_path / name))
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_frames_that_an_edit_list_hides_are_left_out(tmp_path: Path, codec: str) -> None:
    path = write_video(tmp_path / "clip.mp4", 12, codec)
    whole = frames_of(path)
    # An entry of the edit list: duration, first time shown, rate. A frame lasts 512 units.
    start, data = path.read_bytes().split(b"elst")
    (shown,) = struct.unpack(">i", data[12:16])
    path.write_bytes(start + b"elst" + data[:12] + struct.pack(">i", shown + 3 * 512) + data[16:])
    edited = frames_of(path)
    check_one_row_per_frame(edited, 9)
    assert [frame.timestamp for frame in edited] == pytest.approx([index / 25 for index in range(9)])
    for before, after in zip(whole[3:], edited, strict=True):
        np.testing.assert_equal(before.image, after.image)


def test_a_title_that_is_not_utf8_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "Gebaerden"
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 48, 64
        container.mux(stream.encode(av.VideoFrame(48, 64, "yuv420p")))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    assert data.count(b"Gebaerden") == 1
    path.write_bytes(data.replace(b"Gebaerden", "Gebärden".encode("latin-1") + b" "))
    assert examine_container(DiskPath(path)).frame_count == 1


def test_a_limit_counts_no_further(tmp_path: Path) -> None:
    path = DiskPath(write_video(tmp_path / "clip.mp4", 12))
    assert examine_container(path, limit_frames=5).frame_count == 5
    assert examine_container(path, limit_frames=50).frame_count == 12


def test_the_signature_changes_with_the_content_alone(tmp_path: Path) -> None:
    one, two = write_video(tmp_path / "one.mkv", 30, "ffv1", "bgr0"), tmp_path / "two.mkv"
    data = one.read_bytes()
    assert len(data) > 2 * SIGNED_BYTES
    signatures = [examine_container(DiskPath(one)).signature]
    for content in (data + b"\0", data[:-1] + bytes([data[-1] ^ 1]), data[:-1]):
        two.write_bytes(content)
        signatures.append(examine_container(DiskPath(two)).signature)
    assert len(set(signatures)) == 4
    two.write_bytes(data)
    assert examine_container(DiskPath(two)).signature == signatures[0]


def test_times_ascend_also_where_the_codec_reorders_frames(tmp_path: Path) -> None:
    frames = frames_of(write_video(tmp_path / "clip.mp4", 20, "libx264"))
    assert all((one.timestamp or 0) < (two.timestamp or 0) for one, two in pairwise(frames))


@pytest.mark.parametrize(
    ("name", "answer"), [("a.mp4", True), ("a.MOV", True), ("a.gif", True), ("._a.mp4", False), ("a.png", False)]
)
def test_videos_are_recognised_by_their_names(name: str, answer: bool) -> None:
    assert is_video_name(name) is answer


NTSC = 30000 / 1001


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.webm", "clip.ts", "clip.flv"])
def test_an_ntsc_rate_comes_out_exactly_from_every_container(tmp_path: Path, name: str) -> None:
    times = [round(1000 * index / NTSC) for index in range(90)]
    codec = "libvpx" if name == "clip.webm" else "libx264"
    path = write_video(tmp_path / name, codec=codec, times_ms=times)
    assert examine_container(DiskPath(path)).rate == FrameRate(NTSC)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts", "clip.flv"])
def test_a_rate_that_varies_is_the_average_in_every_container(tmp_path: Path, name: str) -> None:
    times = [0, 40, 100, 850, 860, 1900, 1940, 1980]
    path = write_video(tmp_path / name, codec="libx264", times_ms=times)
    rate = examine_container(DiskPath(path)).rate
    assert rate.varies
    assert rate.fps == pytest.approx(7 / 1.98)


def remux(source: Path, target: Path, first: int = 0) -> Path:
    """Copy the packets of a video from the `first` on into another container, without decoding."""
    with av.open(str(source)) as reading, av.open(str(target), "w") as writing:
        stream = writing.add_stream_from_template(reading.streams.video[0])
        for index, packet in enumerate(reading.demux(video=0)):
            if packet.dts is not None and index >= first:
                packet.stream = stream
                writing.mux(packet)
    return target


@pytest.mark.parametrize("name", ["copy.mp4", "copy.mov", "copy.mkv", "copy.ts"])
def test_a_stream_that_was_copied_has_the_rate_of_its_time_stamps(tmp_path: Path, name: str) -> None:
    times = [round(1000 * index / NTSC) for index in range(60)]
    codec, pixels = ("mpeg4", "yuv420p") if name == "copy.ts" else ("mjpeg", "yuvj420p")
    original = write_video(tmp_path / "clip.mkv", codec=codec, pixels=pixels, times_ms=times)
    copy = remux(original, tmp_path / name, first=36)
    found = examine_container(DiskPath(copy))
    assert found.frame_count == 24
    assert not found.rate.varies
    assert found.rate.fps == pytest.approx(NTSC, rel=1e-3)


def test_a_file_cut_behind_its_index_keeps_its_rows_also_where_the_rate_varies(tmp_path: Path) -> None:
    times = [40 * index + 300 * (index % 3 == 0) for index in range(30)]
    path = write_video(tmp_path / "clip.mp4", codec="libx264", times_ms=sorted(times), movflags="faststart")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    assert (
        examine_container(DiskPath(path)).frame_count,
        examine_container(DiskPath(path)).rate.varies,
    ) == (30, True)
