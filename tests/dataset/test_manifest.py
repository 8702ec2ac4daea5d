from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from phoenix_ray.dataset.encoding import SCHEMA_VERSION
from phoenix_ray.dataset.manifest import DataFile, Manifest, check_files, read_manifest, write_manifest
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.tally import Tally
from phoenix_ray.errors import OutputError
from tests.dataset.made_up import IDENTITY

TALLY = Tally(10, 2**127 + 3, {"ok": 9, "failed": 1}, {"body": 8})
FILE = DataFile("data/split=train/0.parquet", "train", 2, "a", "ü/\n", 100, "ab" * 32, TALLY)


def test_what_is_published_is_read_back(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    assert read_manifest(storage, IDENTITY) == Manifest()
    manifest = Manifest((FILE, replace(FILE, name="data/split=train/1.parquet", first_video="b")))
    write_manifest(storage, IDENTITY, manifest)
    assert read_manifest(storage, IDENTITY) == manifest
    assert json.loads(storage.read("manifest.json"))["rows"] == 20


def test_replacing_keeps_the_files_in_order() -> None:
    old = replace(FILE, name="old", first_video="m")
    manifest = Manifest((FILE, old)).replace({"old"}, [replace(FILE, split="dev"), replace(FILE, name="new")])
    assert [(file.split, file.name) for file in manifest.files] == [("dev", FILE.name), ("train", "new")]


def test_files_that_are_gone_or_of_another_size_do_not_count(tmp_path: Path) -> None:
    storage = LocalStorage(str(tmp_path))
    names = [f"data/split=train/{name}.parquet" for name in ("sound", "short", "gone")]
    storage.write(names[0], bytes(100))
    storage.write(names[1], bytes(99))
    manifest = Manifest(tuple(replace(FILE, name=name) for name in names))
    sound, damaged = check_files(storage, manifest)
    assert [file.name for file in sound.files] == names[:1]
    assert [file.name for file in damaged] == names[1:]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "damaged.*Delete it"),
        (b"[]", "damaged.*Delete it"),
        (b'{"schema_version": 1}', "damaged.*Delete it"),
        (json.dumps({"schema_version": SCHEMA_VERSION + 1}).encode(), "newer phoenix_ray"),
        (json.dumps({"schema_version": 1, "fingerprint": "other"}).encode(), "other settings"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    storage = LocalStorage(str(tmp_path))
    storage.write("manifest.json", content)
    with pytest.raises(OutputError, match=message):
        read_manifest(storage, IDENTITY)
