from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.storage import TEMPORARY_PREFIX, LocalStorage
from phoenix_ray.errors import ConfigError, OutputError


def names(storage: LocalStorage, folder: str = "") -> list[str]:
    return sorted(file.name for file in storage.list(folder))


def test_writing_replaces_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path / "new" / "output"))
    storage.write("a/b", b"old")
    storage.write("a/b", b"new")
    assert storage.read("a/b") == b"new"
    assert names(storage) == ["a/b"]


def test_a_write_that_fails_half_way_changes_nothing(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("a", b"old")

    def write_half() -> None:
        with storage.writing("a") as stream:
            stream.write(b"half of ")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert storage.read("a") == b"old"
    assert names(storage) == ["a"]


@pytest.mark.parametrize("path", ["s3:/bucket/folder", "S3:bucket", "gs:/bucket"])
def test_a_uri_that_lacks_slashes_is_not_taken_for_a_folder(path: str) -> None:
    with pytest.raises(ConfigError, match=r"two slashes follow the scheme"):
        open_storage(path)
    assert open_storage(f"./{path}").root == str(Path(path).absolute())


@pytest.mark.parametrize("links", [True, False])
def test_creating_never_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    def no_links(source: object, target: object, **folders: int) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    storage = LocalStorage(str(tmp_path))
    assert storage.create("a", b"first")
    assert not storage.create("a", b"second")
    assert storage.read("a") == b"first"
    assert names(storage) == ["a"]


def test_of_many_that_create_at_once_one_wins(tmp_path: Path) -> None:
    start = Barrier(8)

    def create(number: int) -> bool:
        start.wait()
        return LocalStorage(str(tmp_path)).create("a", str(number).encode())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(create, range(8)))
    assert won.count(True) == 1
    assert LocalStorage(str(tmp_path)).read("a") == str(won.index(True)).encode()


@pytest.mark.parametrize(
    ("code", "way_out"),
    [(errno.ENOSPC, "Free space"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only"), (errno.EIO, "start the run")],
)
def test_a_failing_disk_is_told_with_path_and_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, way_out: str
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    storage = LocalStorage(str(tmp_path))
    storage.write("kept", b"")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OutputError, match=way_out) as caught:
        storage.write("folder/file", b"content")
    assert str(tmp_path / "folder" / "file") in str(caught.value)
    assert names(storage) == ["kept"]


def test_a_file_in_the_place_of_the_output_is_told(tmp_path: Path) -> None:
    (tmp_path / "output").write_text("not a folder")
    with pytest.raises(OutputError, match="Something else has this name"):
        LocalStorage(str(tmp_path / "output")).write("a", b"")


def test_a_listing_tells_size_and_temporary_files(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("a/b/c", b"123")
    (tmp_path / "a" / f"{TEMPORARY_PREFIX}1").write_bytes(b"")
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    found = {file.name: (file.bytes, file.temporary) for file in storage.list("a")}
    assert found == {"a/b/c": (3, False), f"a/{TEMPORARY_PREFIX}1": (0, True)}
    assert names(storage, "nothing") == []


@pytest.mark.parametrize("folders", [0, 1, 7, 8, 9, 300])
def test_a_listing_names_every_file_once_however_many_folders_there_are(tmp_path: Path, folders: int) -> None:
    expected = sorted(f"{number % 5}/{number}/{name}" for number in range(folders) for name in "ab")
    for name in expected:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names(LocalStorage(str(tmp_path))) == expected


def test_deleting_takes_empty_folders_along_but_not_the_dataset(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("a/b/c/d", b"")
    storage.write("a/e", b"")
    storage.delete("a/b/c/d")
    assert not (tmp_path / "a" / "b").exists()
    storage.delete("a/e")
    storage.delete("a/e")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../outside", "a/../../outside"])
def test_a_name_cannot_leave_the_dataset(tmp_path: Path, name: str) -> None:
    storage = LocalStorage(str(tmp_path / "dataset"))
    with pytest.raises(ValueError, match="is not the name of a file"):
        storage.write(name, b"")
    with pytest.raises(ValueError, match="is not the name of a file"):
        storage.delete(name)


def test_an_absent_file_is_told_apart_from_failing_storage(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        storage.read("a")
    with pytest.raises(FileNotFoundError):
        storage.open("a")


@pytest.mark.parametrize(("path", "message"), [("", "output.path"), ("ftp://host/key", "ftp://")])
def test_an_output_that_cannot_be_is_refused(path: str, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        open_storage(path)


def test_a_relative_output_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_storage("output").root == str(tmp_path / "output")
    assert open_storage("file:///data/output").root == "/data/output"


def test_without_links_and_exclusive_renames_a_name_that_is_taken_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*names: object, **folders: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())
    storage = LocalStorage(str(tmp_path))
    assert storage.create("a", b"first")
    assert not storage.create("a", b"second")
    assert storage.read("a") == b"first"
    assert names(storage) == ["a"]


def test_a_link_that_was_made_although_its_answer_was_lost_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def answer_lost(source: str, target: str, **folders: Any) -> None:
        link(source, target, **folders)
        raise FileExistsError(errno.EEXIST, "as NFS says when it repeats a request")

    monkeypatch.setattr(os, "link", answer_lost)
    assert LocalStorage(str(tmp_path)).create("a", b"first")


def test_empty_folders_are_removed_and_others_stay(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("partitions/a/full/file", b"")
    for folder in ("partitions/a/empty/deep", "partitions/b", "data/c"):
        (tmp_path / folder).mkdir(parents=True)
    storage.prune("partitions")
    storage.prune("nothing")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        "data",
        "data/c",
        "partitions",
        "partitions/a",
        "partitions/a/full",
        "partitions/a/full/file",
    ]
