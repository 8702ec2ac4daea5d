from __future__ import annotations

import os
from pathlib import Path

import pytest

import phoenix_ray
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.nearby import describe_nearby
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError
from tests.dataset.made_up import LAYOUT, commit_rows, make_batch, make_records, make_video


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A source `videos`, its dataset `landmarks`, another dataset and a folder of neither."""
    home = tmp_path / "home"
    (home / "videos" / "train").mkdir(parents=True)
    (home / "videos" / "clip.mp4").touch()
    (home / "empty").mkdir()
    for name, source in (("landmarks", home / "videos"), ("others", Path("/elsewhere"))):
        identity = DatasetIdentity(LAYOUT.name, {"name": "made-up", "engine": "none"}, source_root=str(source))
        claim_dataset(LocalStorage(str(home / "corpora" / name)), identity)
    storage = LocalStorage(str(home / "landmarks"))
    claim_dataset(storage, DatasetIdentity(LAYOUT.name, {"name": "made-up"}, source_root=str(home / "videos")))
    return home


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("landmarks/data", "It lies in a dataset: open {home}/landmarks."),
        ("landmarks/dataset.json", "It lies in a dataset: open {home}/landmarks."),
        ("landmarks/data/split=train/gone.parquet", "It lies in a dataset: open {home}/landmarks."),
        ("videos", "It is the source of a dataset. Did you mean '{home}/landmarks'?"),
        ("landmrks", "There is no such path. Did you mean 'landmarks'?"),
        ("nothing/like/it", "There is no such path."),
        ("corpora", "It holds the datasets landmarks, others: open one of them."),
        ("", "It holds a dataset. Did you mean '{home}/landmarks'?"),
        ("empty", "`phoenix-ray run SOURCE OUTPUT` makes one."),
        ("videos/clip.mp4", "It looks like a source: it holds 'clip.mp4'."),
    ],
)
def test_a_path_beside_a_dataset_is_answered_with_the_way_to_it(home: Path, path: str, message: str) -> None:
    with pytest.raises(OutputError) as caught:
        phoenix_ray.open(home / path if path else home)
    assert str(caught.value).startswith(f"{home / path if path else home} is not a dataset of phoenix_ray: ")
    assert str(caught.value).endswith(message.format(home=home))


def test_a_file_of_a_whole_dataset_names_the_dataset(home: Path) -> None:
    storage = LocalStorage(str(home / "corpora" / "others"))
    identity = DatasetIdentity(LAYOUT.name, {"name": "made-up", "engine": "none"}, source_root="/elsewhere")
    video = make_video()
    commit_rows(storage, Shard(video, 0, 10), make_records(0, 10), make_batch(video, 0, 10), identity)
    (file,) = (home / "corpora" / "others").rglob("*.parquet")
    with pytest.raises(OutputError, match=f"open {home}/corpora/others"):
        phoenix_ray.open(file)


def test_a_dataset_that_lost_its_identity_is_not_sent_elsewhere(home: Path) -> None:
    (home / "landmarks" / "dataset.json").rename(home / "elsewhere.json")
    (home / "landmarks" / "manifests").mkdir()
    with pytest.raises(OutputError, match="It was one: start its run again with the same settings"):
        phoenix_ray.open(home / "landmarks")


def test_what_cannot_be_looked_at_is_no_obstacle(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(home / "corpora" / "pipe")
    (home / "corpora" / "others" / "dataset.json").write_bytes(b"\xff{")
    assert "datasets landmarks, others" in describe_nearby(str(home / "corpora"))
    assert describe_nearby(str(home / "empty")) == ""

    def refuse(self: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert describe_nearby(str(home / "empty")) == ""


@pytest.mark.parametrize("name", ["x" * 300, "loop", "nul\0"])
def test_a_path_that_no_file_system_holds_is_an_error_with_the_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OutputError) as caught:
        phoenix_ray.open(tmp_path / name)
    assert str(tmp_path) in str(caught.value)


def test_names_from_outside_are_made_harmless(tmp_path: Path) -> None:
    claim_dataset(LocalStorage(str(tmp_path / "a\x1b[31m")), DatasetIdentity(LAYOUT.name))
    claim_dataset(LocalStorage(str(tmp_path / "b")), DatasetIdentity(LAYOUT.name))
    assert describe_nearby(str(tmp_path)) == " It holds the datasets a\\x1b[31m, b: open one of them."
