"""Checks a whole dataset: every file of it, and whether the files agree with each other.

    data files and partitions   each by itself, in parallel (`contents`)
    manifests/                  the newest names the data files that are there, with their sha256 and counts
    videos.parquet              says what the data files' footers say
    dataset.json, failures/     sealed JSON
    everything else             reported as unknown

`check_dataset` changes nothing; `repair` repairs what it found. `compare_with_source` lists the source as a run does to
plan, and reports which videos are missing, changed, or gone from it; it decodes no frame.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

import pyarrow as pa

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.check.cross_checks import (
    check_coverage,
    check_drops,
    check_earlier_manifests,
    check_failures,
    check_listing,
    check_videos,
    find_irregular,
    is_partition,
    lost_files,
)
from phoenix_ray.dataset.check.files import DataFileCheck, Finding, PartitionCheck, check_data_file, check_partition
from phoenix_ray.dataset.drop_history import read_drops
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout, read_identity
from phoenix_ray.dataset.manifest import DataFile, Manifest, newest_generation, read_manifest
from phoenix_ray.dataset.sealing import json_seal
from phoenix_ray.dataset.shards import Version, VideoKey
from phoenix_ray.dataset.storage import Storage, StoredFile
from phoenix_ray.dataset.video_table import video_schema
from phoenix_ray.errors import NewerVersionError, OutputError
from phoenix_ray.layouts import Layout
from phoenix_ray.sources.base import SourceProblem, Video

# Starting a process takes seconds, in which another one checks this many bytes.
_BYTES_A_PROCESS = 64_000_000
Progress = Callable[[int, int], None]
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class DatasetCheck:
    """What a check found in a dataset.

    Attributes:
        findings: Everything that is not as it should be.
        identity: The dataset's identity; None where `dataset.json` is damaged or something is irregular: then nothing
            else was checked.
        manifest: The newest manifest; empty where it is damaged or gone.
        data_files: The checks of all data files, also of those that the manifest does not name.
        partitions: The checks of all partitions.
        videos: The videos that the footers of the data files list, with the columns of `videos.parquet`: of the files
            that the manifest names, or of all files where it names none.
        bytes_read: Size of all files that were checked.
        seconds: How long it took.
    """

    findings: tuple[Finding, ...]
    identity: DatasetIdentity | None = None
    manifest: Manifest = field(default_factory=Manifest)
    data_files: tuple[DataFileCheck, ...] = ()
    partitions: tuple[PartitionCheck, ...] = ()
    videos: pa.Table | None = None
    bytes_read: int = 0
    seconds: float = 0.0


def check_dataset(storage: Storage, workers: int | None = 1, progress: Progress | None = None) -> DatasetCheck:
    """Check every file of a dataset.

    Args:
        storage: The dataset.
        workers: Number of processes; 1 works in this process, None takes as many as have a core and enough to do.
        progress: Called after each file with the number of files checked and of all files.

    Raises:
        OutputError: There is no dataset, it cannot be read, a newer phoenix_ray wrote it, or a record of a drop is
            damaged.
    """
    while True:
        generation = newest_generation(storage)
        checked = _check_once(storage, workers, progress)
        # Else a run has published meanwhile: files that it replaced would seem lost, and those that it wrote left over.
        if not checked.findings or newest_generation(storage) == generation:
            return checked


def _check_once(storage: Storage, workers: int | None, progress: Progress | None) -> DatasetCheck:
    began = time.monotonic()
    irregular = list(find_irregular(storage))
    if irregular:
        return DatasetCheck(tuple(irregular))
    try:
        identity = read_identity(storage)
    except NewerVersionError:
        raise
    except OutputError as error:
        _raise_unless_damaged(storage, paths.IDENTITY, error)
        return DatasetCheck((Finding("damaged", paths.IDENTITY, "it cannot be understood; nothing else was checked"),))
    layout = find_layout(identity)
    dropped = read_drops(storage)
    files = list(storage.list(""))
    manifest, manifest_findings = _check_manifest(storage, identity, files)
    data_files, partitions = _check_contents(storage, identity, layout, manifest, files, workers, progress)
    checks: tuple[DataFileCheck | PartitionCheck, ...] = (*data_files, *partitions)
    findings = [
        *_check_identity_seal(storage),
        *manifest_findings,
        *check_earlier_manifests(storage),
        *(finding for check in checks for finding in check.findings),
        *lost_files(manifest, data_files),
        *check_listing(storage, manifest, data_files, files, manifest_sound=not manifest_findings),
        *check_failures(storage, files),
        *check_drops(dropped, manifest, files, partitions),
    ]
    published = {file.name for file in manifest.files} or {check.name for check in data_files}
    videos = _gather(layout, [check for check in data_files if check.name in published])
    findings += check_videos(storage, layout, videos, {file.name for file in files})
    findings += check_coverage(identity, manifest, partitions, videos, dropped)
    sizes = {file.name: file.bytes for file in files}
    return DatasetCheck(
        tuple(findings),
        identity,
        manifest,
        data_files,
        partitions,
        videos,
        sum(sizes.get(check.name, 0) for check in checks),
        time.monotonic() - began,
    )


def _raise_unless_damaged(storage: Storage, name: str, error: OutputError) -> None:
    """Raise an error about a JSON file again if its seal is intact: the file is of another version or dataset."""
    try:
        content = storage.read(name)
    except FileNotFoundError:
        raise error from None
    if json_seal(content) == "intact":
        raise error


def _check_identity_seal(storage: Storage) -> Iterator[Finding]:
    if json_seal(storage.read(paths.IDENTITY)) != "intact":
        yield Finding("damaged", paths.IDENTITY, "it has no seal: it was edited")


def _check_manifest(
    storage: Storage, identity: DatasetIdentity, files: list[StoredFile]
) -> tuple[Manifest, list[Finding]]:
    generation = newest_generation(storage)
    name = paths.manifest_path(generation)
    try:
        manifest = read_manifest(storage, identity)
        name = paths.manifest_path(manifest.generation)
        if json_seal(storage.read(name)) == "intact":
            return manifest, []
    except FileNotFoundError:
        orphaned = any(paths.is_data_file_name(file.name) for file in files)
        reason = "there is none, and data files are there"
        return Manifest(), [Finding("lost", paths.MANIFESTS, reason)] if orphaned else []
    except NewerVersionError:
        raise
    except OutputError as error:
        _raise_unless_damaged(storage, name, error)
    return Manifest(), [Finding("damaged", name, "its bytes are not those that were written")]


def _check_contents(
    storage: Storage,
    identity: DatasetIdentity,
    layout: Layout,
    manifest: Manifest,
    files: list[StoredFile],
    workers: int | None,
    progress: Progress | None,
) -> tuple[tuple[DataFileCheck, ...], tuple[PartitionCheck, ...]]:
    recorded = {file.name: file for file in manifest.files}
    names = sorted(file.name for file in files if file.name in recorded or paths.is_data_file_name(file.name))
    shards = [file for file in files if is_partition(file)]
    total = len(names) + len(shards)
    if workers is None:
        size = sum(file.bytes for file in files)
        workers = min(os.cpu_count() or 1, total, 1 + size // _BYTES_A_PROCESS)
    with _Workers(workers) as pool:
        jobs: list[tuple[str, DataFile | None]] = [(name, recorded.get(name)) for name in names]
        data_files: list[DataFileCheck] = []
        partitions: list[PartitionCheck] = []
        done = 0
        # A file that is gone by now was absorbed by a run, or `lost_files` reports it.
        for data_file in pool.map(partial(_check_data_file, storage, identity, layout), jobs):
            if data_file:
                data_files.append(data_file)
            done += 1
            if progress:
                progress(done, total)
        for partition in pool.map(partial(check_partition, storage, identity, layout), shards):
            if partition:
                partitions.append(partition)
            done += 1
            if progress:
                progress(done, total)
    return tuple(data_files), tuple(partitions)


def _check_data_file(
    storage: Storage, identity: DatasetIdentity, layout: Layout, job: tuple[str, DataFile | None]
) -> DataFileCheck | None:
    return check_data_file(storage, identity, layout, *job)


class _Workers:
    """Maps a function over items in order: in this process, or in several."""

    def __init__(self, count: int) -> None:
        # A forked child would inherit locks of Arrow's threads.
        self._pool = ProcessPoolExecutor(count, mp_context=get_context("spawn")) if count > 1 else None

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def map(self, function: Callable[[Item], Result], items: list[Item]) -> Iterator[Result]:
        """Yield `function(item)` of each item."""
        return self._pool.map(function, items, chunksize=1 + len(items) // 1000) if self._pool else map(function, items)


def _gather(layout: Layout, checks: list[DataFileCheck]) -> pa.Table:
    tables = [check.videos for check in checks if check.videos is not None]
    return pa.concat_tables([video_schema(layout).empty_table(), *tables])


def compare_with_source(checked: DatasetCheck, listing: Iterable[Video | SourceProblem]) -> Iterator[Finding]:
    """Yield what a run on this source would compute, and the videos that the source no longer has.

    Args:
        checked: The check of the dataset.
        listing: The source's videos, listed with the dataset's own `source.signature` and `source.limit_frames`.

    Raises:
        SourceError: The source cannot be listed.
    """
    held = dict(_versions(checked))
    for video in listing:
        name = f"{video.split}/{video.video_id}"
        versions = held.pop((video.split, video.video_id), None)
        if isinstance(video, SourceProblem):
            yield Finding("unopenable", name, video.message)
        elif versions is None:
            yield Finding("missing", name, f"the source has it, with {video.frame_count:,} frames")
        elif Version(video.signature, video.frame_count) not in versions:
            yield Finding("changed", name, "its frames in the source are not those that were computed")
    for split, video_id in held:
        yield Finding("gone", f"{split}/{video_id}", "the source does not have it")


def _versions(checked: DatasetCheck) -> Iterator[tuple[VideoKey, set[Version]]]:
    """Yield the versions of each video that the dataset has any frame of."""
    versions: dict[VideoKey, set[Version]] = {}
    if checked.videos is not None:
        columns = ("split", "video_id", "source_signature", "frames")
        for row in checked.videos.select(list(columns)).to_pylist():
            version = Version(row["source_signature"], row["frames"])
            versions.setdefault((row["split"], row["video_id"]), set()).add(version)
    for check in checked.partitions:
        if check.info is not None:
            versions.setdefault(check.info.key, set()).add(check.info.version)
    yield from versions.items()
