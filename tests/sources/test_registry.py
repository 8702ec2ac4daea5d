from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import ConfigError, SourceError
from phoenix_ray.sources.media_tree import MediaTree
from phoenix_ray.sources.phoenix import FRAMES_FOLDER, PhoenixSource
from phoenix_ray.sources.registry import OPENERS, open_source
from phoenix_ray.sources.sample import demo_videos
from phoenix_ray.sources.table import TableSource


def make_phoenix(path: Path) -> Path:
    (path / FRAMES_FOLDER / "train").mkdir(parents=True)
    return path


def make_file(*parts: str) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.joinpath(*parts).parent.mkdir(parents=True, exist_ok=True)
        path.joinpath(*parts).touch()
        return path

    return make


def make_table(path: Path) -> Path:
    path.mkdir()
    (path / "videos.CSV").touch()
    return path / "videos.CSV"


def make_clip(path: Path) -> Path:
    return make_file("clip.webm")(path) / "clip.webm"


@pytest.mark.parametrize(
    ("make", "source"),
    [
        (make_phoenix, PhoenixSource),
        (make_table, TableSource),
        (make_clip, MediaTree),
        (make_file("train", "a.mp4"), MediaTree),
        (make_file("train", "clip", "1.png"), MediaTree),
        (make_file("PHOENIX-2014-T", "1.jpg"), MediaTree),
    ],
)
def test_auto_finds_out_what_a_path_holds(tmp_path: Path, make: Callable[[Path], Path], source: type) -> None:
    assert isinstance(open_source(SourceSettings(path=str(make(tmp_path / "data")))), source)


@pytest.mark.parametrize("kind", OPENERS)
def test_a_named_kind_is_not_guessed(tmp_path: Path, kind: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=re.escape(str(tmp_path / "empty"))):
        list(open_source(SourceSettings.model_validate({"kind": kind, "path": str(tmp_path / "empty")})).videos())


def test_an_error_says_what_a_path_without_videos_holds(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").touch()
    with pytest.raises(SourceError) as error:
        open_source(SourceSettings(path=str(tmp_path)))
    assert str(error.value) == (
        f"{tmp_path} holds no PHOENIX-2014-T tree, no video file and no frames. There are: 1 .txt. "
        "Formats that are read: docs/sources.md."
    )


def test_an_error_says_that_a_folder_is_empty(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError, match="It and the folders in it hold no files; hidden files and folders do not count"
    ):
        open_source(SourceSettings(path=str(tmp_path)))


def test_a_table_among_other_files_is_pointed_to(tmp_path: Path) -> None:
    (tmp_path / "videos.csv").touch()
    with pytest.raises(SourceError, match=f"give the file: source.path={re.escape(str(tmp_path))}/videos.csv"):
        open_source(SourceSettings(path=str(tmp_path)))


def test_a_file_of_an_unknown_ending_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "clip.xyz").touch()
    with pytest.raises(SourceError, match=r"clip.xyz is neither a video file .* give it the ending of its format"):
        open_source(SourceSettings(path=str(tmp_path / "clip.xyz")))


def test_the_error_for_a_missing_path_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "phoenix").mkdir()
    with pytest.raises(SourceError) as error:
        open_source(SourceSettings(path=str(tmp_path / "pheonix" / "train")))
    assert str(error.value) == (
        f"There is no {tmp_path / 'pheonix' / 'train'} (source.path); {tmp_path} has no 'pheonix'. "
        f"Did you mean 'phoenix'?"
    )


def test_the_error_for_no_path_names_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"source.path is not set: .* source.kind=sample"):
        open_source(SourceSettings())


@pytest.mark.parametrize("uri", ["s3://id:secret@bucket/x", "s3://bucket/x?token=secret", "gs://"])
def test_a_uri_with_more_or_less_than_a_place_is_refused_without_showing_it(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"in the environment|names no bucket") as error:
        open_source(SourceSettings(path=uri))
    assert "secret" not in str(error.value).lower().replace("aws_secret_access_key", "")


def test_the_home_of_an_unknown_user_is_an_error() -> None:
    with pytest.raises(SourceError, match=r"~nobody-of-this-name/data \(source.path\) cannot be read"):
        open_source(SourceSettings(path="~nobody-of-this-name/data"))


def test_a_path_without_permission_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_dir(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", is_dir)
    with pytest.raises(SourceError, match=r"\(source.path\) cannot be read: .*Permission denied"):
        open_source(SourceSettings(path=str(tmp_path)))


def test_a_relative_path_and_one_from_home_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_file("clip", "1.png")(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("data", "./x/../data", "~/data"):
        assert open_source(SourceSettings(path=path)).root == str(tmp_path / "data")


def test_the_sample_needs_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = open_source(SourceSettings(kind="sample"))
    assert source.root == str(tmp_path / "phoenix-ray" / "sample" / "PHOENIX-2014-T")
    assert len(list(source.videos())) == len(demo_videos())
