from __future__ import annotations

import os
from pathlib import Path, PurePath

import pytest

from phoenix_ray.errors import SourceError
from phoenix_ray.sources.tree import split_and_id, walk


def relative_paths(root: Path) -> list[str]:
    return [str(folder.relative) for folder in walk(root)]


def test_folders_come_sorted_with_their_files(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.png", "a/x.png", ".hidden/x.png", "a/._x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [(str(folder.relative), folder.files) for folder in walk(tmp_path)] == [
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
    assert [(str(folder.relative), folder.listed) for folder in walk(tmp_path)] == [
        (".", True),
        ("a", True),
        ("lost+found", False),
        ("z", True),
    ]


def test_a_root_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_listing(tmp_path, monkeypatch)
    with pytest.raises(SourceError, match=r"cannot be listed: .*Permission denied"):
        list(walk(tmp_path))


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
