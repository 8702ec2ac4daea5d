from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.check.repair import alone_on, repair
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.identity import DatasetIdentity, claim_dataset
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.publication import publish, sweep
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import TEMPORARY_PREFIX, LocalStorage
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.errors import OutputError
from tests.dataset.made_up import IDENTITY, SETTINGS, commit, make_video, new_dataset
from tests.dataset.test_compaction import compact_and_publish, plan


def repair_all(storage: LocalStorage, _: DatasetIdentity) -> None:
    with alone_on(storage):
        repair(storage, check_dataset(storage))


def test_of_two_drivers_that_compact_the_same_videos_one_is_published(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for video_id in "ab":
        size = commit(storage, make_video(video_id), 0, 10).bytes
    one = [compact_videos(storage, task, SETTINGS) for task in plan(storage)]
    other = [compact_videos(storage, task, SETTINGS) for task in plan(storage, 1.5 * size)]
    digest = Dataset.open(str(tmp_path)).digest()
    publish(storage, IDENTITY, other)
    publish(storage, IDENTITY, one)
    assert len(read_manifest(storage, IDENTITY).files) == 2
    assert pq.read_table(tmp_path / "data").num_rows == 20
    assert Dataset.open(str(tmp_path)).digest() == digest


def test_of_two_drivers_that_rewrite_the_same_file_one_is_published(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video("a"), 0, 10)
    compact_and_publish(storage)
    commit(storage, make_video("b"), 0, 10)
    one = [compact_videos(storage, task, SETTINGS) for task in plan(storage)]
    commit(storage, make_video("c"), 0, 10)
    other = [compact_videos(storage, task, SETTINGS) for task in plan(storage)]
    publish(storage, IDENTITY, one)
    publish(storage, IDENTITY, other)
    compact_and_publish(storage)
    rows = pq.read_table(tmp_path / "data", columns=["video_id", "frame_index"]).to_pylist()
    assert sorted(tuple(row.values()) for row in rows) == [(video, frame) for video in "abc" for frame in range(10)]


def test_a_data_file_that_is_gone_before_it_is_published_costs_no_row(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video(), 0, 10)
    results = [compact_videos(storage, task, SETTINGS) for task in plan(storage)]
    assert results[0].data_file is not None
    storage.delete(results[0].data_file.name)
    assert publish(storage, IDENTITY, results).files == ()
    assert Dataset.open(str(tmp_path)).read_video("train", "video").num_rows == 10


def test_results_that_depend_on_each_other_are_published_together_or_not_at_all(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for video_id in "ab":
        commit(storage, make_video(video_id), 0, 10)
    compact_and_publish(storage)
    commit(storage, make_video("b", signature="2"), 0, 10)
    results = [compact_videos(storage, task, SETTINGS) for task in plan(storage, target_bytes=1)]
    digest = Dataset.open(str(tmp_path)).digest()
    kept, changed = results
    assert kept.replaces
    assert not changed.replaces
    publish(storage, IDENTITY, [changed])
    assert Dataset.open(str(tmp_path)).digest() == digest
    sweep(storage, IDENTITY)
    compact_and_publish(storage)
    assert pq.read_table(tmp_path / "data").num_rows == 20
    assert Dataset.open(str(tmp_path)).digest() == digest


def test_the_sweep_removes_what_a_crash_left_and_nothing_else(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for video_id in "ab":
        commit(storage, make_video(video_id), 0, 10)
    left_over = commit(storage, make_video("a"), 0, 10).name
    content = storage.read(left_over)
    compact_and_publish(storage)
    storage.write(left_over, content)
    open_shard = commit(storage, make_video("c"), 0, 4).name
    unpublished = [compact_videos(storage, task, SETTINGS) for task in plan(storage)]
    assert unpublished == []
    half = tmp_path / "data" / f"{TEMPORARY_PREFIX}1"
    half.write_bytes(b"PAR1")
    (tmp_path / "data" / "notes.txt").write_text("mine")
    assert sweep(storage, IDENTITY, temporary_seconds=3600).removed == (left_over,)
    assert half.exists()
    assert sweep(storage, IDENTITY, temporary_seconds=0).removed == (f"data/{TEMPORARY_PREFIX}1",)
    assert {file.name for file in storage.list("")} == {
        "dataset.json",
        paths.manifest_path(1),
        "videos.parquet",
        "data/notes.txt",
        open_shard,
        read_manifest(storage, IDENTITY).files[0].name,
    }


def test_a_data_file_that_was_never_published_is_removed_while_its_partitions_are_there(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video(), 0, 10)
    (task,) = plan(storage)
    written = compact_videos(storage, task, SETTINGS).data_file
    assert written is not None
    assert sweep(storage, IDENTITY).removed == (written.name,)
    assert Dataset.open(str(tmp_path)).read_video("train", "video").num_rows == 10


def test_data_files_come_back_when_the_manifest_was_lost(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for video_id in "ab":
        commit(storage, make_video(video_id), 0, 10)
        compact_and_publish(storage, target_bytes=1)
    manifest = read_manifest(storage, IDENTITY)
    storage.write(paths.manifest_path(manifest.generation), b"{")
    with pytest.raises(OutputError, match="--repair"):
        sweep(storage, IDENTITY)
    shutil.rmtree(tmp_path / paths.MANIFESTS)
    assert sweep(storage, IDENTITY).removed == ()
    assert read_manifest(storage, IDENTITY).files == manifest.files
    assert Dataset.open(str(tmp_path)).videos().num_rows == 2


def test_files_of_a_dataset_with_other_settings_are_never_deleted(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video(), 0, 10)
    compact_and_publish(storage)
    name = read_manifest(storage, IDENTITY).files[0].name
    storage.delete("dataset.json")
    shutil.rmtree(tmp_path / paths.MANIFESTS)
    other = claim_dataset(storage, replace(IDENTITY, limit_frames=5))
    assert sweep(storage, other).removed == ()
    assert (tmp_path / name).exists()


def test_an_unreadable_data_file_of_ours_is_removed(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video(), 0, 10)
    compact_and_publish(storage)
    name = read_manifest(storage, IDENTITY).files[0].name
    storage.write(name, b"PAR1 and no more")
    assert sweep(storage, IDENTITY).removed == (name,)
    assert Dataset.open(str(tmp_path)).videos().num_rows == 0


def test_the_sweep_tells_what_lies_there_after_it(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for video_id in "ab":
        commit(storage, make_video(video_id), 0, 10)
    left_over = commit(storage, make_video("a"), 0, 10).name
    content = storage.read(left_over)
    compact_and_publish(storage)
    storage.write(left_over, content)
    commit(storage, make_video("c"), 0, 4)
    # As a crash leaves it when the partitions are gone, so that the file is taken in again.
    shutil.rmtree(tmp_path / paths.MANIFESTS)
    storage.delete(left_over)
    storage.write(commit(storage, make_video("d"), 0, 10).name, b"PAR1")
    for _ in ("taken in", "left over again"):
        told, found = sweep(storage, IDENTITY).survey, take_survey(storage, IDENTITY)
        assert (told.manifest, told.partitions, told.damaged) == (found.manifest, found.partitions, found.damaged)
        assert told.videos.sort_by("video_id").equals(found.videos.sort_by("video_id"))
        storage.write(left_over, content)
    assert [info.video_id for info in told.partitions] == ["c"]
    assert sweep(storage, IDENTITY).removed == (left_over,)


def test_a_resume_lists_partitions_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video("a"), 0, 10)
    compact_and_publish(storage)
    names = [commit(storage, make_video(video_id), 0, 4).name for video_id in "bcd"]
    opened: list[str] = []
    open_file = LocalStorage.open

    def noted(storage: LocalStorage, name: str) -> pa.NativeFile:
        opened.append(name)
        return open_file(storage, name)

    monkeypatch.setattr(LocalStorage, "open", noted)
    committed = committed_in(sweep(storage, IDENTITY).survey)
    assert committed.missing_ranges(make_video("b")) == [(4, 10)]
    assert sorted(name for name in opened if name.startswith("partitions/")) == sorted(names)


def test_of_a_left_over_file_what_lies_nowhere_else_is_rescued(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for video_id in "ab":
        commit(storage, make_video(video_id), 0, 10)
    compact_and_publish(storage)
    (old,) = read_manifest(storage, IDENTITY).files
    digest = Dataset.open(str(tmp_path)).digest()
    content = storage.read(old.name)
    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(tmp_path / paths.MANIFESTS)
    commit(storage, make_video("a"), 0, 10)
    compact_and_publish(storage)
    storage.write(old.name, content)
    assert sweep(storage, IDENTITY).removed == (old.name,)
    assert pq.read_table(tmp_path / "data").num_rows == 20
    assert Dataset.open(str(tmp_path)).digest() == digest


@pytest.mark.parametrize("mend", [sweep, repair_all], ids=["sweep", "repair"])
def test_without_a_manifest_files_that_share_a_video_lose_none(
    tmp_path: Path, mend: Callable[[LocalStorage, DatasetIdentity], object]
) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video("a"), 0, 10)
    commit(storage, make_video("c"), 0, 10)
    compact_and_publish(storage)
    (old,) = read_manifest(storage, IDENTITY).files
    content = storage.read(old.name)
    commit(storage, make_video("b"), 0, 10)
    compact_and_publish(storage)
    digest = Dataset.open(str(tmp_path)).digest()
    shutil.rmtree(tmp_path / paths.MANIFESTS)
    # As a crash leaves it before a replaced file is deleted; which of the two is taken first must not matter.
    storage.write(old.name, content)
    mend(storage, IDENTITY)
    assert Dataset.open(str(tmp_path)).digest() == digest
    assert pq.read_table(tmp_path / "data").num_rows == 30
    assert check_dataset(storage).findings == ()


def test_a_partition_that_was_written_again_is_not_deleted_for_what_it_was(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video(), 0, 10)
    results = [compact_videos(storage, task, SETTINGS) for task in plan(storage)]
    later = commit(storage, make_video(signature="2"), 0, 10)
    publish(storage, IDENTITY, results)
    assert (tmp_path / later.name).exists()
    assert Dataset.open(str(tmp_path)).videos().column("source_signature").to_pylist() == ["2"]


def test_a_condemned_file_is_not_published_by_a_driver_that_slept(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video(), 0, 10)
    (slow,) = (compact_videos(storage, task, SETTINGS) for task in plan(storage))
    assert slow.data_file is not None
    content = storage.read(slow.data_file.name)
    sweep(storage, IDENTITY)
    # As if the deletion were still to come.
    storage.write(slow.data_file.name, content)
    assert publish(storage, IDENTITY, [slow]).files == ()
    assert Dataset.open(str(tmp_path)).read_video("train", "video").num_rows == 10
