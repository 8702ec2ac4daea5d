"""Checks whether the files of a dataset agree with each other; `check_dataset` calls it after each file by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.array_lease import live_holders
from phoenix_ray.dataset.check.files import DataFileCheck, Finding, PartitionCheck
from phoenix_ray.dataset.drop_history import DropHistory, record_number
from phoenix_ray.dataset.failures import parse_failure
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import Manifest, list_generations
from phoenix_ray.dataset.parquet import DamagedFileError
from phoenix_ray.dataset.sealing import json_seal, parquet_seal
from phoenix_ray.dataset.storage import Storage, StoredFile
from phoenix_ray.dataset.survey import Survey
from phoenix_ray.dataset.video_table import VERSION_COLUMNS, read_videos
from phoenix_ray.layouts import Layout

# Written by `phoenix-ray export --format delta` and by Delta's tools. Parquet readers ignore names that begin with _.
_DELTA_LOG = f"{paths.DATA}/_delta_log/"
# Folders with files of runs, of which other checks see to those that matter.
_OF_RUNS = (paths.PARTITIONS, paths.FAILURES, paths.RUNS, paths.LEASES, paths.QUARANTINE)


def lost_files(manifest: Manifest, checks: tuple[DataFileCheck, ...]) -> Iterator[Finding]:
    """Yield the data files that the manifest names but that do not exist."""
    there = {check.name for check in checks}
    for file in manifest.files:
        if file.name not in there:
            detail = f"the manifest names it with {file.videos:,} videos, but it is gone"
            yield Finding("lost", file.name, detail)


def check_listing(
    storage: Storage,
    manifest: Manifest,
    checks: tuple[DataFileCheck, ...],
    files: list[StoredFile],
    manifest_sound: bool,
) -> Iterator[Finding]:
    """Yield unfinished writes, data files that no manifest names, and files that phoenix_ray did not write, by name."""
    at_work = bool(live_holders(storage))
    published = {file.name for file in manifest.files}
    suspects = {check.name for check in checks if check.findings}
    known = {paths.IDENTITY, paths.VIDEOS, paths.LEASE, paths.CARD}
    known |= {file.name for file in files if record_number(file.name) is not None}
    for file in sorted(files, key=lambda file: file.name):
        top = file.name.partition("/")[0]
        if file.temporary:
            if not at_work:
                yield Finding("leftover", file.name, "an unfinished write")
        elif paths.is_data_file_name(file.name):
            if manifest_sound and not at_work and file.name not in published | suspects:
                yield Finding("leftover", file.name, "no manifest names it")
        elif file.name.startswith(_DELTA_LOG):
            continue
        elif top == paths.DATA or (top == paths.PARTITIONS and not is_partition(file)):
            yield Finding("foreign", file.name, "phoenix_ray writes no file of this name here")
        elif paths.manifest_generation(file.name) is not None:
            continue
        elif file.name not in known and top not in _OF_RUNS:
            yield Finding("unknown", file.name, "phoenix_ray did not write it")


def check_earlier_manifests(storage: Storage) -> Iterator[Finding]:
    """Yield earlier generations of the manifest whose bytes are not those that were written."""
    earlier = sorted({0, *list_generations(storage)})[:-1]
    for name in map(paths.manifest_path, earlier):
        with suppress(FileNotFoundError):
            if json_seal(storage.read(name)) != "intact":
                yield Finding("leftover", name, "an earlier generation whose bytes are not those that were written")


def check_drops(
    dropped: DropHistory, manifest: Manifest, files: list[StoredFile], partitions: tuple[PartitionCheck, ...]
) -> Iterator[Finding]:
    """Yield drops whose bytes are not all removed, and files that hold or name a dropped video all the same.

    The seals of the records were checked when they were read.
    """
    for record in dropped.records:
        if record.number > manifest.drops:
            name = f"{paths.DROPPED}/{record.number:012}.json"
            yield Finding("leftover", name, "the videos are dropped, but their bytes are not all removed")
    banned = {
        check.name
        for check in partitions
        if check.info and dropped.bans(check.info.split, check.info.video_id, check.info.annotation)
    }
    for file in files:
        if not file.temporary and (file.name in banned or dropped.bans_file(file.name)):
            yield Finding("leftover", file.name, "it is of a dropped video")


def find_irregular(storage: Storage) -> Iterator[Finding]:
    """Yield links, pipes and devices in places of the dataset's files."""
    for name, kind in sorted(storage.irregular("")):
        if name.partition("/")[0] in paths.TOP_LEVEL - {paths.QUARANTINE, paths.CARD}:
            yield Finding("irregular", name, f"{kind}; nothing else was checked")


def check_failures(storage: Storage, files: list[StoredFile]) -> Iterator[Finding]:
    """Yield failure records that are damaged or have the name of another record."""
    for file in files:
        if file.name.startswith(f"{paths.FAILURES}/") and not file.temporary:
            try:
                content = storage.read(file.name)
                failure = parse_failure(content)
                right = paths.failure_path(failure.split, failure.video_id, failure.first, failure.last)
            except FileNotFoundError:
                continue
            except ValueError:
                yield Finding("damaged", file.name, "its bytes are not those that were written")
                continue
            if json_seal(content) != "intact" or right != file.name:
                yield Finding("damaged", file.name, "it is not the record that was written under this name")


def check_videos(storage: Storage, layout: Layout, expected: pa.Table, names: set[str]) -> Iterator[Finding]:
    """Compare `videos.parquet` with the footers of the data files."""
    if paths.VIDEOS not in names:
        if expected.num_rows:
            yield Finding("lost", paths.VIDEOS, "it is gone, and data files are there")
        return
    recorded = read_video_table(storage, layout)
    if recorded is None:
        yield Finding("damaged", paths.VIDEOS, "its bytes are not those that were written")
    elif not _in_order(recorded).equals(_in_order(expected)):
        rows = f"{recorded.num_rows:,} rows for {expected.num_rows:,} videos"
        detail = rows if recorded.num_rows != expected.num_rows else "a row differs from what a data file says"
        yield Finding("outdated", paths.VIDEOS, detail)


def read_video_table(storage: Storage, layout: Layout) -> pa.Table | None:
    """Return `videos.parquet`; None where it is missing or not what was written."""
    try:
        if parquet_seal(storage.read(paths.VIDEOS)) != "intact":
            return None
        return read_videos(storage, layout)
    except (FileNotFoundError, DamagedFileError):
        return None


def _in_order(videos: pa.Table) -> pa.Table:
    return _plain(videos).sort_by([("file", "ascending"), ("first_row", "ascending")]).combine_chunks()


def _plain(videos: pa.Table) -> pa.Table:
    """Return a table with plain text instead of dictionaries, which differ from file to file."""
    columns = [
        pc.cast(column, pa.string()) if pa.types.is_dictionary(column.type) else column for column in videos.columns
    ]
    return pa.table(columns, names=videos.column_names)


def check_coverage(
    identity: DatasetIdentity,
    manifest: Manifest,
    checks: tuple[PartitionCheck, ...],
    videos: pa.Table,
    dropped: DropHistory,
) -> Iterator[Finding]:
    """Yield videos that lack frames, partitions that a data file has absorbed, and videos in two data files."""
    infos = (check.info for check in checks if check.info is not None)
    sound = tuple(info for info in infos if not dropped.bans(info.split, info.video_id, info.annotation))
    for video in Survey(identity, manifest, sound, videos.select(list(VERSION_COLUMNS))).open_videos():
        for info in video.absorbed:
            yield Finding("leftover", info.name, "a data file holds its rows")
        if video.live is not None and video.whole is None:
            frames = {frame for info in video.live for frame in range(info.first, info.last)}
            count = video.live[0].frame_count
            yield Finding("missing", f"{video.split}/{video.video_id}", f"{count - len(frames):,} of {count:,} frames")
    # Without a manifest it is not known which of several files counts; a repair decides that.
    places = _plain(videos.select(["split", "video_id", "file"])).slice(0, None if manifest.files else 0)
    counts = places.group_by(["split", "video_id"]).aggregate([("file", "count")])
    twice = counts.filter(pc.greater(counts.column("file_count"), 1)).select(["split", "video_id"]).to_pylist()
    keys = {(row["split"], row["video_id"]) for row in twice}
    rows = sorted((row["split"], row["video_id"], row["file"]) for row in places.to_pylist()) if keys else []
    for key, group in groupby(rows, key=lambda row: row[:2]):
        for _, _, file in list(group)[1:] if key in keys else []:
            yield Finding("doubled", file, f"it holds {'/'.join(key)}, which another data file holds too")


def is_partition(file: StoredFile) -> bool:
    """Whether a file lies where partitions do and is named like one."""
    return file.name.startswith(f"{paths.PARTITIONS}/") and file.name.endswith(".parquet") and not file.temporary
