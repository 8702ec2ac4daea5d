from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from phoenix_ray.cluster.claim import check_places, claim_output
from phoenix_ray.config import OutputSettings, Settings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.array_lease import BEGINNING
from phoenix_ray.dataset.identity import agree_on_identity, claim_dataset, is_recorded
from phoenix_ray.dataset.lease import read_holder
from phoenix_ray.dataset.object_storage import ObjectStorage
from phoenix_ray.dataset.share import Share
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.object_stores import Bucket
from tests.dataset.made_up import IDENTITY, commit, make_video, new_dataset
from tests.dataset.test_array_lease import files, occupy
from tests.dataset.test_compaction import compact_and_publish


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_new_an_empty_and_a_hidden_folder_are_places_for_a_dataset(tmp_path: Path) -> None:
    touch(tmp_path / "videos" / "a.mp4")
    touch(tmp_path / "volume" / ".snapshot")
    (tmp_path / "volume" / "lost+found").mkdir()
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty", "volume", "videos/landmarks", "videos-2"):
        check_places(str(tmp_path / "videos"), str(tmp_path / name))


@pytest.mark.parametrize("lost", [(), ("dataset.json",)])
def test_a_dataset_goes_on_also_where_its_identity_is_lost_or_others_left_files(
    tmp_path: Path, lost: tuple[str, ...]
) -> None:
    storage = new_dataset(tmp_path / "out")
    commit(storage, make_video("a"), 0, 10)
    compact_and_publish(storage)
    commit(storage, make_video("b"), 0, 5)
    for name in lost:
        storage.delete(name)
    if not lost:
        touch(tmp_path / "out" / "notes.txt")
    check_places("/data", storage.root)


@pytest.mark.parametrize("linked", ["source", "output", ""])
def test_the_source_is_no_output(tmp_path: Path, linked: str) -> None:
    source = output = tmp_path / "videos"
    source.mkdir()
    (tmp_path / "link").symlink_to(source)
    if linked:
        source, output = (tmp_path / "link", output) if linked == "source" else (source, tmp_path / "link")
    with pytest.raises(ConfigError, match=r"output\.path is source\.path .*output\.path=.*/videos-landmarks"):
        check_places(str(source), str(output))


@pytest.mark.parametrize("name", ["out/videos", "out/data/split=train", "link"])
def test_an_output_around_the_source_is_refused(tmp_path: Path, name: str) -> None:
    new_dataset(tmp_path / "out")
    (tmp_path / "out" / "videos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out" / "videos")
    with pytest.raises(ConfigError, match=r"lies inside output\.path .*-landmarks"):
        check_places(str(tmp_path / name), str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["b.txt", "a.mp4"], "a.mp4, b.txt. Give"),
        (["1", "2", "3", "4"], "1, 2, 3, …. Give"),
        (["data/raw.csv"], "data. Give"),
        (["videos/a.mp4", "runs/x/status.json"], "videos. Give"),
    ],
)
def test_a_folder_of_other_files_is_refused_with_their_names(tmp_path: Path, names: list[str], said: str) -> None:
    output = tmp_path / "home"
    for name in names:
        touch(output / name)
    with pytest.raises(OutputError) as error:
        check_places("/data", str(output))
    assert f"{output} (output.path) is not a dataset and holds other files: {said}" in str(error.value)
    assert f"output.path={output}/landmarks" in str(error.value)


@pytest.mark.parametrize("source", ["", "synthetic"])
def test_a_source_in_memory_is_nowhere(tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_places(source, str(tmp_path))


@pytest.mark.parametrize("output", ["", "ftp://host/landmarks"])
def test_an_output_that_is_no_place_is_left_to_the_storage(tmp_path: Path, output: str) -> None:
    check_places(str(tmp_path), output)


SHARE = Share(1, 4)
THEIRS = replace(IDENTITY, model={"name": "made-up", "engine": "theirs"})


def place(folder: Path) -> tuple[LocalStorage, Settings]:
    return LocalStorage(str(folder)), Settings(output=OutputSettings(path=str(folder)))


def meanwhile(monkeypatch: pytest.MonkeyPatch, *events: Callable[[], object]) -> None:
    """Let something happen whenever an element waits."""
    waiting = iter(events)
    monkeypatch.setattr(time, "sleep", lambda _: next(waiting)())


def test_the_first_element_makes_the_dataset_alone(tmp_path: Path) -> None:
    storage, settings = place(tmp_path)
    with claim_output(settings, share=SHARE) as claim:
        holder = read_holder(storage, BEGINNING)
        assert holder is not None
        assert (holder.run_id, holder.share) == (claim.run_id, "1/4")
        claim.begin_dataset(IDENTITY)
        assert is_recorded(storage)
        assert BEGINNING not in files(storage)
        claim.begin_dataset(IDENTITY)
    assert files(storage) == ["dataset.json"]


def test_elements_that_start_together_take_what_the_first_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, settings = place(tmp_path)
    occupy(storage, Share(0, 4), name=BEGINNING)
    meanwhile(monkeypatch, lambda: None, lambda: claim_dataset(storage, THEIRS))
    with claim_output(settings, share=SHARE):
        assert agree_on_identity(storage, THEIRS) == THEIRS
        assert files(storage) == ["dataset.json", "leases/1-of-4.json", BEGINNING], "theirs was left alone"


def test_where_the_first_element_fails_the_next_makes_the_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage, settings = place(tmp_path)
    occupy(storage, Share(0, 4), name=BEGINNING)
    meanwhile(monkeypatch, lambda: storage.delete(BEGINNING))
    with claim_output(settings, share=SHARE) as claim:
        claim.begin_dataset(IDENTITY)
    assert files(storage) == ["dataset.json"]


def test_an_element_that_cannot_make_the_dataset_leaves_it_to_another(tmp_path: Path) -> None:
    storage, settings = place(tmp_path)
    with pytest.raises(OutputError, match="no model"), claim_output(settings, share=SHARE):
        raise OutputError("no model")
    assert files(storage) == []


def test_runs_of_shares_have_their_own_names(tmp_path: Path) -> None:
    storage, settings = place(tmp_path)
    claim_dataset(storage, IDENTITY)
    with claim_output(settings, share=SHARE) as claim:
        assert claim.run_id.endswith("-1-of-4")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> ObjectStorage:
    """A bucket in memory in the place of any other."""
    storage = ObjectStorage(Bucket(MemoryStore(), "s3://bucket/out"))
    monkeypatch.setattr("phoenix_ray.cluster.claim.open_bucket", lambda path: storage._bucket)
    return storage


@pytest.mark.parametrize("source", ["s3://bucket/videos", "s3://other/out", "gs://bucket/out", "/data", "s3://bucket"])
def test_a_bucket_takes_an_empty_prefix_and_a_dataset(bucket: ObjectStorage, source: str) -> None:
    check_places(source, "s3://bucket/out/")
    bucket.write("lease.json", b"")
    check_places(source, "s3://bucket/out")
    bucket.write("dataset.json", b"")
    bucket.write("videos/a.mp4", b"")
    check_places(source, "s3://bucket/out")


@pytest.mark.parametrize(
    ("source", "better"),
    [
        ("s3://bucket/out", "s3://bucket/out-landmarks"),
        ("s3a://bucket/out", "s3://bucket/out-landmarks"),
        ("s3://bucket/out/videos", "s3://bucket/out/videos-landmarks"),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_a_prefix_that_holds_the_source_is_refused(source: str, better: str) -> None:
    with pytest.raises(ConfigError, match=f"output.path={better}"):
        check_places(source, "s3://bucket/out/")


def test_a_prefix_with_other_objects_is_refused_with_their_names(bucket: ObjectStorage) -> None:
    bucket.write("videos/a.mp4", b"")
    bucket.write("table.csv", b"")
    with pytest.raises(
        OutputError, match=r"holds other files: table.csv, videos. .*output.path=s3://bucket/out/landmarks"
    ):
        check_places("/data", "s3://bucket/out")


@pytest.mark.parametrize("name", ["data/videos/x.mp4", "photos/x.png", "zoo"])
def test_other_objects_are_found_among_thousands_of_a_datasets(bucket: ObjectStorage, name: str) -> None:
    for number in range(1500):
        bucket.write(paths.data_path("train", f"{number:032}"), b"content")
    check_places("/data", "s3://bucket/out")
    bucket.write(name, b"content")
    with pytest.raises(OutputError, match=f"holds other files: {name.partition('/')[0]}. "):
        check_places("/data", "s3://bucket/out")


def test_folders_made_in_a_console_are_places_for_a_dataset(bucket: ObjectStorage) -> None:
    """A console marks them by empty objects, whose slash the client takes away."""
    for name in ("data", "partitions", "new"):
        bucket.write(name, b"")
    check_places("/data", "s3://bucket/out")
    assert not list(bucket.list(""))
