"""A dataset with videos to drop in every place that has any, and searches for what is left of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from phoenix_ray.cli import cli
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.check.repair import alone_on, repair
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.compaction_plan import plan_compaction
from phoenix_ray.dataset.drop import drop_videos
from phoenix_ray.dataset.drop_history import read_drops
from phoenix_ray.dataset.failures import FailureRecord, read_failures, record_failure
from phoenix_ray.dataset.permitted_source import PermittedSource
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.removal import DELTA_LOG
from phoenix_ray.dataset.snapshot import measure_extent, tally_splits
from phoenix_ray.dataset.storage import LocalStorage, Storage
from phoenix_ray.dataset.survey import committed_in, take_survey
from phoenix_ray.dataset.tally import digest_text, total
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.sources.base import NoteLeftOut, SourceProblem, Video, ignore_left_out
from tests.dataset.made_up import IDENTITY, SETTINGS, commit, make_video
from tests.dataset.test_crashes import Killed, MortalStorage, work

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
    """A source that lists these videos and problems."""

    root = description = "listed"

    def __init__(self, videos: Sequence[Video | SourceProblem]) -> None:
        self._videos = videos

    def videos(self, note_left_out: NoteLeftOut = ignore_left_out) -> Iterator[Video | SourceProblem]:
        yield from self._videos


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
    if isinstance(storage, LocalStorage):
        # What a crash leaves that comes between the deletion of a file and that of its folder.
        (Path(storage.root) / paths.video_folder(paths.PARTITIONS, *OF_SIGNER[0])).mkdir(parents=True)


@pytest.fixture(autouse=True)
def no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write no file through to the disk: nothing here cuts the power."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with the videos to drop, which no test changes."""
    folder = tmp_path_factory.mktemp("filled") / "dataset"
    fill(LocalStorage(str(folder)))
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(filled, tmp_path / "dataset"))


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
    if isinstance(storage, LocalStorage):
        assert not [path for path in Path(storage.root).rglob("*") if any(trace in str(path) for trace in TRACES)]
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


def record_only(folder: Path) -> None:
    """Drop, and die right after the record."""
    verbs = 0
    while not read_drops(LocalStorage(str(folder))):
        verbs += 1
        with suppress(Killed):
            drop_all(MortalStorage(str(folder), verbs, "after"))
