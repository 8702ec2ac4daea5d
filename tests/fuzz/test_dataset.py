"""Whatever lies in an output: it is understood, found damaged, or refused; nothing outside of it is ever touched."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.check.files import check_partition
from phoenix_ray.dataset.check.repair import alone_on, repair
from phoenix_ray.dataset.failures import FailureRecord, read_failures, record_failure
from phoenix_ray.dataset.identity import read_identity
from phoenix_ray.dataset.lease import is_alive, read_holder
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.parquet import DamagedFile
from phoenix_ray.dataset.partitions import PartitionInfo, read_partition
from phoenix_ray.dataset.publication import sweep
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.sealing import PARQUET_SEAL_BLANK, PARQUET_SEAL_KEY, seal_json, seal_parquet
from phoenix_ray.dataset.storage import LocalStorage, StoredFile
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.dataset.video_table import gather_videos
from phoenix_ray.errors import OutputError
from tests.dataset.made_up import IDENTITY, LAYOUT, commit, make_video, new_dataset
from tests.dataset.test_crashes import compact_all, work
from tests.fuzz.cases import altered, cases, json_values, mutations

WRITING = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree"}
LEASE = {"run_id": "run", "host": "host", "pid": 1, "since": 1.5, "heartbeat": 1.5}


class Watch:
    """Notes what this process writes, makes, renames or deletes outside of a folder."""

    def __init__(self) -> None:
        self.inside: str | None = None
        self.outside: list[str] = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.inside is None:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & 3):
            return
        if event == "open" or event in WRITING:
            for argument in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
                text = str(argument)
                # A bare name is relative to a folder's descriptor, which no link led to (`dataset.local_files`).
                if "/" in text and not text.startswith((self.inside, "/dev/null")):
                    self.outside.append(f"{event} {text}")


WATCH = Watch()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    storage = LocalStorage(str(folder))
    work(storage, [make_video("a", frames=9, gloss="X"), make_video("../b", frames=5)])
    commit(storage, make_video("c", frames=8), 0, 4)
    record_failure(storage, FailureRecord("dev", "d", 0, 4, "model", "no", "node", 1, "", "run", 1.5))
    return folder


@pytest.fixture(scope="module")
def folder(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the dataset, with a file beside it that hostile names point to."""
    above = tmp_path_factory.mktemp("above")
    (above / "x").write_text("mine")
    shutil.copytree(original, above / "dataset")
    yield above / "dataset"
    assert (above / "x").read_text() == "mine"


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here loses power, so flushing to the device only takes time."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def use(folder: Path) -> None:
    """Do to a dataset all that a run, a reader and a repair do."""
    storage = LocalStorage(str(folder))
    WATCH.inside, WATCH.outside = str(folder), []
    try:
        with suppress(OutputError):
            read_failures(storage)
        holder = read_holder(storage)
        assert holder is None or isinstance(is_alive(holder, 2.5), bool)
        with suppress(OutputError):
            identity = read_identity(storage)
            committed_in(take_survey(storage, identity))
            list(Dataset.open(str(folder)).scan())
        with suppress(OutputError), alone_on(storage):
            repair(storage, check_dataset(storage))
        with suppress(OutputError):
            sweep(storage, IDENTITY, temporary_seconds=0)
            compact_all(storage)
    finally:
        WATCH.inside = None
    assert WATCH.outside == []


def restore(original: Path, folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(original, folder)


def newest_manifest(folder: Path) -> Path:
    return max(folder.glob(f"{paths.MANIFESTS}/*.json"))


JSON_FILES: dict[str, Callable[[Path], Path]] = {
    "dataset.json": lambda folder: folder / paths.IDENTITY,
    "manifest": newest_manifest,
    "lease.json": lambda folder: folder / paths.LEASE,
    "failure": lambda folder: next(folder.glob("failures/*/*/*/*.json")),
}


@cases(5)
@given(data=st.data(), which=st.sampled_from(sorted(JSON_FILES)), sealed=st.booleans())
def test_texts_of_any_values(original: Path, folder: Path, data: st.DataObject, which: str, sealed: bool) -> None:
    (folder / paths.LEASE).write_text(json.dumps(LEASE))
    path = JSON_FILES[which](folder)
    tree = json.loads(path.read_bytes())
    tree.pop("seal", None)
    changed = data.draw(altered(tree))
    path.write_bytes(seal_json(changed) if sealed and isinstance(changed, dict) else json.dumps(changed).encode())
    try:
        use(folder)
    finally:
        restore(original, folder)


@cases(45)
@given(data=st.data(), which=st.sampled_from(sorted(JSON_FILES)))
def test_texts_of_any_bytes(folder: Path, data: st.DataObject, which: str) -> None:
    (folder / paths.LEASE).write_text(json.dumps(LEASE))
    path = JSON_FILES[which](folder)
    content = path.read_bytes()
    path.write_bytes(data.draw(mutations(content) | st.just(b"[" * 200_000) | st.just(b'{"a":' * 100_000)))
    storage = LocalStorage(str(folder))
    try:
        with suppress(OutputError):
            read_identity(storage)
        with suppress(OutputError):
            read_manifest(storage, IDENTITY)
        with suppress(OutputError):
            read_failures(storage)
        holder = read_holder(storage)
        assert holder is None or isinstance(is_alive(holder, 2.5), bool)
    finally:
        path.write_bytes(content)
        (folder / paths.LEASE).unlink()


def with_footer(content: bytes, footer: Any) -> bytes:
    """Return a Parquet file of ours with other words in its footer, sealed again."""
    file = pq.ParquetFile(pa.BufferReader(content))
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, file.schema_arrow) as writer:
        writer.write_table(file.read())
        writer.add_key_value_metadata({b"phoenix_ray": json.dumps(footer).encode()})
        writer.add_key_value_metadata({PARQUET_SEAL_KEY: PARQUET_SEAL_BLANK})
    return seal_parquet(sink.getvalue())


@cases(5)
@given(data=st.data(), kind=st.sampled_from(["data/train-*", "partitions/split=train/*/c/*"]))
def test_footers_of_any_values(original: Path, folder: Path, data: st.DataObject, kind: str) -> None:
    path = next(folder.glob(f"{kind}.parquet"))
    content = path.read_bytes()
    footer = json.loads(pq.ParquetFile(pa.BufferReader(content)).metadata.metadata[b"phoenix_ray"])
    path.write_bytes(with_footer(content, data.draw(altered(footer) | json_values)))
    (folder / paths.VIDEOS).unlink()
    manifest = json.loads(newest_manifest(folder).read_bytes())
    for file in manifest["files"]:
        file["bytes"] = (folder / file["name"]).stat().st_size
    manifest.pop("seal")
    newest_manifest(folder).write_bytes(seal_json(manifest))
    try:
        use(folder)
    finally:
        restore(original, folder)


@cases(30)
@given(data=st.data())
def test_parquet_files_of_any_bytes(folder: Path, data: st.DataObject) -> None:
    path = next(folder.glob("partitions/split=train/*/c/*.parquet"))
    content = path.read_bytes()
    path.write_bytes(data.draw(mutations(content)))
    storage = LocalStorage(str(folder))
    try:
        name = str(path.relative_to(folder))
        file = StoredFile(name, path.stat().st_size, 0.0)
        found = read_partition(storage, IDENTITY.fingerprint, file)
        assert found is None or isinstance(found, PartitionInfo | DamagedFile)
        checked = check_partition(storage, IDENTITY, LAYOUT, file)
        assert checked is not None
        assert checked.findings or path.read_bytes() == content
    finally:
        path.write_bytes(content)


@cases(10)
@given(data=st.data())
def test_tables_of_videos_of_any_bytes(folder: Path, data: st.DataObject) -> None:
    path = folder / paths.VIDEOS
    content = path.read_bytes()
    path.write_bytes(data.draw(mutations(content)))
    storage = LocalStorage(str(folder))
    try:
        videos, damaged = gather_videos(storage, IDENTITY, read_manifest(storage, IDENTITY))
        assert damaged == []
        assert set(videos.column("video_id").to_pylist()) <= {"a", "../b"}
    finally:
        path.write_bytes(content)


@cases(5)
@given(split=st.text(max_size=300), video_id=st.text(max_size=300))
def test_any_names(tmp_path_factory: pytest.TempPathFactory, split: str, video_id: str) -> None:
    folder = tmp_path_factory.mktemp("names") / "dataset"
    WATCH.inside, WATCH.outside = str(folder), []
    try:
        storage = new_dataset(folder)
        video = make_video(video_id, split, frames=3)
        commit(storage, video, 0, 3)
        record_failure(storage, FailureRecord(split, video_id, 0, 3, "model", "no", "node", 1, "", "run", 1.5))
        compact_all(storage)
        assert committed_in(take_survey(storage, IDENTITY)).missing_ranges(video) == []
        assert check_dataset(storage).findings == ()
    finally:
        WATCH.inside = None
        shutil.rmtree(folder)
    assert WATCH.outside == []
