from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import ray

from phoenix_ray.cluster import reduce
from phoenix_ray.cluster.reduce import BackgroundReduce
from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.compaction import Compacted, compact_videos
from phoenix_ray.dataset.compaction_plan import CompactionTask, plan_compaction
from phoenix_ray.dataset.lease import LeaseLostError
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.errors import OutputError
from tests.dataset.earlier_form import give_earlier_form
from tests.dataset.made_up import IDENTITY, commit, make_video, new_dataset


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    storage = new_dataset(tmp_path)
    for video_id in "abc":
        commit(storage, make_video(video_id), 0, 10)
    return storage


def settings(storage: LocalStorage) -> OutputSettings:
    return OutputSettings(path=storage.root, compact_every=3)


def tick_until_published(storage: LocalStorage, background: BackgroundReduce) -> None:
    deadline = time.monotonic() + 60
    while not read_manifest(storage, IDENTITY).files and time.monotonic() < deadline:
        background.start_when_due(3)
        time.sleep(0.05)


def compact_made_up_landmarks(task: CompactionTask, settings: OutputSettings) -> Compacted:
    """Compact in a process that knows the layout of `tests.dataset.made_up`, since it imports this module."""
    return compact_videos(open_storage(settings.path), task, settings)


@pytest.mark.parametrize("small_bytes", [0, 1e6], ids=["in Ray tasks", "in this process"])
def test_whole_videos_become_data_files(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, small_bytes: float
) -> None:
    monkeypatch.setattr(reduce, "_COMPACT", ray.remote(compact_made_up_landmarks))
    monkeypatch.setattr(reduce, "SMALL_BYTES", small_bytes)
    digest = Dataset.open(storage.root).digest()
    said: list[str] = []
    assert reduce.reduce_all(storage, take_survey(storage, IDENTITY), settings(storage), said.append) == []
    assert said == ["Compacting 3 videos into 1 file"]
    assert len(read_manifest(storage, IDENTITY).files) == 1
    assert Dataset.open(storage.root).digest() == digest


@pytest.mark.parametrize("small_bytes", [0, 1e6], ids=["in Ray tasks", "in this process"])
def test_files_of_an_earlier_version_are_written_in_the_present_form(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, small_bytes: float
) -> None:
    monkeypatch.setattr(reduce, "_COMPACT", ray.remote(compact_made_up_landmarks))
    monkeypatch.setattr(reduce, "SMALL_BYTES", small_bytes)
    reduce.reduce_all(storage, take_survey(storage, IDENTITY), settings(storage), lambda _: None)
    give_earlier_form(storage, IDENTITY)
    digest = Dataset.open(storage.root).digest()
    said: list[str] = []
    assert reduce.reduce_all(storage, take_survey(storage, IDENTITY), settings(storage), said.append) == []
    assert said == ["Writing 1 data file of an earlier version in the present form"]
    assert list(Path(storage.root, "data").iterdir()) == list(Path(storage.root, "data").glob("train-*.parquet"))
    assert Dataset.open(storage.root).digest() == digest


def test_a_damaged_file_of_an_earlier_version_is_named_once_and_stays(storage: LocalStorage) -> None:
    commit(storage, make_video("a", "dev"), 0, 10)
    reduce.reduce_all(storage, take_survey(storage, IDENTITY), settings(storage), lambda _: None)
    give_earlier_form(storage, IDENTITY)
    (damaged,) = Path(storage.root).glob("data/split=train/*")
    content = bytearray(damaged.read_bytes())
    content[100] ^= 0xFF
    damaged.write_bytes(content)
    said: list[str] = []
    assert reduce.reduce_all(storage, take_survey(storage, IDENTITY), settings(storage), said.append) == []
    assert said[0] == "Writing 2 data files of an earlier version in the present form"
    assert [line for line in said[1:] if f"{damaged.name} stays as it is: " in line] == said[1:]
    assert len(said) == 2
    assert damaged.read_bytes() == content
    names = {file.name for file in read_manifest(storage, IDENTITY).files}
    assert {name.partition("-")[0] for name in names} == {"data/dev", str(damaged.relative_to(storage.root))}


def test_a_compaction_does_not_wait_for_cpus_that_no_node_has(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two CPUs are more than there are, as one is where a head without CPUs is alone.
    monkeypatch.setattr(reduce, "_COMPACT", ray.remote(num_cpus=2)(compact_made_up_landmarks))
    monkeypatch.setattr(reduce, "SMALL_BYTES", 0)
    monkeypatch.setattr(reduce, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"memory": 1e9})
    digest = Dataset.open(storage.root).digest()
    assert reduce.reduce_all(storage, take_survey(storage, IDENTITY), settings(storage), lambda _: None) == []
    assert len(read_manifest(storage, IDENTITY).files) == 1
    assert Dataset.open(storage.root).digest() == digest


def test_compacts_when_enough_partitions_were_committed(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduce, "_COMPACT", ray.remote(compact_made_up_landmarks))
    digest = Dataset.open(storage.root).digest()
    with BackgroundReduce(storage, IDENTITY, settings(storage)) as background:
        background.start_when_due(2)
        assert background.finish() == []
        assert not read_manifest(storage, IDENTITY).files
        tick_until_published(storage, background)
        assert background.finish() == []
    assert len(read_manifest(storage, IDENTITY).files) == 1
    assert not list(Path(storage.root, "partitions").rglob("*.parquet"))
    assert Dataset.open(storage.root).digest() == digest


def test_few_tasks_run_at_once_beside_the_workers(
    storage: LocalStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = tmp_path / "together"
    together.mkdir()

    def count_others(task: CompactionTask, settings: OutputSettings) -> Compacted:
        own = together / f"{task.videos[0].video_id}.running"
        own.touch()
        time.sleep(0.5)
        own.with_suffix(f".{len(list(together.glob('*.running')))}").touch()
        own.unlink()
        return compact_made_up_landmarks(task, settings)

    monkeypatch.setattr(reduce, "_COMPACT", ray.remote(count_others))
    monkeypatch.setattr(
        reduce, "plan_tasks", lambda *_, **__: plan_compaction(take_survey(storage, IDENTITY), lambda _: [], 1.0)
    )
    with BackgroundReduce(storage, IDENTITY, settings(storage)) as background:
        background.start_when_due(3)
        background.finish()
    assert len(read_manifest(storage, IDENTITY).files) == 3
    assert max(int(seen.suffix[1:]) for seen in together.iterdir()) <= reduce.TASKS_BESIDE_ACTORS


def test_leaving_gives_up_what_is_not_yet_published(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(task: CompactionTask, settings: OutputSettings) -> Compacted:
        time.sleep(1e6)
        raise AssertionError

    monkeypatch.setattr(reduce, "_COMPACT", ray.remote(never))
    with BackgroundReduce(storage, IDENTITY, settings(storage)) as background:
        background.start_when_due(3)
    assert not read_manifest(storage, IDENTITY).files
    assert len(Dataset.open(storage.root)) == 3


def test_a_compaction_without_room_is_reported_and_tried_again_later(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(task: CompactionTask, settings: OutputSettings) -> NoReturn:
        raise OutputError("the disk is full")

    said: list[str] = []
    monkeypatch.setattr(reduce, "_COMPACT", ray.remote(full))
    with BackgroundReduce(storage, IDENTITY, settings(storage), say=said.append) as background:
        background.start_when_due(3)
        assert background.finish() == []
        assert "the disk is full" in said[0]
        monkeypatch.setattr(reduce, "_COMPACT", ray.remote(reduce._compact))
        background.start_when_due(6)
        assert background.finish() == []
    assert read_manifest(storage, IDENTITY).files


def test_a_driver_that_lost_its_lease_publishes_no_more(storage: LocalStorage) -> None:
    def lost() -> NoReturn:
        raise LeaseLostError("another run has taken over")

    with BackgroundReduce(storage, IDENTITY, settings(storage), lost) as background:
        background.start_when_due(3)
        with pytest.raises(LeaseLostError):
            background.finish()
    assert not read_manifest(storage, IDENTITY).files
