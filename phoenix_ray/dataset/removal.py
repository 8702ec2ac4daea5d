"""Removes the bytes of dropped videos from a dataset: `publication.sweep` calls it, so every driver completes a drop.

The videos are out of the dataset as soon as `drop_history` records them. Here all that is left of them goes, in an
order in which a crash may come after any step:

1. Partitions and failure records of the videos, and with a signer those of all videos without rows; what is in
   quarantine; of earlier runs all that may name or show a video: logs, reports, lists of files that were left out, and
   the lists in `status.json`; a Delta log.
2. Each data file that holds one of the videos is written again without it, row by row against the digests of the
   others. Then the next generation of the manifest is published. It condemns the old files and says that it reflects
   the drop (`Manifest.drops`), which ends the removal.
3. The sweep deletes what is condemned, makes `videos.parquet` again, and removes earlier generations, which name the
   first and last video of each file.

A driver that read the history before the drop read the manifest before that too, so it can publish nothing afterwards:
step 2 has published the generation that it would make. Whatever such a driver leaves (a partition, a data file that no
manifest names) is not read, and the next sweep deletes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.compaction import rewrite
from phoenix_ray.dataset.drop_history import DropHistory
from phoenix_ray.dataset.failures import parse_failure
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import DataFile, newest_generation, publish_manifest
from phoenix_ray.dataset.parquet import DamagedFile, DamagedFileError, open_parquet, read_footer
from phoenix_ray.dataset.partitions import FOOTER_THREADS
from phoenix_ray.dataset.sealing import parse_mapping
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.survey import Survey, read_compacted
from phoenix_ray.dataset.video_table import VideoEntry, read_entries, select_videos
from phoenix_ray.text import counted

# Written by `phoenix-ray export --format delta`: it has the first and last video of each file too.
DELTA_LOG = f"{paths.DATA}/_delta_log"
# What a run leaves that names no video: counts by split, timings, versions.
SUMMARY = "summary.json"
STATUS = "status.json"
# The lists of `status.json` that name videos.
_STATUS_LISTS = ("at_work", "latest")


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed.

    Attributes:
        names: Files that were deleted, or that the manifest condemns now.
        rewritten: Data files that were written with the other videos of a file.
        recompute: Other videos that are gone, because the rows that were to be copied proved to be damaged.
    """

    names: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()
    recompute: int = 0

    def lines(self) -> list[str]:
        """Return what a driver says that has completed a drop; nothing where there was nothing to remove."""
        lines: list[str] = []
        if self.names:
            lines.append(f"Removed what was left of dropped videos: {counted(len(self.names), 'file')}.")
        if self.recompute:
            videos = counted(self.recompute, "other video")
            lines.append(f"{videos} in the same files had damaged rows, and must be computed again.")
        return lines


def remove_dropped(storage: Storage, survey: Survey) -> Removal:
    """Remove what is left of dropped videos, as far as a survey's history of drops says.

    Raises:
        OutputError: The storage cannot be read or written: the next call goes on.
    """
    dropped, is_pending = survey.dropped, survey.dropped.newest > survey.manifest.drops
    removed = list(_find_files(storage, survey))
    removed += _find_quarantined(storage, survey.identity, dropped, thorough=is_pending)
    if is_pending:
        removed += [file.name for file in storage.list(DELTA_LOG)]
        removed += clean_runs(storage)
        if dropped.signers:
            removed += _find_unattributed(storage, survey)
    removed = list(dict.fromkeys(removed))
    for name in removed:
        storage.delete(name)
    if not is_pending:
        return Removal(tuple(removed))
    for folder in (paths.PARTITIONS, paths.FAILURES, paths.QUARANTINE):
        storage.prune(folder)
    condemned, rewritten, recompute = _rewrite_data_files(storage, survey.identity)
    return Removal((*removed, *condemned), rewritten, recompute)


def _find_files(storage: Storage, survey: Survey) -> Iterator[str]:
    """Yield the partitions and failure records of dropped videos, damaged ones too."""
    banned = {info.name for info in survey.banned}
    for folder in (paths.PARTITIONS, paths.FAILURES):
        for file in storage.list(folder):
            if not file.temporary and (file.name in banned or survey.dropped.bans_file(file.name)):
                yield file.name


def _find_unattributed(storage: Storage, survey: Survey) -> Iterator[str]:
    """Yield the failure records of videos without rows: nobody can say who signs in them.

    Nothing is lost: the next run tries these videos again, and records what fails.
    """
    names = [file.name for file in storage.list(paths.FAILURES) if not file.temporary]
    records = {name: _failed_video(storage, name) for name in names}
    keys = {key for key in records.values() if key}
    known = {*select_videos(survey.videos, keys), *(info.key for info in survey.partitions)}
    yield from (name for name, key in records.items() if key not in known)


def _failed_video(storage: Storage, name: str) -> VideoKey | None:
    try:
        failure = parse_failure(storage.read(name))
    except (FileNotFoundError, ValueError):
        return None
    return failure.split, failure.video_id


def _find_quarantined(
    storage: Storage, identity: DatasetIdentity, dropped: DropHistory, *, thorough: bool
) -> Iterator[str]:
    """Yield the files in quarantine that hold dropped videos; with `thorough` also those that may hold some."""
    for file in storage.list(paths.QUARANTINE):
        # Its name in the dataset.
        name = "/".join(file.name.split("/")[2:])
        if dropped.bans_file(file.name) or (thorough and file.temporary):
            yield file.name
        elif file.name.endswith(".parquet"):
            holds = _holds_dropped(storage, identity, file.name, dropped)
            if holds or (holds is None and thorough):
                yield file.name
        elif thorough and name != paths.IDENTITY:
            yield file.name


def _holds_dropped(storage: Storage, identity: DatasetIdentity, name: str, dropped: DropHistory) -> bool | None:
    """Return whether a data file or partition holds a dropped video; None where its footer does not say."""
    try:
        with open_parquet(storage, name) as parquet:
            footer = read_footer(name, parquet)
        if "range" in footer:
            return dropped.bans(footer["split"], footer["video_id"], footer["annotation"])
        entries = read_entries(storage, identity, name)
    except (FileNotFoundError, DamagedFileError, KeyError, TypeError, AttributeError):
        return None
    return any(dropped.bans(entry.split, entry.video_id, entry.annotation) for entry in entries)


def clean_runs(storage: Storage) -> Iterator[str]:
    """Empty the lists of videos in every `status.json`; yield the files of runs that may name or show a video."""
    for file in list(storage.list(paths.RUNS)):
        last = file.name.rpartition("/")[2]
        if last == SUMMARY:
            continue
        if last != STATUS or not _empty_lists(storage, file.name):
            yield file.name


def _empty_lists(storage: Storage, name: str) -> bool:
    """Write a `status.json` without its lists of videos; return whether it could be understood."""
    try:
        tree = parse_mapping(storage.read(name))
    except (FileNotFoundError, ValueError):
        return False
    if any(tree.get(key) for key in _STATUS_LISTS):
        storage.write(name, json.dumps(tree | {key: [] for key in _STATUS_LISTS if key in tree}, indent=2).encode())
    return True


def _rewrite_data_files(storage: Storage, identity: DatasetIdentity) -> tuple[list[str], tuple[str, ...], int]:
    """Publish a generation without dropped videos: return the condemned files, the new ones, and how many others lost.

    It is decided anew on each generation that another driver publishes meanwhile.
    """
    while True:
        before, _, damaged, dropped = read_compacted(storage, identity)
        condemned = [file.name for file in damaged if not (file.foreign or file.gone)]
        if before.drops >= dropped.newest:
            return [], (), 0
        added: list[DataFile] = []
        recompute = 0
        with ThreadPoolExecutor(FOOTER_THREADS) as pool:
            names = [file.name for file in before.files]
            listed = list(pool.map(partial(_list_entries, storage, identity), names))
        for file, entries in zip(before.files, listed, strict=True):
            if isinstance(entries, DamagedFile):
                # Nobody can say whose rows it holds.
                condemned.append(file.name)
                recompute += file.videos
                continue
            kept = [entry for entry in entries if not dropped.bans(entry.split, entry.video_id, entry.annotation)]
            if len(kept) == len(entries):
                continue
            condemned.append(file.name)
            written = rewrite(storage, identity, file.name, kept) if kept else None
            if written is not None:
                added.append(written)
            recompute += len(kept) - (written.videos if written else 0)
        following = replace(before.replace(condemned, added), drops=dropped.newest)
        published = publish_manifest(storage, identity, following, condemned)
        if published and newest_generation(storage) == published.generation:
            return condemned, tuple(file.name for file in added), recompute


def _list_entries(storage: Storage, identity: DatasetIdentity, name: str) -> list[VideoEntry] | DamagedFile:
    try:
        return read_entries(storage, identity, name)
    except FileNotFoundError:
        return DamagedFile(name, "it is gone", gone=True)
    except DamagedFileError as error:
        return error.damage
