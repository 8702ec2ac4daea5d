"""Damage of every kind is found and named; after a repair and a rerun the dataset says what it said before."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.check.dataset_check import DatasetCheck, check_dataset
from phoenix_ray.dataset.check.files import TO_REPAIR, Kind, of_kinds
from phoenix_ray.dataset.check.repair import Repair, alone_on, repair
from phoenix_ray.dataset.check.report import CheckReport
from phoenix_ray.dataset.failures import FailureRecord, record_failure
from phoenix_ray.dataset.identity import claim_dataset
from phoenix_ray.dataset.lease import LeaseHolder
from phoenix_ray.dataset.partitions import discard, write_partition
from phoenix_ray.dataset.publication import sweep
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.sealing import seal_json
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import committed_in
from phoenix_ray.errors import EXIT_OK, OutputError
from phoenix_ray.estimation import Estimate
from phoenix_ray.sources.base import Video
from tests.dataset.made_up import IDENTITY, commit, make_batch, make_records, make_video
from tests.dataset.test_crashes import compact_all, work

COMPACTED = [make_video(f"video {number}", frames=7 + number % 5, gloss="WETTER") for number in range(9)]
COMPACTED += [make_video("dev/..", split="dev", frames=12)]
OPEN = [make_video("open", frames=11), make_video("half", split="dev", frames=8)]
# Places of damage tried in each kind of file.
SEEDS = 4
SOURCE = [*COMPACTED, *OPEN]


@pytest.fixture(autouse=True)
def _no_power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here loses power, so flushing to the device only takes time."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data files of two splits, partitions that are not compacted, a failure record."""
    folder = tmp_path_factory.mktemp("original")
    storage = LocalStorage(str(folder))
    work(storage, COMPACTED)
    for video in OPEN:
        for first in range(0, video.frame_count, 4):
            commit(storage, video, first, min(video.frame_count, first + 4))
    failure = FailureRecord("dev", "gone", 0, 0, "input", "no such folder", "node", 1, "", "run", 1.5)
    record_failure(storage, failure)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "dataset"))


def check(folder: Path) -> DatasetCheck:
    return check_dataset(LocalStorage(str(folder)))


def mend(folder: Path) -> Repair:
    storage = LocalStorage(str(folder))
    with alone_on(storage):
        return repair(storage, check_dataset(storage))


def rerun(folder: Path, source: list[Video] = SOURCE) -> int:
    """Do what a run does, and return the number of frames it had to compute."""
    storage = LocalStorage(str(folder))
    claim_dataset(storage, IDENTITY)
    committed = committed_in(sweep(storage, IDENTITY, temporary_seconds=0).survey)
    for damaged in committed.damaged:
        discard(storage, IDENTITY, damaged)
    computed = 0
    for video in source:
        for first, last in committed.missing_ranges(video):
            commit(storage, video, first, last)
            computed += last - first
    compact_all(storage)
    return computed


def digest(folder: Path) -> int:
    return Dataset.open(str(folder)).digest()


def file_of(folder: Path, pattern: str) -> Path:
    files = sorted(folder.glob(pattern))
    # Of the generations of the manifest the newest decides.
    return files[-1] if pattern.startswith("manifests/") else files[0]


FILES = {
    "dataset.json": "dataset.json",
    "manifest": "manifests/*.json",
    "videos.parquet": "videos.parquet",
    "data file": "data/train-*.parquet",
    "partition": "partitions/split=train/*/*/*.parquet",
    "failure record": "failures/*/*/*/*.json",
}


def test_a_sound_dataset_has_no_finding(original: Path) -> None:
    inspection = check(original)
    assert inspection.findings == ()
    assert inspection.bytes_read > 10_000
    assert len(inspection.data_files) >= 2
    assert len(inspection.partitions) == 5


def test_several_processes_find_what_one_finds(folder: Path) -> None:
    for pattern in ("data/train-*.parquet", "partitions/split=dev/*/*/*.parquet"):
        flip(file_of(folder, pattern), random.Random(1))
    findings = check(folder).findings
    assert check_dataset(LocalStorage(str(folder)), workers=2).findings == findings
    assert len(findings) >= 2


def flip(path: Path, numbers: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[numbers.randrange(len(content))] ^= 1 << numbers.randrange(8)
    path.write_bytes(content)


def cut(path: Path, numbers: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: numbers.randrange(path.stat().st_size)])


def zero(path: Path, numbers: random.Random) -> None:
    """Leave zeros in the place of a block, as a file system may after a power cut."""
    content = bytearray(path.read_bytes())
    start = numbers.randrange(len(content))
    end = min(len(content), start + 512)
    if content[start:end] == bytes(end - start):
        content[start] = 1
    else:
        content[start:end] = bytes(end - start)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip, cut, zero])
@pytest.mark.parametrize("kind", FILES)
def test_damage_anywhere_is_named_and_mended(
    original: Path, tmp_path: Path, kind: str, damage: Callable[[Path, random.Random], None]
) -> None:
    expected = digest(original)
    for seed in range(SEEDS):
        folder = Path(shutil.copytree(original, tmp_path / str(seed)))
        path = file_of(folder, FILES[kind])
        damage(path, random.Random(f"{kind} {seed}"))
        name = str(path.relative_to(folder))
        assert name in {finding.subject for finding in of_kinds(check(folder).findings, TO_REPAIR)}
        kept = mend(folder)
        assert name in kept.quarantined
        rerun(folder)
        assert digest(folder) == expected
        assert of_kinds(check(folder).findings, TO_REPAIR) == []


def test_a_damaged_page_costs_only_the_videos_on_it(folder: Path) -> None:
    expected = digest(folder)
    path = max(folder.glob(FILES["data file"]), key=lambda path: path.stat().st_size)
    metadata = pq.ParquetFile(path).metadata
    column = metadata.row_group(0).column(metadata.num_columns - 1)
    content = bytearray(path.read_bytes())
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    path.write_bytes(content)
    (found,) = (one for one in check(folder).data_files if one.findings)
    assert found.located
    assert found.videos is not None
    assert 0 < len(found.spoiled) < found.videos.num_rows
    done = mend(folder)
    assert len(done.rewritten) == 1
    spoiled = [video for video in COMPACTED if (video.split, video.video_id) in found.spoiled]
    assert rerun(folder) == sum(video.frame_count for video in spoiled)
    assert digest(folder) == expected


def rewrite_row(path: Path, column: str, value: object) -> None:
    """Change one row and write the file again, footer and all, without page checksums."""
    table = pq.read_table(path, partitioning=None)
    values = table.column(column).to_pylist()
    values[3] = value
    changed = pa.array(values, table.schema.field(column).type)
    table = table.set_column(table.column_names.index(column), table.schema.field(column), changed)
    metadata = pq.ParquetFile(path).metadata.metadata
    with pq.ParquetWriter(path, table.schema, compression="zstd") as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({key: text for key, text in metadata.items() if key != b"ARROW:schema"})


@pytest.mark.parametrize("kind", ["data file", "partition"])
@pytest.mark.parametrize(("column", "value"), [("body_x", [1.0, 2.0, 3.0]), ("width", 211), ("frame_index", 2)])
def test_a_changed_row_of_a_file_that_was_written_again_is_found(
    folder: Path, kind: str, column: str, value: object
) -> None:
    expected = digest(folder)
    path = file_of(folder, FILES[kind])
    rewrite_row(path, column, value)
    name = str(path.relative_to(folder))
    assert {(finding.kind, finding.subject) for finding in check(folder).findings} >= {("damaged", name)}
    assert mend(folder).rewritten == ()
    assert rerun(folder) > 0
    assert digest(folder) == expected


@pytest.mark.parametrize("pattern", ["data/*.parquet", "partitions/split=train/*/*/*.parquet"])
def test_swapped_files_are_put_back(folder: Path, pattern: str) -> None:
    expected = digest(folder)
    one, *_, other = sorted(folder.glob(pattern))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    names = {str(path.relative_to(folder)) for path in (one, other)}
    assert names <= {finding.subject for finding in of_kinds(check(folder).findings, TO_REPAIR)}
    assert set(mend(folder).restored) == names
    assert check(folder).findings == ()
    assert rerun(folder) == 0
    assert digest(folder) == expected


@pytest.mark.parametrize("kind", ["manifest", "videos.parquet", "data file"])
def test_a_lost_file_is_named_and_made_again(folder: Path, kind: str) -> None:
    expected = digest(folder)
    path = file_of(folder, FILES[kind])
    name = str(path.relative_to(folder))
    if kind == "manifest":
        shutil.rmtree(path.parent)
        name = "manifests"
    else:
        path.unlink()
    assert ("lost", name) in {(finding.kind, finding.subject) for finding in check(folder).findings}
    mend(folder)
    assert check(folder).findings == ()
    assert (rerun(folder) > 0) == (kind == "data file")
    assert digest(folder) == expected


def test_a_lost_partition_is_told_as_missing_frames(folder: Path) -> None:
    (folder / paths.partition_path("train", "open", 4, 8)).unlink()
    (finding,) = check(folder).findings
    assert (finding.kind, finding.subject, finding.detail) == ("missing", "train/open", "4 of 11 frames")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("data/mine.parquet", "foreign"),
        ("data/train/0123456789abcdef0123456789abcdef.parquet", "foreign"),
        ("data/notes.txt", "foreign"),
        ("partitions/split=train/notes.txt", "foreign"),
        ("partitions/split=train/00/mine/00000000-00000004.parquet", "damaged"),
        ("data/train-0123456789abcdef0123456789abcdef.parquet", "damaged"),
        ("data/split=train/0123456789abcdef0123456789abcdef.parquet", "damaged"),
        ("data/.tmp-0123456789abcdef", "leftover"),
        ("notes.txt", "unknown"),
    ],
)
def test_a_file_of_somebody_else_is_named(folder: Path, name: str, kind: Kind) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"mine")
    assert [(finding.kind, finding.subject) for finding in check(folder).findings] == [(kind, name)]
    done = mend(folder)
    assert check(folder).findings == () or kind == "unknown"
    if kind not in ("leftover", "unknown"):
        assert done.quarantined == (name,)
        assert (folder / done.quarantine / name).read_bytes() == b"mine"


def test_files_of_another_dataset_are_moved_out(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    shutil.rmtree(folder / paths.MANIFESTS)
    storage.delete(paths.IDENTITY)
    claim_dataset(storage, replace(IDENTITY, limit_frames=3))
    foreign = {finding.subject for finding in of_kinds(check(folder).findings, ["foreign"])}
    assert foreign == {str(path.relative_to(folder)) for path in folder.glob("[dp]a*/**/*.parquet")}
    done = mend(folder)
    assert foreign <= set(done.quarantined)
    assert check(folder).findings == ()
    assert digest(folder) == 0


def test_an_edited_text_without_its_seal_is_found(folder: Path) -> None:
    path = folder / paths.IDENTITY
    tree = json.loads(path.read_text())
    del tree["seal"]
    path.write_text(json.dumps({**tree, "source_root": "/elsewhere"}))
    assert [(finding.kind, finding.subject) for finding in check(folder).findings] == [("damaged", "dataset.json")]


def test_a_sound_dataset_is_left_as_it_is(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    done = mend(folder)
    assert done == Repair(done.quarantine)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("lease", [paths.LEASE, "leases/1-of-4.json"])
def test_a_dataset_that_a_run_writes_is_not_repaired(folder: Path, lease: str) -> None:
    holder = LeaseHolder("run-1", "another machine", os.getpid(), time.time(), time.time())
    content = {name: getattr(holder, name) for name in ("run_id", "host", "pid", "since", "heartbeat")}
    (folder / lease).parent.mkdir(exist_ok=True)
    (folder / lease).write_text(json.dumps(content))
    (folder / ".tmp-0123").touch()
    assert not check(folder).findings, "an unfinished write is none of a run that died"
    with pytest.raises(OutputError, match=r"run-1 on another machine.*repair it when that run has ended"):
        mend(folder)


def test_a_newer_dataset_is_no_damage(folder: Path) -> None:
    tree = json.loads((folder / paths.IDENTITY).read_text())
    (folder / paths.IDENTITY).write_bytes(seal_json({**tree, "schema_version": 99}))
    with pytest.raises(OutputError, match="newer phoenix_ray"):
        check(folder)


def test_a_folder_without_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is not a dataset"):
        check(tmp_path)


def test_a_partition_of_a_tracked_video_without_its_state_is_named_and_left_alone(tmp_path: Path) -> None:
    identity = replace(IDENTITY, model={**IDENTITY.model, "mode": "tracking"})
    storage = LocalStorage(str(tmp_path))
    claim_dataset(storage, identity)
    video = make_video("tracked", frames=12)
    for first, last, state in [(0, 4, np.zeros(3, np.float32)), (4, 8, None), (8, 12, None)]:
        rows = Estimate(make_records(first, last), make_batch(video, first, last), 0.0, 0.0, (), state)
        write_partition(storage, identity, OutputSettings(), Shard(video, first, last), rows)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    checked = check(tmp_path)
    (finding,) = checked.findings
    assert (finding.kind, finding.subject) == ("stateless", paths.partition_path("train", "tracked", 4, 8))
    assert CheckReport(str(tmp_path), checked, checked.findings).exit_code == EXIT_OK
    assert mend(tmp_path).quarantined == ()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before
