from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.errors import ConfigError, SourceError
from phoenix_ray.sources import files
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.fsspec_paths import FsspecPath
from phoenix_ray.sources.registry import open_source
from tests.sources.made_up import listed_videos, write_frames, write_video

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's file system in memory."""
    opened = fsspec.filesystem("memory")
    yield opened
    opened.rm("/", recursive=True)


def listed(uri: str, **settings: Any) -> list[Any]:
    return list(open_source(SourceSettings(path=uri, **settings)).videos())


def test_a_source_in_another_file_system_is_that_on_the_disk(tmp_path: Path, memory: Any) -> None:
    write_frames(tmp_path / "data" / "train" / "a", 11, "{}.png")
    write_video(tmp_path / "data" / "dev" / "clip.mp4", 12)
    (tmp_path / "data" / "notes.txt").touch()
    memory.put(str(tmp_path / "data"), "/data", recursive=True)
    source = open_source(SourceSettings(path="memory://data/"))
    assert source.root == "memory://data"
    for video, other in zip(listed_videos(tmp_path / "data"), listed("memory://data"), strict=True):
        assert isinstance(other, Video)
        assert (other.split, other.video_id, other.kind, other.signature) == (
            video.split,
            video.video_id,
            video.kind,
            video.signature,
        )
        frames = [list(read_frames(each, 0, each.frame_count, DecodeSettings())) for each in (video, other)]
        for frame, expected in zip(*frames, strict=True):
            assert (frame.name, frame.timestamp, frame.error) == (expected.name, expected.timestamp, None)
            np.testing.assert_equal(frame.image, expected.image)


def test_a_table_without_a_folder_around_it_names_what_lies_beside_it(tmp_path: Path, memory: Any) -> None:
    memory.put(str(write_frames(tmp_path / "a", 2)), "/frames/a", recursive=True)
    memory.pipe_file("/videos.csv", b"video_id,path\n1,frames/a\n")
    (video,) = listed("memory://videos.csv")
    assert (video.location, video.frame_count) == ("memory://frames/a", 2)


def test_an_empty_frame_is_flagged_and_a_server_that_fails_is_not(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PAUSES", ())
    memory.put(str(write_frames(tmp_path / "a", 2, "{}.png")), "/data/a", recursive=True)
    memory.pipe_file("/data/a/3.png", b"")
    (video,) = listed("memory://data")
    *_, empty = read_frames(video, 0, 3, DecodeSettings())
    assert empty.error == "the file is empty (0 bytes)"

    def fail(*_: object, **__: object) -> bytes:
        raise RuntimeError("the server answered 503 to https://anna:geheim@host/x")

    monkeypatch.setattr(type(memory), "cat_file", fail)
    with pytest.raises(SourceError, match="the storage failed; nothing says that the file is damaged") as caught:
        list(read_frames(video, 0, 3, DecodeSettings()))
    assert "503" in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_missing_folder_names_the_nearest(memory: Any) -> None:
    memory.pipe_file("/phoenix/a/1.png", b"x")
    with pytest.raises(SourceError, match=r"memory://phoenix has no 'b'\.$"):
        open_source(SourceSettings(path="memory://phoenix/b"))


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("nothing://host/x", r"nothing:// is not a file system that is known here"),
        ("sftp://host/x", r"sftp:// needs another package on this machine: .*paramiko"),
    ],
)
def test_a_scheme_that_nothing_opens_names_what_to_install(uri: str, message: str) -> None:
    if "paramiko" in message:
        with pytest.raises(ImportError):
            __import__("paramiko")
    with pytest.raises(SourceError, match=message):
        open_source(SourceSettings(path=uri))


def test_without_fsspec_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *words: Any, **options: Any) -> Any:
        if name.startswith("fsspec"):
            raise ImportError(name)
        return real(name, *words, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SourceError, match=r"hf:// is read through fsspec, .* pip install fsspec"):
        FsspecPath("hf://datasets/a/b")


def test_a_password_in_a_uri_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError, match="holds a password") as caught:
        open_source(SourceSettings(path="ftp://anna:geheim@host/x"))
    assert "geheim" not in str(caught.value)
