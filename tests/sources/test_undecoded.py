from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources import frames
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.regular_files import open_regular_file
from phoenix_ray.sources.synthetic import make_video
from phoenix_ray.sources.undecoded import name_frames, read_frames_but
from tests.sources.made_up import write_frames, write_video


def test_frames_of_a_folder_have_the_names_and_times_they_are_read_with(tmp_path: Path) -> None:
    video = Video("train", "v", "frame_folder", str(write_frames(tmp_path / "v", 12)), 12, "s", 25.0)
    read = [replace(frame, image=None) for frame in read_frames(video, 8, 11, DecodeSettings())]
    assert list(name_frames(video, 8, 11)) == read


def test_a_video_file_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_video(path, frames=6)
    video = Video("train", "v", "video_file", str(path), 6, "s", 25.0)
    names = [frame.name for frame in read_frames(video, 0, 6, DecodeSettings())]
    path.write_bytes(b"whoever decodes this dies")
    assert [frame.name for frame in name_frames(video, 0, 6)] == names


def test_a_folder_that_is_not_seen_is_no_fault_of_its_frames(tmp_path: Path) -> None:
    video = Video("train", "v", "frame_folder", str(tmp_path / "gone"), 12, "s")
    with pytest.raises(SourceError, match="gone"):
        list(name_frames(video, 0, 1))


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
    some = list(read_frames_but(video, undecoded, DecodeSettings()))
    assert [frame.name for frame in some] == [frame.name for frame in whole]
    for frame, expected in zip(some, whole, strict=True):
        if frame.index in undecoded:
            assert frame.image is None
        else:
            np.testing.assert_equal(frame.image, expected.image)


def test_a_picture_that_must_not_be_decoded_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = Video("train", "v", "frame_folder", str(write_frames(tmp_path / "v", 4, "{}.png")), 4, "s", 25.0)
    opened: list[str] = []

    def noted(path: Path) -> BinaryIO:
        opened.append(path.name)
        return open_regular_file(path)

    monkeypatch.setattr(frames, "open_regular_file", noted)
    assert len(list(read_frames_but(video, {1, 2}, DecodeSettings()))) == 4
    assert sorted(opened) == ["1.png", "4.png"]
