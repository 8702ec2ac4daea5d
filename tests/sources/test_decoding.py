from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.decoding import DecodingSessions
from phoenix_ray.sources.disk_paths import DiskFile
from phoenix_ray.sources.frames import read_frames
from tests.sources.made_up import container_video, no_thread_left, write_video

COUNT = 60
CODECS = {
    "h264.mp4": ("libx264", "yuv420p"),
    "mpeg4.avi": ("mpeg4", "yuv420p"),
    "mpeg2.mpg": ("mpeg2video", "yuv420p"),
    "mjpeg.mov": ("mjpeg", "yuvj420p"),
    "gif.gif": ("gif", "rgb8"),
    "vp8.webm": ("libvpx", "yuv420p"),
}


@pytest.fixture(scope="module", params=CODECS)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Video:
    path = tmp_path_factory.mktemp("videos") / request.param
    return container_video(write_video(path, COUNT, *CODECS[request.param]))


def read(video: Video, first: int, last: int, sessions: DecodingSessions | None = None) -> list[Frame]:
    return list(read_frames(video, first, last, DecodeSettings(), sessions))


def check_equal(found: list[Frame], expected: list[Frame]) -> None:
    assert [(frame.index, frame.name, frame.timestamp, frame.error) for frame in found] == [
        (frame.index, frame.name, frame.timestamp, frame.error) for frame in expected
    ]
    for frame, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(frame.image, other.image)


def part(video: Video, first: int, last: int) -> Video:
    return replace(video, is_segment=True, start_frame=first, frame_count=last - first)


def test_ranges_in_order_are_decoded_once_and_equal_the_whole(video: Video) -> None:
    whole = read(video, 0, video.frame_count)
    sessions = DecodingSessions(1)
    with no_thread_left():
        for first in range(0, video.frame_count, 16):
            last = min(first + 16, video.frame_count)
            check_equal(read(video, first, last, sessions), whole[first:last])
    assert sessions.decoded == video.frame_count
    sessions.close()


def test_overlapping_segments_are_decoded_once_and_equal_the_whole(video: Video) -> None:
    whole = read(video, 0, video.frame_count)
    sessions = DecodingSessions(1, keep_bytes=1 << 20)
    for first in range(0, video.frame_count - 20, 7):
        segment = part(video, first, first + 20)
        found = read(segment, 0, 20, sessions)
        for frame, other in zip(found, whole[first : first + 20], strict=True):
            assert (frame.index, frame.name, frame.error) == (other.index - first, other.name, None)
            np.testing.assert_array_equal(frame.image, other.image)
    assert sessions.decoded <= video.frame_count
    sessions.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(
    ranges=st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(1, 30)), min_size=1, max_size=6),
    places=st.integers(0, 2),
    keep=st.sampled_from([0, 5_000, 50_000, 1 << 20]),
)
def test_frames_depend_on_nothing_that_was_read_before(
    video: Video, ranges: list[tuple[int, int]], places: int, keep: int
) -> None:
    whole = read(video, 0, video.frame_count)
    sessions = DecodingSessions(places, keep)
    for start, length in ranges:
        first = min(start, video.frame_count - 1)
        last = min(first + length, video.frame_count)
        segment = part(video, first, last)
        for frame, other in zip(read(segment, 0, last - first, sessions), whole[first:last], strict=True):
            assert (frame.name, frame.error) == (other.name, other.error)
            np.testing.assert_array_equal(frame.image, other.image)
    sessions.close()


def test_whole_videos_keep_no_pictures(tmp_path: Path) -> None:
    video = container_video(write_video(tmp_path / "clip.mp4", 20))
    sessions = DecodingSessions(1, keep_bytes=1 << 20)
    read(video, 0, 10, sessions)
    read(video, 5, 15, sessions)
    assert sessions.decoded == 10 + 15, "the file was decoded anew"
    sessions.close()


def test_a_range_that_is_given_up_leaves_a_decoder_that_others_can_use(tmp_path: Path) -> None:
    video = container_video(write_video(tmp_path / "clip.mp4", 40))
    whole = read(video, 0, 40)
    sessions = DecodingSessions(1)
    frames = read_frames(video, 0, 20, DecodeSettings(ahead=4), sessions)
    next(frames)
    frames.close()
    check_equal(read(video, 20, 40, sessions), whole[20:])
    assert sessions.decoded == 40
    sessions.close()


def test_a_file_that_ends_early_is_flagged_alike_in_every_range(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.webm", 30, "libvpx")
    video = replace(container_video(path), frame_count=50)
    sessions = DecodingSessions(1)
    alone = [frame for first in range(0, 50, 10) for frame in read(video, first, first + 10)]
    together = [frame for first in range(0, 50, 10) for frame in read(video, first, first + 10, sessions)]
    check_equal(together, alone)
    assert together[-1].error == "the video was planned with 50 frames; after frame 30: the file ends"
    assert sessions.decoded == 30, "the end is known"
    sessions.close()


def test_a_damaged_file_is_flagged_alike_in_every_range(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", 40, "libx264", movflags="faststart")
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 3, len(content), len(content) // 9):
        content[place : place + 40] = bytes(40)
    path.write_bytes(content[: int(len(content) * 0.8)])
    video = container_video(path)
    whole = read(video, 0, video.frame_count)
    assert any(frame.error for frame in whole)
    sessions = DecodingSessions(1)
    together = [
        frame
        for first in range(0, video.frame_count, 7)
        for frame in read(video, first, min(first + 7, video.frame_count), sessions)
    ]
    check_equal(together, whole)
    sessions.close()


def test_no_more_files_stay_open_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    close = DiskFile.close

    def note_close(file: DiskFile) -> None:
        closed.append(Path(file.location).name)
        close(file)

    monkeypatch.setattr(DiskFile, "close", note_close)
    videos = [container_video(write_video(tmp_path / f"{name}.mp4", 6)) for name in "abc"]
    closed.clear()
    sessions = DecodingSessions(1)
    for each in videos:
        read(each, 0, 3, sessions)
    assert closed == ["a.mp4", "b.mp4"]
    sessions.close()
    assert closed == ["a.mp4", "b.mp4", "c.mp4"]


def test_after_a_storage_failure_the_file_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phoenix_ray.sources.files.PAUSES", ())
    video = container_video(write_video(tmp_path / "clip.mkv", 40, "ffv1", "bgr0"))
    whole = read(video, 0, 40)
    sessions = DecodingSessions(1)
    read(video, 0, 10, sessions)
    with monkeypatch.context() as broken:

        def fail(*_: object) -> bytes:
            raise OSError(5, "Input/output error")

        broken.setattr(DiskFile, "read_at", fail)
        with pytest.raises(SourceError, match="cannot be read on this machine now"):
            read(video, 10, 40, sessions)
    check_equal(read(video, 10, 40, sessions), whole[10:])
    sessions.close()


@pytest.mark.parametrize("at_once", [1, 2])
def test_kept_pictures_of_all_files_together_have_a_limit(tmp_path: Path, at_once: int) -> None:
    videos = [container_video(write_video(tmp_path / f"{name}.mp4", 30)) for name in "abc"]
    most = 60_000
    sessions = DecodingSessions(3, most, at_once)
    for first in (0, 8, 16):
        for each in videos:
            frames = read_frames(part(each, first, first + 10), 0, 10, DecodeSettings(ahead=1), sessions)
            for _ in frames:
                idle = sum(session.kept_bytes for session in sessions._idle)
                assert idle + most // at_once <= most, "the one that is read may fill its share"
    sessions.close()
