from __future__ import annotations

import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.decode import EncodedPicture
from phoenix_ray.sources.disk_paths import DiskFile, DiskPath
from phoenix_ray.sources.frames import read_frames, read_frames_except, undecoded_frames
from phoenix_ray.sources.synthetic import make_video
from tests.sources.made_up import (
    container_video,
    folder_video,
    listed_videos,
    no_thread_left,
    picture,
    write_frames,
    write_video,
)

COUNT = 15
SETTINGS = DecodeSettings()


@pytest.fixture(scope="module", params=["folder", "container"])
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Video:
    """A video of 15 frames, of which one is damaged where it is a folder."""
    tmp_path = tmp_path_factory.mktemp("video")
    if request.param == "container":
        # Frames depend on those before them and are stored in another order.
        return container_video(write_video(tmp_path / "clip.mp4", COUNT, "libx264"))
    folder = write_frames(tmp_path / "clip", COUNT, "{}.png")
    (folder / "4.png").write_bytes(b"")
    return folder_video(folder, fps=25.0)


def read(video: Video, first: int = 0, last: int | None = None, **settings: int) -> list[Frame]:
    return list(read_frames(video, first, video.frame_count if last is None else last, DecodeSettings(**settings)))


def check_equal(some: list[Frame], others: list[Frame]) -> None:
    for one, other in zip(some, others, strict=True):
        assert (one.index, one.name, one.timestamp, one.error) == (
            other.index,
            other.name,
            other.timestamp,
            other.error,
        )
        np.testing.assert_equal(one.image, other.image)


@given(
    bounds=st.tuples(st.integers(0, COUNT), st.integers(0, COUNT)), threads=st.integers(1, 4), ahead=st.integers(1, 20)
)
def test_a_range_is_the_slice_of_the_whole(video: Video, bounds: tuple[int, int], threads: int, ahead: int) -> None:
    first, last = sorted(bounds)
    part = read(video, first, last, threads=threads, ahead=ahead)
    assert [frame.index for frame in part] == list(range(first, last))
    check_equal(part, read(video)[first:last])


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (4, 3), (0, COUNT + 1)])
def test_a_range_outside_of_the_video_is_refused(video: Video, first: int, last: int) -> None:
    with pytest.raises(ValueError, match="do not lie within the 15 of"):
        read_frames(video, first, last, SETTINGS)


@pytest.mark.parametrize("taken", [0, 1, 7])
def test_closing_early_leaves_no_thread(video: Video, taken: int) -> None:
    with no_thread_left():
        frames = read_frames(video, 0, COUNT, SETTINGS)
        for _ in range(taken):
            next(frames)
        frames.close()


@pytest.mark.parametrize("ahead", [1, 4])
def test_memory_is_bounded_by_the_frames_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: int) -> None:
    decoded: list[weakref.ref[Any]] = []

    decode = EncodedPicture.decode

    def counted(encoded: EncodedPicture) -> Any:
        image = decode(encoded)
        decoded.append(weakref.ref(image))
        return image

    monkeypatch.setattr(EncodedPicture, "decode", counted)
    most = 0
    for _ in read_frames(folder_video(write_frames(tmp_path / "clip", 40)), 0, 40, DecodeSettings(ahead=ahead)):
        most = max(most, sum(image() is not None for image in decoded))
    # One more is in the hands of the consumer.
    assert 1 <= most <= ahead + 1


def test_frames_have_the_pixels_of_their_files_in_natural_order(tmp_path: Path) -> None:
    frames = read(folder_video(write_frames(tmp_path / "clip", 11, "{}.png"), fps=25.0))
    assert [frame.name for frame in frames] == [f"{number}.png" for number in range(1, 12)]
    assert [frame.timestamp for frame in frames] == [index / 25 for index in range(11)]
    for index, frame in enumerate(frames):
        np.testing.assert_equal(frame.image, picture(index))


def test_a_video_without_a_clock_has_no_timestamps(tmp_path: Path) -> None:
    assert [frame.timestamp for frame in read(folder_video(write_frames(tmp_path / "clip", 2)))] == [None, None]


def test_unreadable_frames_are_flagged_in_their_place(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "clip", 6, "{}.png")
    whole = (folder / "1.png").read_bytes()
    (folder / "2.png").write_bytes(b"")
    (folder / "3.png").write_bytes(whole[: len(whole) // 2])
    (folder / "4.png").unlink()
    (folder / "4.png").symlink_to("gone")
    (folder / "5.png").unlink()
    (folder / "5.png").symlink_to("5.png")
    frames = read(folder_video(folder))
    assert [frame.image is None for frame in frames] == [False, True, True, True, True, False]
    reasons = ["is empty", "truncated PNG", "No such file", "Too many levels of symbolic links"]
    for frame, reason in zip(frames[1:5], reasons, strict=True):
        assert reason in (frame.error or "")


def test_too_large_a_frame_is_flagged_and_a_tiny_one_read(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "clip", 1, "{}.png")
    cv2.imwrite(str(folder / "2.png"), picture(2, width=1, height=1))
    large, tiny = read(folder_video(folder), max_pixels=1000)
    assert large.error == "48x64 is 3,072 pixels, more than decode.max_pixels=1,000"
    assert tiny.image is not None
    assert tiny.image.shape == (1, 1, 3)


def test_frames_that_went_missing_since_the_plan_are_flagged(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "clip", 4)
    video = folder_video(folder)
    (folder / "images0004.png").unlink()
    *there, gone = read(video)
    assert all(frame.image is not None for frame in there)
    assert (gone.index, gone.image) == (3, None)
    assert gone.error == "the folder held 4 frames when the run was planned, now 3"


def test_a_folder_that_this_machine_cannot_see_says_nothing_about_its_frames(tmp_path: Path) -> None:
    video = folder_video(write_frames(tmp_path / "clip", 2))
    shutil.rmtree(tmp_path / "clip")
    with pytest.raises(SourceError, match="every node must see the source"):
        read(video)


def test_a_frame_whose_name_is_not_utf8_is_read_under_a_name_that_can_be_stored(tmp_path: Path) -> None:
    folder = write_frames(tmp_path / "clip", 1)
    (folder / "images0001.png").rename(folder / "\udcff.png")
    (frame,) = read(folder_video(folder))
    assert frame.name == "\\udcff.png"
    assert frame.image is not None


def test_the_real_sample_has_a_picture_for_each_of_its_267_frames(phoenix_sample: Path) -> None:
    videos = listed_videos(phoenix_sample)
    assert [video.frame_count for video in videos] == [50, 40, 9, 50, 60, 58]
    images = [frame.image for video in videos for frame in read(video)]
    assert len(images) == 267
    assert {None if image is None else image.shape for image in images} == {(260, 210, 3)}


def test_the_real_clips_give_every_frame(samples: Path) -> None:
    videos = listed_videos(samples / "B_repo_licence_only" / "slp-pose")
    assert {video.video_id: video.frame_count for video in videos} == {"history_2020_video": 9, "test_video": 58}
    for video in videos:
        frames = read(video)
        assert [frame.error for frame in frames] == [None] * video.frame_count
        capture = cv2.VideoCapture(video.location)
        for frame in frames[:5]:
            assert frame.image is not None
            found, expected = capture.read()
            assert found
            assert np.abs(frame.image.astype(int) - expected[:, :, ::-1]).mean() < 2


def test_frames_of_a_folder_have_the_names_and_times_they_are_read_with(tmp_path: Path) -> None:
    video = Video("train", "v", "frame_folder", str(write_frames(tmp_path / "v", 12)), 12, "s", 25.0)
    read = [replace(frame, image=None) for frame in read_frames(video, 8, 11, DecodeSettings())]
    assert list(undecoded_frames(video, 8, 11)) == read


def test_a_video_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, frames=6)
    video = Video("train", "v", "video_file", str(path), 6, "s", 25.0)
    names = [frame.name for frame in read_frames(video, 0, 6, DecodeSettings())]
    path.write_bytes(b"whoever decodes this dies")
    assert [frame.name for frame in undecoded_frames(video, 0, 6)] == names


def test_a_folder_that_this_machine_cannot_see_is_not_held_against_its_frames(tmp_path: Path) -> None:
    video = Video("train", "v", "frame_folder", str(tmp_path / "gone"), 12, "s")
    with pytest.raises(SourceError, match="gone"):
        list(undecoded_frames(video, 0, 1))


@pytest.mark.parametrize("undecoded", [set(), {0}, {3, 4}, {11}, {0, 5, 11}, set(range(12)), {4, 99}])
@pytest.mark.parametrize("kind", ["frame_folder", "video_file", "synthetic"])
def test_all_frames_come_but_some_without_an_image(kind: str, undecoded: set[int], tmp_path: Path) -> None:
    match kind:
        case "frame_folder":
            video = Video("train", "v", "frame_folder", str(write_frames(tmp_path / "v", 12)), 12, "s", 25.0)
        case "video_file":
            video = Video("train", "v", "video_file", str(write_video(tmp_path / "v.mp4")), 12, "s", 25.0)
        case _:
            video = make_video(7, 12)
    whole = list(read_frames(video, 0, 12, DecodeSettings()))
    some = list(read_frames_except(video, undecoded, DecodeSettings()))
    assert [frame.name for frame in some] == [frame.name for frame in whole]
    for frame, expected in zip(some, whole, strict=True):
        if frame.index in undecoded:
            assert frame.image is None
        else:
            np.testing.assert_equal(frame.image, expected.image)


def test_a_picture_that_must_not_be_decoded_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = Video("train", "v", "frame_folder", str(write_frames(tmp_path / "v", 4, "{}.png")), 4, "s", 25.0)
    opened: list[str] = []

    def noted(path: DiskPath) -> DiskFile:
        opened.append(path.name)
        return DiskFile(path.location)

    monkeypatch.setattr(DiskPath, "open", noted)
    assert len(list(read_frames_except(video, {1, 2}, DecodeSettings()))) == 4
    assert sorted(opened) == ["1.png", "4.png"]
