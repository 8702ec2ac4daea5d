"""`drop`: after it no byte of the rows is in any file, whatever killed it and whoever else is at work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.card import CardWords
from phoenix_ray.dataset.card_file import write_card
from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.compaction_plan import plan_compaction
from phoenix_ray.dataset.drop import allow_videos, drop_videos
from phoenix_ray.dataset.drop_history import read_drops
from phoenix_ray.dataset.failures import FailureRecord, read_failures, record_failure
from phoenix_ray.dataset.identity import read_identity
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.permitted_source import PermittedSource
from phoenix_ray.dataset.publication import publish, sweep
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.removal import DELTA_LOG
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.errors import NewerVersionError, OutputError
from phoenix_ray.sources.base import SourceProblem
from tests import golden
from tests.dataset import dropped_videos
from tests.dataset.dropped_videos import (
    DROPPED,
    NAMED,
    OTHERS,
    SIGNER,
    SOURCE,
    ListedSource,
    assert_after,
    assert_gone,
    digests,
    drop_all,
    fill,
    keys_of,
    numbers_of_dropped,
    record_only,
    repair_it,
    rows_in,
    run_again,
    same_command,
    traces_in,
)
from tests.dataset.made_up import IDENTITY, SETTINGS, commit, make_video, new_dataset
from tests.dataset.test_compaction import compact_and_publish, flip
from tests.dataset.test_crashes import MOMENTS, Killed, Moment, MortalStorage, compact_all, work
from tests.dataset.test_object_storage import MortalObjectStorage, make_storage

_no_power_cut = dropped_videos.no_power_cut
filled, folder = dropped_videos.filled, dropped_videos.folder


def test_after_a_drop_no_byte_of_the_rows_is_in_any_file(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    before, numbers = digests(Dataset(storage, IDENTITY)), numbers_of_dropped(storage)
    assert len(traces_in(storage)) > 15
    result = same_command(folder)
    assert "Dropped 4 videos with 23 rows." in result.output
    assert_after(storage, before)
    assert_gone(storage, numbers)
    kept = {file.name for file in storage.list(paths.RUNS)}
    assert {name.rpartition("/")[2] for name in kept} == {"status.json", "summary.json"}
    assert [file.name for file in storage.list(DELTA_LOG)] == []


def test_a_drop_of_a_signer_takes_failure_records_of_videos_that_may_be_theirs(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    record = FailureRecord("train", "walrus-9", 0, 0, "input", "walrus-9 is missing", "node", 1, "", "run", 1.0)
    record_failure(storage, record)
    drop_videos(storage, IDENTITY, [("dev", "c")], [])
    assert "walrus-9" in {failure.video_id for failure in read_failures(storage)}
    drop_all(storage)
    assert {failure.video_id for failure in read_failures(storage)} == {"a"}
    assert traces_in(storage) == []


def test_a_bad_video_of_a_dropped_signer_is_not_listed(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    drop_all(storage)
    theirs = SourceProblem("train", "walrus-9", "walrus-9 is missing", {"signer": SIGNER})
    other = SourceProblem("train", "b", "b is missing", {"signer": "Other"})
    source = PermittedSource(ListedSource([theirs, other]), storage)
    assert list(source.videos()) == [other]
    assert source.left_out == 1


def test_a_repair_that_completes_a_drop_counts_the_rest_in_the_card(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    write_card(storage, IDENTITY, CardWords("cc-by-4.0"), pytest.fail)
    before = storage.read(paths.CARD)
    record_only(folder)
    repair_it(folder)
    written = storage.read(paths.CARD)
    assert written != before
    write_card(storage, IDENTITY, CardWords(), pytest.fail)
    assert storage.read(paths.CARD) == written


def test_a_later_run_computes_the_others_and_leaves_the_dropped_out(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    numbers = numbers_of_dropped(storage)
    same_command(folder)
    source = PermittedSource(ListedSource(SOURCE), storage)
    run_again(folder)
    assert keys_of(OTHERS) == set(Dataset(storage, IDENTITY).keys())
    assert list(source.videos()) == OTHERS
    assert source.left_out == len(DROPPED)
    assert_gone(storage, numbers)
    undisturbed = LocalStorage(str(folder.parent / "undisturbed"))
    work(undisturbed, OTHERS)
    assert Dataset(storage, IDENTITY).digest() == Dataset(undisturbed, IDENTITY).digest()


def test_an_object_store_is_as_clean(filled: Path) -> None:
    storage = make_storage(MemoryStore())
    fill(storage)
    before, numbers = digests(Dataset(storage, IDENTITY)), numbers_of_dropped(storage)
    drop_all(storage)
    assert_after(storage, before)
    assert_gone(storage, numbers)


@pytest.mark.slow
@pytest.mark.parametrize("finish", [same_command, run_again, repair_it])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_drop_killed_at_any_point_ends_before_or_after(
    filled: Path, tmp_path: Path, moment: Moment, finish: Callable[[Path], object]
) -> None:
    whole = digests(Dataset(LocalStorage(str(filled)), IDENTITY))
    numbers = numbers_of_dropped(LocalStorage(str(filled)))
    fatal, survived, after = 0, False, 0
    while not survived:
        fatal += 1
        folder = Path(shutil.copytree(filled, tmp_path / str(fatal)))
        storage = LocalStorage(str(folder))
        with suppress(Killed):
            drop_all(MortalStorage(str(folder), fatal, moment))
            survived = True
        if not read_drops(storage):
            assert digests(Dataset(storage, IDENTITY)) == whole
            drop_all(storage)
        else:
            after += 1
            assert_after(storage, whole)
            finish(folder)
        again = digests(Dataset(storage, IDENTITY))
        assert {key: again[key] for key in whole if key not in DROPPED | {("train", "z")}} == {
            key: digest for key, digest in whole.items() if key not in DROPPED | {("train", "z")}
        }
        assert_gone(storage, numbers)
        shutil.rmtree(folder)
    assert fatal > 30
    assert after > 25


def test_a_compaction_that_was_planned_before_a_drop_brings_nothing_back(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    numbers = numbers_of_dropped(storage)
    survey = take_survey(storage, IDENTITY)
    tasks = plan_compaction(survey, lambda name: read_entries(storage, IDENTITY, name), 1e9)
    results = [compact_videos(storage, task, SETTINGS) for task in tasks]
    assert any(result.data_file for result in results)
    drop_all(storage)
    before = digests(Dataset(storage, IDENTITY))
    publish(storage, IDENTITY, results)
    assert digests(Dataset(storage, IDENTITY)) == before
    sweep(storage, IDENTITY, temporary_seconds=0)
    assert digests(Dataset(storage, IDENTITY)) == before
    assert_gone(storage, numbers)


def test_a_data_file_of_a_slow_driver_that_lands_after_a_drop_is_not_taken_in(folder: Path) -> None:
    """Its task was planned before; it writes the file after, and the other videos in it are elsewhere or nowhere."""
    storage = LocalStorage(str(folder))
    slow = LocalStorage(str(shutil.copytree(folder, folder.parent / "slow")))
    numbers = numbers_of_dropped(storage)
    drop_all(storage)
    before = digests(Dataset(storage, IDENTITY))
    for file in slow.list(f"{paths.DATA}/split=train"):
        storage.write(file.name, slow.read(file.name))
    assert digests(Dataset(storage, IDENTITY)) == before
    sweep(storage, IDENTITY)
    assert digests(Dataset(storage, IDENTITY)) == before
    assert_gone(storage, numbers)


def test_a_late_partition_is_not_read_and_the_next_sweep_deletes_it(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    numbers = numbers_of_dropped(storage)
    drop_all(storage)
    before = digests(Dataset(storage, IDENTITY))
    commit(storage, SOURCE[1], 0, 7)
    # A video of the signer that was not there before.
    commit(storage, make_video("walrus-9", signer=SIGNER, frames=4), 0, 4)
    assert digests(Dataset(storage, IDENTITY)) == before
    compact_all(storage)
    assert digests(Dataset(storage, IDENTITY)) == before
    assert {finding.kind for finding in check_dataset(storage).findings} == {"leftover", "missing"}
    sweep(storage, IDENTITY)
    assert_gone(storage, numbers)


def test_to_allow_completes_the_drop_first(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    numbers = numbers_of_dropped(storage)
    record_only(folder)
    history = read_drops(storage)
    allow_videos(storage, IDENTITY, history.find_banned(NAMED[1]), [])
    assert NAMED not in set(Dataset(storage, IDENTITY).keys())
    assert_gone(storage, numbers)


def test_without_its_record_nobody_reads_the_dataset(folder: Path) -> None:
    same_command(folder)
    (record,) = folder.glob(f"{paths.DROPPED}/*")
    record.write_bytes(record.read_bytes().replace(b'"drop"', b'"dorp"'))
    storage = LocalStorage(str(folder))
    attempts: list[Callable[[], object]] = [
        lambda: Dataset(storage, IDENTITY),
        lambda: sweep(storage, IDENTITY),
        lambda: check_dataset(storage),
    ]
    for attempt in attempts:
        with pytest.raises(OutputError, match=r"000000000001\.json is damaged"):
            attempt()


def test_the_card_counts_what_is_left_and_an_edited_card_is_shown_to_the_user(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    write_card(storage, IDENTITY, CardWords(), print)
    card = folder / paths.CARD
    before = card.read_text(encoding="utf-8")
    assert paths.CARD not in drop_videos(storage, IDENTITY, [NAMED], []).unknown
    assert card.read_text(encoding="utf-8") != before
    card.write_text(before.replace("# ", "# Videos of Quagga ", 1), encoding="utf-8")
    assert paths.CARD in drop_videos(storage, IDENTITY, [], [SIGNER]).unknown


def test_versions_that_do_not_know_drops_refuse_the_dataset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same_command(folder)
    storage = LocalStorage(str(folder))
    assert read_manifest(storage, IDENTITY).drops == 1
    monkeypatch.setattr("phoenix_ray.dataset.manifest.MANIFEST_VERSION", 1)
    with pytest.raises(NewerVersionError, match="upgrade"):
        read_manifest(storage, IDENTITY)


VIDEOS = [
    make_video(f"v{number}", split="train" if number % 3 else "dev", frames=number % 4 + 1) for number in range(7)
]


@pytest.mark.slow
@settings(max_examples=40)
@given(
    compacted=st.sets(st.sampled_from(range(7))),
    opened=st.sets(st.sampled_from(range(7))),
    stale=st.sets(st.sampled_from(range(7))),
    dropped=st.sets(st.sampled_from(range(7)), min_size=1),
    late=st.sets(st.sampled_from(range(7))),
)
def test_whatever_a_dataset_holds_a_drop_takes_these_videos_and_no_others(
    tmp_path_factory: pytest.TempPathFactory,
    compacted: set[int],
    opened: set[int],
    stale: set[int],
    dropped: set[int],
    late: set[int],
) -> None:
    storage = LocalStorage(str(tmp_path_factory.mktemp("random")))
    work(storage, [VIDEOS[number] for number in sorted(compacted)])
    for number in sorted(stale):
        video = VIDEOS[number]
        commit(storage, make_video(video.video_id, video.split, video.frame_count, "0"), 0, 1)
    for number in sorted(opened - compacted):
        commit(storage, VIDEOS[number], 0, VIDEOS[number].frame_count)
    there = digests(Dataset(storage, IDENTITY))
    keys = {(VIDEOS[number].split, VIDEOS[number].video_id) for number in dropped}
    drop_videos(storage, IDENTITY, keys, [])
    expected = {key: digest for key, digest in there.items() if key not in keys}
    assert digests(Dataset(storage, IDENTITY)) == expected
    assert not {(split, video_id) for split, video_id, _ in rows_in(storage)} & keys
    for number in sorted(late):
        if (VIDEOS[number].split, VIDEOS[number].video_id) in keys:
            commit(storage, VIDEOS[number], 0, 1)
    compact_all(storage)
    assert set(Dataset(storage, IDENTITY).keys()) == expected.keys()
    sweep(storage, IDENTITY)
    assert not {(split, video_id) for split, video_id, _ in rows_in(storage)} & keys


def test_other_videos_with_damaged_rows_are_counted_and_computed_again(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    videos = [make_video("a", frames=16), make_video("b", frames=8), make_video("c", frames=8)]
    for video in videos:
        commit(storage, video, 0, video.frame_count)
    compact_and_publish(storage)
    (data_file,) = tmp_path.glob("data/*.parquet")
    flip(data_file, "body_x", row_group=0)
    report = drop_videos(storage, IDENTITY, [("train", "b")], [])
    assert (report.recompute, len(report.rewritten)) == (1, 1)
    assert list(Dataset(storage, IDENTITY).keys()) == [("train", "c")]
    work(storage, [videos[0], videos[2]])
    assert list(Dataset(storage, IDENTITY).keys()) == [("train", "a"), ("train", "c")]


def test_files_of_others_are_left_alone_and_named(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / "data" / "own.parquet").write_bytes(b"PAR1")
    report = drop_videos(LocalStorage(str(folder)), IDENTITY, [NAMED], [])
    assert report.unknown == ("data/own.parquet", "notes.txt")
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_full_disk_leaves_a_drop_that_counts_and_says_how_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(str(folder))

    def fail(*_: object) -> None:
        raise OutputError("Cannot write data: No space left on device.")

    with monkeypatch.context() as full:
        full.setattr("phoenix_ray.dataset.removal.rewrite", fail)
        with pytest.raises(OutputError, match=r"The videos are dropped: no reader.*Repeat the same command"):
            drop_videos(storage, IDENTITY, [NAMED], [SIGNER])
    assert NAMED not in set(Dataset(storage, IDENTITY).keys())
    report = drop_videos(storage, IDENTITY, [], [SIGNER])
    assert not report.selection.videos
    assert read_drops(storage).newest == 1


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_drop_in_a_bucket_that_dies_at_any_request_ends_before_or_after(moment: Literal["before", "after"]) -> None:
    fatal, survived = 0, False
    while not survived:
        fatal += 1
        store = MemoryStore()
        storage = make_storage(store)
        fill(storage)
        whole, numbers = digests(Dataset(storage, IDENTITY)), numbers_of_dropped(storage)
        with suppress(Killed):
            drop_all(MortalObjectStorage(store, fatal, moment))
            survived = True
        if read_drops(storage):
            assert_after(storage, whole)
            sweep(storage, IDENTITY, temporary_seconds=0)
            assert_gone(storage, numbers)
        else:
            assert digests(Dataset(storage, IDENTITY)) == whole
    assert fatal > 30


def test_a_dataset_of_the_first_version_drops_videos_too(tmp_path: Path) -> None:
    folder = shutil.copytree(Path(golden.__file__).with_name("dataset_0.1.0"), tmp_path / "dataset")
    storage = LocalStorage(str(folder))
    identity = read_identity(storage)
    before = digests(Dataset(storage, identity))
    gone, in_partitions = sorted(before)[0], sorted(before)[-1]
    drop_videos(storage, identity, [gone], [])
    assert digests(Dataset(storage, identity)) == {key: digest for key, digest in before.items() if key != gone}
    drop_videos(storage, identity, [in_partitions], [])
    assert set(Dataset(storage, identity).keys()) == before.keys() - {gone, in_partitions}
    for _, video_id in (gone, in_partitions):
        assert not [file.name for file in storage.list("") if video_id.encode() in storage.read(file.name)]
