from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

import phoenix_ray
from phoenix_ray.dataset.locations import open_for_reading
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.remote_storage import RemoteStorage, without_credentials
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError
from tests.dataset.made_up import commit, make_video, new_dataset
from tests.dataset.test_compaction import compact_and_publish
from tests.dataset.test_reader import half_compacted


@pytest.fixture
def local(tmp_path: Path) -> Dataset:
    half_compacted(new_dataset(tmp_path / "bucket" / "dataset"))
    return phoenix_ray.open(str(tmp_path / "bucket" / "dataset"))


def assert_same(remote: Dataset, local: Dataset) -> None:
    assert remote.videos().equals(local.videos())
    for key in list(local.keys()):
        assert remote.read_video(*key).equals(local.read_video(*key))


def test_a_dataset_is_read_from_a_file_system_of_arrow(local: Dataset, tmp_path: Path) -> None:
    bucket = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())
    assert_same(phoenix_ray.open("dataset", filesystem=bucket), local)


def test_a_dataset_is_read_from_a_file_system_of_fsspec(local: Dataset, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    assert_same(phoenix_ray.open(str(tmp_path / "bucket" / "dataset"), filesystem=fsspec.filesystem("file")), local)


def test_a_dataset_is_read_from_a_uri(local: Dataset, tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    assert_same(phoenix_ray.open(f"file://{tmp_path}/bucket/dataset"), local)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "bucket" / "dataset"), "/bucket/copy", recursive=True)
    try:
        remote = phoenix_ray.open("memory://bucket/copy")
        assert_same(remote, local)
        assert_same(pickle.loads(pickle.dumps(remote)), local)
    finally:
        memory.rm("/bucket", recursive=True)


def test_a_run_that_writes_meanwhile_is_seen_after_a_refresh(local: Dataset, tmp_path: Path) -> None:
    remote = phoenix_ray.open(str(tmp_path / "bucket" / "dataset"), filesystem=fs.LocalFileSystem())
    storage = LocalStorage(str(tmp_path / "bucket" / "dataset"))
    commit(storage, make_video("c"), 0, 10)
    compact_and_publish(storage)
    local.refresh()
    remote.refresh()
    assert_same(remote, local)
    assert len(remote) == 3


def test_a_dataset_on_a_read_only_disk_is_read_and_left_as_it_is(local: Dataset, tmp_path: Path) -> None:
    files = sorted((tmp_path / "bucket").rglob("*"))
    for file in files:
        file.chmod(0o555 if file.is_dir() else 0o444)
    times = [file.stat().st_mtime_ns for file in files]
    assert_same(phoenix_ray.open(str(tmp_path / "bucket" / "dataset")), local)
    assert [file.stat().st_mtime_ns for file in sorted((tmp_path / "bucket").rglob("*"))] == times
    for file in files:
        file.chmod(0o755)


def test_names_of_files_are_relative_to_the_dataset(local: Dataset, tmp_path: Path) -> None:
    remote = RemoteStorage(fs.LocalFileSystem(), str(tmp_path / "bucket" / "dataset"), "here")
    near = LocalStorage(str(tmp_path / "bucket" / "dataset"))
    for folder in ("", "data", "partitions", "nothing"):
        found = {(file.name, file.bytes, file.modified) for file in remote.list(folder)}
        assert {file[:2] for file in found} == {(file.name, file.bytes) for file in near.list(folder)}
    with pytest.raises(FileNotFoundError):
        remote.read("nothing")
    with pytest.raises(FileNotFoundError):
        remote.open("nothing")


def test_a_bucket_without_a_dataset_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="empty is not a dataset"):
        phoenix_ray.open("empty", filesystem=fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()))


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/key", "s3://bucket/key"),
        ("s3://AKIA:pass%2Fword@bucket/key?region=eu&session_token=hidden", "s3://***@bucket/key"),
        ("s3://AKIA:pass/word@bucket/key", "s3://***@bucket/key"),
        ("https://token@host/data#hidden", "https://***@host/data"),
        ("hf://datasets/user/name@v1/folder", "hf://datasets/user/name@v1/folder"),
        ("/data/a:b@c?d", "/data/a:b@c?d"),
    ],
)
def test_messages_show_a_uri_without_its_secrets(uri: str, shown: str) -> None:
    assert without_credentials(uri) == shown


@given(
    st.sampled_from(["s3", "gs", "nowhere", "sftp"]),
    st.text("abcXYZ0189/+=%:", min_size=6, max_size=30).map(lambda text: "k7" + text + "7k"),
)
def test_no_secret_comes_through_an_error(scheme: str, secret: str) -> None:
    for uri in (f"{scheme}://user:{secret}@[bad/key", f"{scheme}://bucket:99999999/key?token={secret}"):
        assert secret not in without_credentials(uri)
        assert secret not in what_is_told(uri)


def what_is_told(uri: str) -> str:
    try:
        return open_for_reading(uri).root
    except OutputError as error:
        return f"{error} {error.__cause__}"


@pytest.mark.parametrize("path", ["nowhere://bucket/key", "s3://user:key@[bad"])
def test_a_place_that_cannot_be_opened_is_told(path: str) -> None:
    with pytest.raises(OutputError, match="Cannot open"):
        open_for_reading(path)
