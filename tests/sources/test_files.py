from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.disk_paths import DiskFile, DiskPath
from phoenix_ray.sources.files import PAUSES, RetryingFile, is_storage_error, lookahead, with_retries
from phoenix_ray.sources.frames import read_frames
from tests.sources.made_up import container_video, folder_video, no_thread_left, write_frames, write_video

TRANSIENT = [
    "EIO",
    "ESTALE",
    "ETIMEDOUT",
    "ENOTCONN",
    "ECONNRESET",
    "EHOSTDOWN",
    "ENETDOWN",
    "EAGAIN",
    "EMFILE",
    "ENFILE",
]
# A regular file of which the kernel refuses every read at offset 0 with EIO.
UNREADABLE = Path("/proc/self/mem")
needs_unreadable = pytest.mark.skipif(not UNREADABLE.exists(), reason="needs Linux's /proc")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses that were made; none takes time."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    return made


def failing(times: int, number: int, then: Callable[[], str]) -> Callable[[], str]:
    """Return a read that fails some times."""
    left = iter(range(times))

    def read() -> str:
        if next(left, None) is not None:
            raise OSError(number, os.strerror(number))
        return then()

    return read


def read(video: Video) -> list[Frame]:
    return list(read_frames(video, 0, video.frame_count, DecodeSettings(threads=1)))


@pytest.mark.parametrize("name", TRANSIENT)
def test_a_read_is_tried_again_while_the_storage_is_in_trouble(name: str, pauses: list[float]) -> None:
    number = getattr(errno, name)
    assert with_retries(failing(len(PAUSES), number, lambda: "content")) == "content"
    assert pauses == list(PAUSES)
    with pytest.raises(OSError, match=r"Errno") as caught:
        with_retries(failing(len(PAUSES) + 1, number, lambda: "content"))
    assert is_storage_error(caught.value)


@pytest.mark.parametrize("name", ["ENOENT", "EACCES", "EISDIR", "ELOOP", "EINVAL", "ENAMETOOLONG"])
def test_an_error_of_one_file_is_raised_without_a_retry(name: str, pauses: list[float]) -> None:
    with pytest.raises(OSError, match=r"Errno"):
        with_retries(failing(1, getattr(errno, name), lambda: "content"))
    assert pauses == []


@needs_unreadable
def test_a_frame_that_the_storage_does_not_give_is_not_flagged(tmp_path: Path, pauses: list[float]) -> None:
    folder = write_frames(tmp_path / "clip", 3, "{}.png")
    (folder / "2.png").unlink()
    (folder / "2.png").symlink_to(UNREADABLE)
    with pytest.raises(SourceError, match=r"2.png cannot be read on this machine now \(Input/output error\)"):
        read(folder_video(folder))
    assert pauses == list(PAUSES)


def test_a_frame_that_is_read_at_the_second_try_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = folder_video(write_frames(tmp_path / "clip", 2))
    sound = read(video)
    fails = iter([errno.ESTALE, errno.EMFILE])

    def open_with_trouble(path: DiskPath) -> DiskFile:
        if number := next(fails, 0):
            raise OSError(number, os.strerror(number), str(path))
        return DiskFile(path.location)

    monkeypatch.setattr(DiskPath, "open", open_with_trouble)
    for frame, expected in zip(read(video), sound, strict=True):
        assert frame.error is None
        np.testing.assert_equal(frame.image, expected.image)


def test_a_folder_that_goes_away_while_it_is_read_flags_no_frame(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "clip", 30)
    frames = read_frames(folder_video(folder), 0, 30, DecodeSettings(threads=1, ahead=1))
    assert next(frames).error is None
    folder.rename(tmp_path / "unmounted")
    with pytest.raises(SourceError, match="cannot be read on this machine"):
        list(frames)


@needs_unreadable
def test_a_video_file_that_the_storage_does_not_give_is_not_flagged(tmp_path: Path) -> None:
    video = container_video(write_video(tmp_path / "clip.mp4"))
    (tmp_path / "clip.mp4").unlink()
    (tmp_path / "clip.mp4").symlink_to(UNREADABLE)
    with pytest.raises(SourceError, match="the storage failed; nothing says that the file is damaged"):
        read(video)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.ts"])
def test_an_outage_within_a_video_file_is_not_taken_for_its_end(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = container_video(write_video(tmp_path / name, 200))
    sound = read(video)
    pread, size = os.pread, Path(video.location).stat().st_size

    def pread_with_trouble(descriptor: int, count: int, offset: int) -> bytes:
        if offset > size // 3:
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", pread_with_trouble)
    with pytest.raises(SourceError, match="the storage failed; nothing says that the file is damaged"):
        read(video)
    monkeypatch.undo()
    assert [frame.error for frame in read(video)] == [frame.error for frame in sound] == [None] * 200


def test_a_place_that_no_file_has_is_refused_and_not_raised(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"abcdef")
    reader = RetryingFile(DiskFile(tmp_path / "clip.mp4"))
    assert reader.seek(-2, os.SEEK_END) == 4
    assert [reader.seek(-5, os.SEEK_CUR), reader.seek((1 << 63) - 1)] == [-errno.EINVAL] * 2
    assert (reader.tell(), reader.read(9), reader.read(9)) == (4, b"ef", b"")
    assert reader.seek(1 << 62) == 1 << 62
    assert reader.read(9) == b""


@given(count=st.integers(0, 30), threads=st.integers(1, 5), ahead=st.integers(1, 40))
def test_results_come_in_order_once_and_never_further_ahead_than_asked(count: int, threads: int, ahead: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(count):
            taken += 1
            yield item

    results = []
    for result in lookahead(lambda item: item * item, items(), threads, ahead):
        results.append(result)
        assert min(count, ahead) <= taken <= len(results) + ahead - 1
    assert results == [item * item for item in range(count)]


def test_what_is_quick_waits_for_what_is_slow_before_it() -> None:
    def wait(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    assert list(lookahead(wait, [0.05, 0.0, 0.02, 0.0], threads=4, ahead=4)) == [0.05, 0.0, 0.02, 0.0]


def test_an_error_is_raised_in_the_place_of_its_result() -> None:
    with no_thread_left():
        results = lookahead(lambda item: 12 // item, [3, 2, 0, 1], threads=2, ahead=4)
        assert next(results) == 4
        assert next(results) == 6
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_closing_early_leaves_no_thread_and_begins_nothing_more() -> None:
    begun: list[int] = []
    with no_thread_left():
        results = lookahead(begun.append, range(1000), threads=2, ahead=1000)
        next(results)
        results.close()
        at_close = len(begun)
        time.sleep(0.02)
    assert len(begun) == at_close < 1000
