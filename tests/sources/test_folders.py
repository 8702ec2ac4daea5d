from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.errors import SourceError
from phoenix_ray.sources import disk_paths, folders
from phoenix_ray.sources.disk_paths import DiskPath
from phoenix_ray.sources.folders import FrameFolder, frame_names, sign_frames, split_and_id, walk
from phoenix_ray.sources.formats import is_frame_name


def relative_paths(root: Path) -> list[str]:
    return [str(folder.relative) for folder in walk(DiskPath(root))]


def test_folders_come_sorted_with_their_files(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.png", "a/x.png", ".hidden/x.png", "a/._x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [(str(folder.relative), folder.files) for folder in walk(DiskPath(tmp_path))] == [
        (".", ()),
        ("a", ("x.png",)),
        ("b", ("1.png", "2.png")),
    ]


def test_links_are_followed_but_never_into_a_loop(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    elsewhere.mkdir()
    (root / "a").mkdir(parents=True)
    (root / "a" / "up").symlink_to(root)
    (root / "a" / "here").symlink_to(".")
    (root / "itself").symlink_to("itself")
    (root / "gone").symlink_to("nowhere")
    (root / "linked").symlink_to(elsewhere)
    assert relative_paths(root) == [".", "a", "linked"]


def test_a_folder_that_cannot_be_listed_does_not_stop_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "lost+found", "z"):
        (tmp_path / name).mkdir()
    forbid_listing(tmp_path / "lost+found", monkeypatch)
    assert [(str(folder.relative), folder.listed) for folder in walk(DiskPath(tmp_path))] == [
        (".", True),
        ("a", True),
        ("lost+found", False),
        ("z", True),
    ]


def test_a_root_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_listing(tmp_path, monkeypatch)
    with pytest.raises(SourceError, match=r"cannot be listed: .*Permission denied"):
        list(walk(DiskPath(tmp_path)))


def forbid_listing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse to list `folder`; its permissions would not stop a test that runs as root."""
    real = os.scandir

    def scandir(path: str | Path) -> object:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.mark.parametrize(
    ("relative", "split", "video_id"),
    [
        ("clip", "all", "clip"),
        ("monday/clip one", "all", "monday/clip one"),
        ("train/clip", "train", "clip"),
        ("Train/monday/clip", "Train", "monday/clip"),
        ("monday/train/clip", "all", "monday/train/clip"),
        ("val", "all", "val"),
        ("test/ü ナ/-1", "test", "ü ナ/-1"),
    ],
)
def test_split_and_id_are_read_from_the_path(relative: str, split: str, video_id: str) -> None:
    assert split_and_id(PurePath(relative)) == (split, video_id)


def make(folder: Path, **sizes: int) -> str:
    """Write files of zeros; `_png` in a name stands for `.png`."""
    folder.mkdir(exist_ok=True)
    for name, size in sizes.items():
        (folder / name.replace("_", ".")).write_bytes(bytes(size))
    return str(folder)


def examine_folder(folder: str, signature: Literal["sizes", "names"], limit_frames: int | None = None) -> FrameFolder:
    frames = DiskPath(folder).frames(sizes=signature == "sizes")
    assert frames is not None
    return sign_frames(frames, signature, limit_frames)


def test_frames_are_in_natural_order(tmp_path: Path) -> None:
    folder = make(tmp_path, f10_png=1, f9_png=1, f1_png=1, f100_png=1)
    assert frame_names(DiskPath(folder)) == ["f1.png", "f9.png", "f10.png", "f100.png"]


@given(listing=st.permutations(["f1.png", "f01.png", "f001.png", "f2.png", "\u00e9.png", "e\u0301.png"]))
def test_the_order_is_not_that_of_the_file_system(listing: list[str]) -> None:
    expected = ["e\u0301.png", "\u00e9.png", "f001.png", "f01.png", "f1.png", "f2.png"]
    assert folders._in_natural_order(listing) == expected


@pytest.mark.parametrize(
    "name", ["1.png", "1.PNG", "1.jpg", "1.jpeg", "1.webp", "1.bmp", "1.tif", "1.tiff", "\udcff.png"]
)
def test_picture_files_are_frames(name: str) -> None:
    assert is_frame_name(name)


@pytest.mark.parametrize(
    "name", ["createDnnTrainingLabels-profile.py.lprof", "._1.png", ".png", "1.png.part", "Thumbs.db", "png", "1.gif"]
)
def test_other_files_are_not_frames(name: str) -> None:
    assert not is_frame_name(name)


def test_a_folder_named_like_a_picture_is_not_a_frame(tmp_path: Path) -> None:
    folder = make(tmp_path, a_png=1)
    (tmp_path / "b.png").mkdir()
    assert frame_names(DiskPath(folder)) == ["a.png"]


def test_broken_links_and_links_to_themselves_are_frames(tmp_path: Path) -> None:
    folder = make(tmp_path, a_png=1)
    (tmp_path / "b.png").symlink_to("gone.png")
    (tmp_path / "c.png").symlink_to("c.png")
    assert frame_names(DiskPath(folder)) == ["a.png", "b.png", "c.png"]
    assert examine_folder(folder, "sizes").frame_count == 3


def test_a_link_that_is_mended_changes_the_signature(tmp_path: Path) -> None:
    folder = make(tmp_path)
    (tmp_path / "a.png").symlink_to("picture")
    broken = examine_folder(folder, "sizes").signature
    (tmp_path / "picture").write_bytes(b"1")
    assert examine_folder(folder, "sizes").signature != broken


def test_the_signature_does_not_depend_on_place_time_or_other_files(tmp_path: Path) -> None:
    here, there = make(tmp_path / "here", a_png=1, b_png=2), make(tmp_path / "there", b_png=2, a_png=1, x_lprof=7)
    os.utime(tmp_path / "there" / "a.png", (0, 0))
    assert examine_folder(here, "sizes") == examine_folder(there, "sizes")


@pytest.mark.parametrize("other", [{"a_png": 1}, {"a_png": 1, "c_png": 2}, {"a_png": 1, "b_png": 2, "c_png": 0}])
def test_other_names_are_another_signature(tmp_path: Path, other: dict[str, int]) -> None:
    one, two = make(tmp_path / "one", a_png=1, b_png=2), make(tmp_path / "two", **other)
    assert examine_folder(one, "sizes").signature != examine_folder(two, "sizes").signature
    assert examine_folder(one, "names").signature != examine_folder(two, "names").signature


def test_a_frame_replaced_in_place_is_noticed_by_size_alone(tmp_path: Path) -> None:
    one, two = make(tmp_path / "one", a_png=1), make(tmp_path / "two", a_png=9)
    assert examine_folder(one, "sizes").signature != examine_folder(two, "sizes").signature
    assert examine_folder(one, "names").signature == examine_folder(two, "names").signature


def test_names_asks_for_no_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_paths, "_size", lambda entry: pytest.fail("the file system was asked"))
    assert examine_folder(make(tmp_path, a_png=1), "names").frame_count == 1


def test_a_limit_signs_the_first_frames_in_natural_order(tmp_path: Path) -> None:
    folder = make(tmp_path, f1_png=1, f2_png=2, f10_png=3)
    limited = examine_folder(folder, "sizes", limit_frames=2)
    make(tmp_path, f10_png=99, f11_png=1)
    assert limited.frame_count == 2
    assert examine_folder(folder, "sizes", limit_frames=2) == limited
    make(tmp_path, f2_png=99)
    assert examine_folder(folder, "sizes", limit_frames=2) != limited


def test_a_limit_beyond_the_last_frame_changes_nothing(tmp_path: Path) -> None:
    assert examine_folder(make(tmp_path, a_png=1), "sizes", limit_frames=5).frame_count == 1
