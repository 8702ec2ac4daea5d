"""`drop`: after it no byte of the rows is in any file, whatever killed it and whoever else is at work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from phoenix_ray.cli import cli
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.check.repair import alone_on, repair
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.compaction_plan import plan_compaction
from phoenix_ray.dataset.drop import allow_videos, drop_videos
from phoenix_ray.dataset.drop_history import read_drops
from phoenix_ray.dataset.failures import FailureRecord, read_failures, record_failure
from phoenix_ray.dataset.lease import Lease
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.permitted_source import PermittedSource
from phoenix_ray.dataset.publication import publish, sweep
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.removal import DELTA_LOG
from phoenix_ray.dataset.snapshot import measure_extent, tally_splits
from phoenix_ray.dataset.storage import LocalStorage, Storage
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.dataset.tally import digest_text, total
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.errors import NewerVersionError, OutputError
from phoenix_ray.sources.base import NoteLeftOut, SourceProblem, Video, ignore_left_out
from tests.dataset.made_up import IDENTITY, SETTINGS, commit, make_video
from tests.dataset.test_crashes import MOMENTS, Killed, Moment, MortalStorage, compact_all, work
from tests.dataset.test_object_storage import make_storage

# Names that occur nowhere by chance; one needs encoding in a path, one is too long for it.
NAMED = ("train", "Zanzibar/öffentlich")
LONG = ("train", "Zanzibar" * 40)
SIGNER = "Quagga"
OF_SIGNER = [("dev", "walrus-7"), ("train", "walrus-2")]
DROPPED = {NAMED, LONG, *OF_SIGNER}
TRACES = ("Zanzibar", "walrus", SIGNER)
SOURCE = [
    make_video("a", frames=9, signer="Someone"),
    make_video(NAMED[1], frames=7, signer="Someone"),
    make_video("c", split="dev", frames=4),
    make_video(OF_SIGNER[0][1], split="dev", frames=5, signer=SIGNER),
    make_video(OF_SIGNER[1][1], frames=8, signer=SIGNER),
    make_video("y", frames=11, signer="Other"),
    make_video(LONG[1], frames=3),
    make_video("z", frames=6),
]
OTHERS = [video for video in SOURCE if (video.split, video.video_id) not in DROPPED]
COMMAND = ["--video", NAMED[1], "--video", "/".join(LONG), "--signer", SIGNER, "--yes", "--reason", "consent"]


class ListedSource:
    """A source that lists these videos."""

    root = description = "listed"

    def __init__(self, videos: list[Video]) -> None:
        self._videos = videos

    def videos(self, note_left_out: NoteLeftOut = ignore_left_out) -> Iterator[Video | SourceProblem]:
        yield from self._videos


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def fill(storage: Storage) -> None:
    """Make a dataset with the videos in every place that has any."""
    work(storage, SOURCE[:6])
    # Open videos: whole, incomplete, and of an earlier version.
    commit(storage, SOURCE[6], 0, 3)
    commit(storage, SOURCE[7], 0, 4)
    commit(storage, make_video(NAMED[1], frames=7, signature="2"), 0, 2)
    # A data file that no manifest names, as a slow driver leaves it: it holds dropped videos and others.
    survey = take_survey(storage, IDENTITY)
    for task in plan_compaction(survey, lambda name: read_entries(storage, IDENTITY, name), 1e9):
        compact_videos(storage, task, SETTINGS)
    for split, video_id in (*DROPPED, ("train", "a")):
        record = FailureRecord(split, video_id, 0, 0, "input", f"{video_id} is bad", "node", 1, "", "run", 1.0)
        record_failure(storage, record)
    data = [file.name for file in storage.list(paths.DATA)]
    for name in [*data, *(file.name for file in list(storage.list(paths.PARTITIONS)))]:
        storage.write(f"{paths.QUARANTINE}/20260101-000000/{name}", storage.read(name))
    storage.write(f"{paths.QUARANTINE}/20260101-000000/{paths.VIDEOS}", storage.read(paths.VIDEOS))
    storage.write(f"{DELTA_LOG}/00000000000000000000.json", b'{"add": "Zanzibar"}')
    run = f"{paths.RUNS}/20260101-000000-abcd"
    shard = {"split": "train", "video_id": NAMED[1], "first": 0, "last": 7}
    storage.write(f"{run}/status.json", json.dumps({"state": "finished", "at_work": [], "latest": [shard]}).encode())
    storage.write(f"{run}/summary.json", b'{"frames_computed": 53}')
    storage.write(f"{run}/log", b"train/Zanzibar is tried again")
    storage.write(f"{run}/report.html", b"<p>Quagga</p>")
    storage.write(f"{run}/left_out.json", b"[]")
    storage.write("partitions/.tmp-0123456789abcdef", b"half a walrus")


def drop_all(storage: Storage) -> None:
    drop_videos(storage, IDENTITY, [NAMED, LONG], [SIGNER], "consent")


def same_command(folder: Path) -> Result:
    result = CliRunner().invoke(cli, ["drop", str(folder), *COMMAND])
    assert result.exit_code == 0, result.output
    return result


def run_again(folder: Path) -> None:
    """What the next run does: sweep, plan, compute, merge."""
    storage = LocalStorage(str(folder))
    listed = list(PermittedSource(ListedSource(SOURCE), storage).videos())
    work(storage, [video for video in listed if isinstance(video, Video)])


def repair_it(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    with alone_on(storage):
        repair(storage, check_dataset(storage))


def rows_in(storage: Storage) -> set[tuple[str, str, tuple[float, ...]]]:
    """Return (split, video, numbers of a part) of each row of all Parquet files, however they are named."""
    rows = set()
    for file in storage.list(""):
        if file.name.endswith(".parquet") and file.name != paths.VIDEOS and paths.VIDEOS not in file.name:
            with storage.open(file.name) as stream:
                table = pq.read_table(stream, columns=["split", "video_id", "body_x"])
            rows |= {(row["split"], row["video_id"], tuple(row["body_x"])) for row in table.to_pylist()}
    return rows


def traces_in(storage: Storage) -> list[str]:
    """Return the files of which the name or a byte names what was dropped."""
    return [
        file.name
        for file in storage.list("")
        if any(trace in file.name or trace.encode() in storage.read(file.name) for trace in TRACES)
    ]


def keys_of(videos: Collection[Video]) -> set[tuple[str, str]]:
    return {(video.split, video.video_id) for video in videos}


def digests(dataset: Dataset) -> dict[tuple[str, str], str]:
    rows = dataset.videos().select(["split", "video_id", "landmark_digest"]).to_pylist()
    return {(row["split"], row["video_id"]): row["landmark_digest"] for row in rows}


def assert_after(storage: Storage, before: dict[tuple[str, str], str]) -> None:
    """What every reader sees from the moment that the drop is recorded."""
    dataset = Dataset(storage, IDENTITY)
    others = {key: digest for key, digest in before.items() if key not in DROPPED}
    assert digests(dataset) == others
    assert sum(rows.num_rows for rows in dataset.scan()) == measure_extent(storage, IDENTITY).frames
    assert digest_text(total(tally_splits(storage, IDENTITY).values()).digest) == digest_text(dataset.digest())
    assert {(failure.split, failure.video_id) for failure in read_failures(storage)} <= {("train", "a")}
    committed = committed_in(take_survey(storage, IDENTITY))
    assert all(committed.missing_ranges(video) for video in SOURCE if (video.split, video.video_id) in DROPPED)


def assert_gone(storage: Storage, numbers: Collection[tuple[float, ...]]) -> None:
    """Nothing is left, in any file."""
    assert traces_in(storage) == []
    left = rows_in(storage)
    assert not {(split, video_id) for split, video_id, _ in left} & DROPPED
    assert not {values for *_, values in left} & set(numbers)
    assert check_dataset(storage).findings in ((), missing_of_z(storage))


def missing_of_z(storage: Storage) -> tuple[Any, ...]:
    """The one video that lacks frames."""
    found = check_dataset(storage).findings
    return found if [finding.subject for finding in found] == ["train/z"] else ()


def numbers_of_dropped(storage: Storage) -> set[tuple[float, ...]]:
    numbers = {values for split, video_id, values in rows_in(storage) if (split, video_id) in DROPPED}
    assert len(numbers) > 20
    return numbers


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "dataset"
    fill(LocalStorage(str(folder)))
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(filled, tmp_path / "dataset"))


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


def test_a_second_drop_of_the_same_videos_adds_no_record(folder: Path) -> None:
    same_command(folder)
    assert "no rows: what is named is dropped already" in same_command(folder).output
    assert read_drops(LocalStorage(str(folder))).newest == 1


def test_a_drop_is_refused_while_a_run_is_at_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage(str(folder))
    Lease.acquire(storage, "20260101-000000-abcd", name=f"{paths.LEASES}/0-of-4.json", share="0/4")
    monkeypatch.setattr("phoenix_ray.dataset.array_lease.is_alive", lambda holder, now: True)
    before = {file.name for file in storage.list("")}
    result = CliRunner().invoke(cli, ["drop", str(folder), *COMMAND])
    assert result.exit_code == 6
    assert "is being written by the run 20260101-000000-abcd" in result.output
    assert "Nothing was changed." in result.output
    assert {file.name for file in storage.list("")} == before


@pytest.mark.parametrize(
    "words", [["--video", "Zanzibar/öffentlic"], ["--signer", "Quaga"], ["--video", "a", "--video", "no"]]
)
def test_an_unknown_name_drops_nothing(folder: Path, words: list[str]) -> None:
    result = CliRunner().invoke(cli, ["drop", str(folder), *words, "--yes"])
    assert result.exit_code == 2
    assert "Did you mean" in result.output or "It has" in result.output
    assert not read_drops(LocalStorage(str(folder)))


def test_without_a_terminal_it_wants_to_be_asked_for(folder: Path) -> None:
    result = CliRunner().invoke(cli, ["drop", str(folder), "--video", "a"])
    assert (result.exit_code, "Give --yes" in result.output) == (2, True)
    looked = CliRunner().invoke(cli, ["drop", str(folder), "--signer", SIGNER, "--dry-run"])
    assert looked.exit_code == 0
    assert "dev: 1 video, 5 rows" in looked.output
    assert not read_drops(LocalStorage(str(folder)))


def test_names_come_from_a_file_too(folder: Path) -> None:
    names = folder.parent / "names"
    names.write_text(f"{NAMED[1]}\n\n  {'/'.join(LONG)}\n", encoding="utf-8")
    result = CliRunner().invoke(cli, ["drop", str(folder), "--from", str(names), "--yes"])
    assert result.exit_code == 0
    assert "Dropped 2 videos" in result.output


def test_the_history_names_nobody(folder: Path) -> None:
    same_command(folder)
    listed = CliRunner().invoke(cli, ["drop", str(folder), "--list"]).output
    assert "drop  4 videos and 1 signer with 23 rows: consent" in listed
    (record,) = folder.glob(f"{paths.DROPPED}/*")
    assert not any(trace in record.read_text() for trace in TRACES)


def test_allowed_videos_are_computed_anew_and_the_old_rows_stay_away(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    same_command(folder)
    refused = CliRunner().invoke(cli, ["drop", str(folder), "--allow", "--video", OF_SIGNER[0][1]])
    assert (refused.exit_code, "--allow --signer" in refused.output) == (2, True)
    for words in (["--video", NAMED[1]], ["--signer", SIGNER]):
        result = CliRunner().invoke(cli, ["drop", str(folder), "--allow", *words])
        assert result.exit_code == 0, result.output
    assert keys_of(OTHERS) == set(Dataset(storage, IDENTITY).keys())
    run_again(folder)
    assert set(Dataset(storage, IDENTITY).keys()) == keys_of(SOURCE) - {LONG}
    # Dropped once more, after its rows are there again.
    drop_videos(storage, IDENTITY, [NAMED], [])
    assert set(Dataset(storage, IDENTITY).keys()) == keys_of(SOURCE) - {LONG, NAMED}
    assert "Zanzibar" not in "".join(traces_in(storage))


def test_to_allow_completes_the_drop_first(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    numbers = numbers_of_dropped(storage)
    record_only(folder)
    history = read_drops(storage)
    allow_videos(storage, IDENTITY, history.find_banned(NAMED[1]), [])
    assert NAMED not in set(Dataset(storage, IDENTITY).keys())
    assert_gone(storage, numbers)


def record_only(folder: Path) -> None:
    """Drop, and die right after the record."""
    verbs = 0
    while not read_drops(LocalStorage(str(folder))):
        verbs += 1
        with suppress(Killed):
            drop_all(MortalStorage(str(folder), verbs, "after"))


def test_a_check_reports_a_drop_that_is_not_completed_and_repairs_it(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    numbers = numbers_of_dropped(storage)
    record_only(folder)
    assert "their bytes are not all removed" in CliRunner().invoke(cli, ["check", str(folder), "--workers", "1"]).output
    result = CliRunner().invoke(cli, ["check", str(folder), "--workers", "1", "--repair"])
    assert result.exit_code == 3, result.output
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


def test_versions_that_do_not_know_drops_refuse_the_dataset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same_command(folder)
    storage = LocalStorage(str(folder))
    assert read_manifest(storage, IDENTITY).drops == 1
    monkeypatch.setattr("phoenix_ray.dataset.manifest._SCHEMA_WITH_DROPS", 1)
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
