from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.undecoded import name_frames
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
