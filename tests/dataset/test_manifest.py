from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from phoenix_ray.dataset.manifest import (
    GENERATIONS_KEPT,
    MANIFEST_VERSION,
    DataFile,
    Manifest,
    check_files,
    list_generations,
    publish_manifest,
    read_manifest,
    remove_old_generations,
)
from phoenix_ray.dataset.sealing import seal_json
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.tally import Tally
from phoenix_ray.errors import OutputError
from tests.dataset.made_up import IDENTITY

TALLY = Tally(10, 2**127 + 3, {"ok": 9, "failed": 1}, {"body": 8})
FILE = DataFile("data/train-0.parquet", "train", 2, "a", "ü/\n", 100, "ab" * 32, TALLY)


def test_what_is_published_is_read_back(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    assert read_manifest(storage, IDENTITY) == Manifest()
    manifest = Manifest((FILE, replace(FILE, name="data/train-1.parquet", first_video="b")))
    published = publish_manifest(storage, IDENTITY, manifest, {"data/train-2.parquet"})
    assert read_manifest(storage, IDENTITY) == published
    assert published == replace(manifest, generation=1, condemned=frozenset({"data/train-2.parquet"}))
    assert json.loads(storage.read("manifests/000000000001.json"))["rows"] == 20


def test_of_two_that_build_on_one_generation_only_one_is_published(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    one, other = Manifest((FILE,)), Manifest((replace(FILE, name="data/train-1.parquet"),))
    first = publish_manifest(storage, IDENTITY, one)
    assert publish_manifest(storage, IDENTITY, other) is None
    assert read_manifest(storage, IDENTITY) == first
    assert first is not None
    assert publish_manifest(storage, IDENTITY, replace(other, generation=first.generation)) is not None


def test_a_manifest_of_an_earlier_version_counts_until_there_is_another(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    publish_manifest(storage, IDENTITY, Manifest((FILE,)))
    tree = json.loads(storage.read("manifests/000000000001.json"))
    for name in ("generation", "condemned", "seal"):
        del tree[name]
    storage.delete("manifests/000000000001.json")
    storage.write("manifest.json", seal_json(tree))
    assert read_manifest(storage, IDENTITY) == Manifest((FILE,))
    manifest = read_manifest(storage, IDENTITY)
    for _ in range(GENERATIONS_KEPT + 1):
        published = publish_manifest(storage, IDENTITY, manifest)
        assert published is not None
        manifest = published
        remove_old_generations(storage, manifest.generation)
        assert read_manifest(storage, IDENTITY) == manifest
    assert sorted(list_generations(storage)) == [2, 3, 4]
    assert not (tmp_path / "manifest.json").exists()


def test_what_is_condemned_is_never_published(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="condemned"):
        publish_manifest(LocalStorage(str(tmp_path)), IDENTITY, Manifest((FILE,), 3, frozenset({FILE.name})))


def test_replacing_keeps_the_files_in_order() -> None:
    old = replace(FILE, name="old", first_video="m")
    manifest = Manifest((FILE, old)).replace({"old"}, [replace(FILE, split="dev"), replace(FILE, name="new")])
    assert [(file.split, file.name) for file in manifest.files] == [("dev", FILE.name), ("train", "new")]


def test_files_that_are_gone_or_of_another_size_do_not_count(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    names = [f"data/train-{name}.parquet" for name in ("sound", "short", "gone")]
    storage.write(names[0], bytes(100))
    storage.write(names[1], bytes(99))
    manifest = Manifest(tuple(replace(FILE, name=name) for name in names))
    sound, damaged = check_files(storage, manifest)
    assert [file.name for file in sound.files] == names[:1]
    assert [file.name for file in damaged] == names[1:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "damaged.*--repair"),
        (b"[]", "damaged.*--repair"),
        (b'{"schema_version": 1}', "damaged.*--repair"),
        (json.dumps({"schema_version": MANIFEST_VERSION + 1}).encode(), "newer phoenix_ray"),
        (json.dumps({"schema_version": 1, "fingerprint": "other"}).encode(), "other settings"),
    ],
)
@pytest.mark.parametrize("name", ["manifest.json", "manifests/000000000007.json"])
def test_a_manifest_that_cannot_be_used_is_told(tmp_path: Path, content: bytes, message: str, name: str) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write(name, content)
    with pytest.raises(OutputError, match=message):
        read_manifest(storage, IDENTITY)
