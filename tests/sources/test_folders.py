from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import SourceProblem
from phoenix_ray.sources.catalog import open_source
from phoenix_ray.sources.folders import open_folders
from tests.sources.made_up import listed, listed_videos, problem
from tests.sources.test_tree import forbid_listing


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_each_folder_of_pictures_is_a_video(tmp_path: Path) -> None:
    touch(
        tmp_path / "b" / "1.jpg", tmp_path / "b" / "2.jpg", tmp_path / "a" / "deep" / "1.WEBP", tmp_path / "c" / "x.txt"
    )
    videos = listed_videos(tmp_path)
    assert [(video.split, video.video_id, video.frame_count) for video in videos] == [
        ("all", "a/deep", 1),
        ("all", "b", 2),
    ]
    assert {(video.kind, video.fps) for video in videos} == {("frame_folder", None)}


def test_a_first_folder_named_as_a_split_is_the_split(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "a" / "1.png", tmp_path / "val" / "a" / "1.png", tmp_path / "other" / "a" / "1.png")
    assert [(video.split, video.video_id) for video in listed_videos(tmp_path)] == [
        ("all", "other/a"),
        ("train", "a"),
        ("val", "a"),
    ]


def test_pictures_right_in_the_root_are_one_video(tmp_path: Path) -> None:
    touch(tmp_path / "my clip" / "1.png")
    (video,) = listed_videos(tmp_path / "my clip")
    assert (video.split, video.video_id) == ("all", "my clip")


def test_ids_may_hold_any_text(tmp_path: Path) -> None:
    names = ["ein Video ü", "手話/日", "a=b&c", "new\nline", "100%", "-rf *"]
    touch(*(tmp_path / "frames" / name / "1.png" for name in names))
    assert {video.video_id for video in listed_videos(tmp_path)} == {f"frames/{name}" for name in names}


def test_a_name_that_is_no_utf8_is_a_problem_that_can_be_stored(tmp_path: Path) -> None:
    touch(tmp_path / "good" / "1.png", tmp_path / "\udcff" / "1.png")
    found = problem(tmp_path)
    assert (found.video_id, found.message) == ("\\udcff", "The name is no valid UTF-8. Rename it.")
    assert len(listed(tmp_path)) == 2


def test_links_that_loop_do_not_repeat_a_video(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "again").symlink_to("..")
    (tmp_path / "itself").symlink_to("itself")
    assert [video.video_id for video in listed_videos(tmp_path)] == ["a"]


def test_a_folder_that_cannot_be_listed_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a" / "1.png", tmp_path / "lost+found" / "1.png")
    forbid_listing(tmp_path / "lost+found", monkeypatch)
    video, found = listed(tmp_path)
    assert video.video_id == "a"
    assert isinstance(found, SourceProblem)
    assert found.video_id == "lost+found"
    assert "Permission denied" in found.message


def test_a_tree_without_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no frames \(\.png \.jpg"):
        listed(tmp_path, kind="folders")


def test_a_file_is_no_tree(tmp_path: Path) -> None:
    touch(tmp_path / "file")
    with pytest.raises(SourceError, match="is no folder, so it cannot hold frame folders"):
        open_folders(tmp_path / "file", SourceSettings())


def test_the_source_says_what_it_is(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.png")
    source = open_source(SourceSettings(path=str(tmp_path)))
    assert (source.root, source.description) == (str(tmp_path), f"frame folders in {tmp_path}")
