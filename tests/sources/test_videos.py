from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import SourceProblem
from phoenix_ray.sources.catalog import open_source
from tests.sources.made_up import listed, listed_videos, problem, write_audio, write_video
from tests.sources.test_tree import forbid_listing


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of three frames."""
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 3)


def test_each_file_is_a_video_named_by_its_place(tmp_path: Path, clip: Path) -> None:
    for name in ("train/montag/clip eins.mp4", "dev/clip.v2.MP4", "手話.mov", "._clip.mp4", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / name)
    videos = listed_videos(tmp_path)
    assert [(video.split, video.video_id) for video in videos] == [
        ("all", "手話"),
        ("dev", "clip.v2"),
        ("train", "montag/clip eins"),
    ]
    assert {(video.kind, video.frame_count, video.fps) for video in videos} == {("video_file", 3, 25.0)}
    assert videos[1].location == str(tmp_path / "dev" / "clip.v2.MP4")


def test_one_file_is_a_source_too(clip: Path) -> None:
    source = open_source(SourceSettings(path=str(clip)))
    (video,) = listed_videos(clip)
    assert (video.split, video.video_id, video.location) == ("all", "clip", str(clip))
    assert source.description == f"the video file {clip}"


def test_pictures_beside_videos_are_left_alone(tmp_path: Path, clip: Path) -> None:
    shutil.copy(clip, tmp_path / "clip.mp4")
    (tmp_path / "poster.png").touch()
    assert [video.video_id for video in listed_videos(tmp_path)] == ["clip"]


@pytest.mark.parametrize("damage", ["empty", "cut", "no video"])
def test_a_file_without_frames_is_a_problem_beside_the_others(tmp_path: Path, clip: Path, damage: str) -> None:
    shutil.copy(clip, tmp_path / "good.mp4")
    data = clip.read_bytes()
    content = {"empty": b"", "cut": data[: len(data) // 2], "no video": b"text"}[damage]
    (tmp_path / "bad.mp4").write_bytes(content)
    found = problem(tmp_path)
    assert found.video_id == "bad"
    assert found.message.startswith(f"{tmp_path / 'bad.mp4'} cannot be read: it cannot be opened as a video")
    assert len(listed(tmp_path)) == 2


def test_sound_alone_is_a_problem(tmp_path: Path) -> None:
    write_audio(tmp_path / "sound.mkv")
    assert problem(tmp_path).message.endswith("cannot be read: it has no video stream")


def test_two_files_of_one_name_are_told_and_the_first_is_used(tmp_path: Path, clip: Path) -> None:
    shutil.copy(clip, tmp_path / "a.mp4")
    shutil.copy(clip, tmp_path / "a.mov")
    video, found = listed(tmp_path)
    assert not isinstance(video, SourceProblem)
    assert video.location == str(tmp_path / "a.mov")
    assert isinstance(found, SourceProblem)
    assert f"names a second video of this split and ID, {tmp_path / 'a.mp4'}" in found.message


def test_names_that_are_no_utf8_are_problems_that_can_be_stored(tmp_path: Path, clip: Path) -> None:
    folder = tmp_path / "\udcfe"
    folder.mkdir()
    for name in ("good.mp4", "\udcff.mp4", "\udcff.mov"):
        shutil.copy(clip, folder / name)
    (folder / "bad.mp4").write_bytes(b"")
    good, *problems = sorted(listed(folder), key=lambda video: isinstance(video, SourceProblem))
    assert good.video_id == "good"
    assert len(problems) == 3
    for found in problems:
        assert isinstance(found, SourceProblem)
        (found.split + found.video_id + found.message).encode("utf-8")


def test_a_folder_that_cannot_be_listed_is_a_problem(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(clip, tmp_path / "a.mp4")
    (tmp_path / "day.1").mkdir()
    forbid_listing(tmp_path / "day.1", monkeypatch)
    found = problem(tmp_path)
    assert found.video_id == "day.1"
    assert "Permission denied" in found.message


def test_a_limit_of_frames_holds_for_each(tmp_path: Path, clip: Path) -> None:
    assert listed_videos(clip, limit_frames=2)[0].frame_count == 2


def test_a_folder_without_videos_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no video files \(\.mp4"):
        listed(tmp_path, kind="videos")
