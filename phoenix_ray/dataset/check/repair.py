"""Repairs a dataset so that the next run computes again only what is damaged.

A repair never deletes what might be the last good copy of a row: it first copies, durably, whatever it takes out of a
dataset to `quarantine/<time>/` under the same name. A crash may come after any of its steps:

1. Whole files under wrong names are put where they belong; the sound videos of a data file with damaged pages are
   written to a new one, row by row against their digests.
2. The damaged files are copied to quarantine. Those that are not data files are deleted.
3. The next generation of the manifest is published. It condemns the damaged data files and takes in data files that no
   manifest names although it should. Leftovers are swept, and `videos.parquet` is made again from the footers.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.array_lease import keep_lease_for, live_holders
from phoenix_ray.dataset.card import CardWords
from phoenix_ray.dataset.card_file import write_card
from phoenix_ray.dataset.check.cross_checks import read_video_table
from phoenix_ray.dataset.check.dataset_check import DatasetCheck
from phoenix_ray.dataset.check.files import TO_REPAIR, DataFileCheck, of_kinds
from phoenix_ray.dataset.compaction import rewrite
from phoenix_ray.dataset.drop_history import read_drops
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.lease import Lease
from phoenix_ray.dataset.manifest import DataFile, Manifest, newest_generation, read_manifest
from phoenix_ray.dataset.publication import sweep
from phoenix_ray.dataset.shards import VideoKey
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.errors import OutputError

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Repair:
    """What a repair did.

    Attributes:
        quarantine: Its folder for files that it took out, relative to the dataset.
        quarantined: Files that were moved there.
        restored: Whole files that were put back under their names.
        rewritten: Data files that were written with the sound videos of a damaged one.
        removed: Leftovers that were deleted.
    """

    quarantine: str
    quarantined: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@contextmanager
def alone_on(storage: Storage) -> Iterator[Lease]:
    """Hold the lease of a dataset while it is checked and repaired.

    Raises:
        OutputError: A run is at work on it.
    """
    for holder in live_holders(storage):
        raise OutputError(
            f"{storage.root} is being written by the run {holder.run_id} on {holder.host} (process {holder.pid}): "
            "repair it when that run has ended, or check it without --repair."
        )
    with keep_lease_for(storage, f"repair-{time.strftime('%Y%m%d-%H%M%S')}") as lease:
        yield lease


def repair(storage: Storage, checked: DatasetCheck) -> Repair:
    """Repair what a check found; call it inside `alone_on`.

    Raises:
        OutputError: The storage cannot be read or written; no row is lost.
    """
    work = _Quarantine(storage, f"{paths.QUARANTINE}/{time.strftime('%Y%m%d-%H%M%S')}")
    wrong = of_kinds(checked.findings, TO_REPAIR)
    irregular = of_kinds(wrong, ["irregular"])
    if irregular:
        for finding in irregular:
            work.move(finding.subject)
        return work.done()
    if checked.identity is None:
        work.quarantine(paths.IDENTITY)
        return work.done()
    identity = checked.identity
    unfit = {finding.subject for finding in wrong if finding.kind in ("damaged", "misplaced", "foreign")}
    homes = _homes(checked, unfit)
    work.rearrange(homes)
    unfit -= set(homes.values())
    rewritten: dict[str, DataFile] = {}
    for check in checked.data_files:
        if check.name in unfit:
            written = _rewrite_sound_videos(storage, identity, check)
            if written is not None:
                work.keep(check.name)
                rewritten[check.name] = written
    data_files = {name for name in unfit if name.startswith(f"{paths.DATA}/")}
    broken = {name for name in unfit if paths.manifest_generation(name) is not None}
    for name in sorted(unfit):
        if name in data_files | broken:
            work.keep(name)
        else:
            work.quarantine(name)
    for finding in of_kinds(wrong, ["leftover"]):
        if paths.manifest_generation(finding.subject) is not None:
            work.quarantine(finding.subject)
    if wrong:
        # The table is made again from footers: a row of the old one would be trusted as long as its file exists.
        storage.delete(paths.VIDEOS)
    decided: Manifest | None = None
    if wrong and (data_files or broken or checked.manifest.files):
        before = Manifest((), newest_generation(storage)) if broken else read_manifest(storage, identity)
        doubled = {finding.subject for finding in of_kinds(wrong, ["doubled"])}
        decided = before.replace(data_files | doubled, list(rewritten.values()))
        decided = replace(decided, condemned=before.condemned | data_files)
    removed = sweep(storage, identity, temporary_seconds=0, manifest=decided).removed
    for name in broken:
        storage.delete(name)
    removed = tuple(name for name in removed if name not in work.kept)
    if wrong or removed:
        # Where an edited card no longer fits, the next run says so too.
        unsaid: list[str] = []
        write_card(storage, identity, CardWords(), unsaid.append)
    return work.done([file.name for file in rewritten.values()], removed)


class _Quarantine:
    """Moves files between a dataset and its quarantine, and records what it did."""

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._folder = folder
        self._kept: list[str] = []
        self._restored: list[str] = []

    @property
    def kept(self) -> frozenset[str]:
        """Files that have a copy in quarantine."""
        return frozenset(self._kept)

    def keep(self, name: str) -> None:
        """Copy a file into quarantine if it exists and was not copied yet."""
        if name not in self._kept:
            try:
                self._copy(name, f"{self._folder}/{name}")
            except FileNotFoundError:
                return
            self._kept.append(name)

    def quarantine(self, name: str) -> None:
        """Move a file into quarantine."""
        self.keep(name)
        self._storage.delete(name)

    def move(self, name: str) -> None:
        """Move a link, pipe or device into quarantine, as it is."""
        self._storage.move(name, f"{self._folder}/{name}")
        self._kept.append(name)

    def rearrange(self, homes: Mapping[str, str]) -> None:
        """Move whole files to their right names (name → right name), by way of the quarantine: two may be swapped."""
        for name, home in homes.items():
            self.quarantine(name)
            self.keep(home)
        for name, home in homes.items():
            self._copy(f"{self._folder}/{name}", home)
            self._storage.delete(f"{self._folder}/{name}")
            self._kept.remove(name)
            self._restored.append(home)

    def done(self, rewritten: Sequence[str] = (), removed: Sequence[str] = ()) -> Repair:
        """Return what was done."""
        kept, restored = tuple(self._kept), tuple(self._restored)
        return Repair(self._folder, kept, restored, tuple(rewritten), tuple(removed))

    def _copy(self, name: str, to: str) -> None:
        with self._storage.open(name) as source, self._storage.writing(to) as target:
            shutil.copyfileobj(source, target, _BLOCK_BYTES)


def _homes(checked: DatasetCheck, unfit: set[str]) -> dict[str, str]:
    """Return name → right name of whole files under wrong names, where no sound file has the right name."""
    there = {check.name for check in checked.data_files} | {check.name for check in checked.partitions}
    wanted = {file.sha256: file.name for file in checked.manifest.files if file.name not in there - unfit}
    homes: dict[str, str] = {}
    for check in checked.data_files:
        home = wanted.get(check.sha256)
        if home not in (None, check.name):
            homes[check.name] = home
    for partition in checked.partitions:
        home = partition.belongs_at
        if home is not None and home not in there - unfit:
            homes[partition.name] = home
    return homes


def _rewrite_sound_videos(storage: Storage, identity: DatasetIdentity, check: DataFileCheck) -> DataFile | None:
    """Write a data file with the sound videos of a damaged one; return None when none is known to be sound.

    A video is known to be sound when damaged pages were found, so that it is known where the file's bytes are wrong;
    when none of these pages holds its rows; and when `videos.parquet`, whose seal is intact, agrees with the footer
    about it. Without damaged pages, columns that no digest covers may have been changed.
    """
    if not check.located or check.videos is None:
        return None
    recorded = read_video_table(storage, find_layout(identity))
    if recorded is None:
        return None
    of_file = recorded.filter(pc.equal(pc.cast(recorded.column("file"), pa.string()), check.name))
    rows = {_key(row): row for row in of_file.to_pylist()}
    confirmed = {_key(row) for row in check.videos.to_pylist() if rows.get(_key(row)) == row} - check.spoiled
    entries = read_entries(storage, identity, check.name)
    dropped = read_drops(storage)
    sound = [
        entry
        for entry in entries
        if entry.key in confirmed and not dropped.bans(entry.split, entry.video_id, entry.annotation)
    ]
    return rewrite(storage, identity, check.name, sound) if sound else None


def _key(row: dict[str, object]) -> VideoKey:
    return (str(row["split"]), str(row["video_id"]))
