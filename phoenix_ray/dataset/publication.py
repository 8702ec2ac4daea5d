"""Publishes compactions and cleans up after drivers that died.

`publish` publishes the next generation of the manifest, then deletes what that made superfluous. `sweep` does the same
for whatever a crash left. **Neither ever deletes the last copy of a row**, whoever else is at work:

- The manifest is decided on the newest generation and published as the next one, or decided again when another driver
  was faster (`manifest.publish_manifest`).
- Each generation names every video of the one before, in the same version or in a later whole one, apart from files
  that are lost or damaged. So every video that a generation names is in all later ones.
- A partition is deleted only if it still holds the version that a published data file holds, or one that was older
  when that file was planned.
- A data file is deleted only if a published generation condemns it.

A data file that no manifest names was written by a driver that died before publishing it, was left by a driver that
died before deleting it, belongs to a driver that was slower than another, or lost its manifest. If all of its videos
are elsewhere, the file is condemned; if none is, the file is taken in. If some are, the others are first written to a
new file (`resolve_unpublished`).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import pyarrow as pa

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.compaction import Compacted, rewrite
from phoenix_ray.dataset.compaction_plan import Absorbed
from phoenix_ray.dataset.drop_history import DropHistory
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import (
    DataFile,
    Manifest,
    newest_generation,
    publish_manifest,
    remove_old_generations,
)
from phoenix_ray.dataset.parquet import DamagedFileError
from phoenix_ray.dataset.partitions import FOOTER_THREADS, delete_version, discard
from phoenix_ray.dataset.removal import Removal, remove_dropped
from phoenix_ray.dataset.shards import Version, VideoKey
from phoenix_ray.dataset.storage import Storage, hash_file
from phoenix_ray.dataset.survey import Survey, read_compacted, take_survey
from phoenix_ray.dataset.video_table import (
    VERSION_COLUMNS,
    describe_data_file,
    lists_files,
    read_entries,
    select_videos,
    write_videos,
)
from phoenix_ray.errors import OutputError


class Resolved(NamedTuple):
    """The newest manifest, the survey that decided it, and whether files were taken in."""

    manifest: Manifest
    survey: Survey
    taken_in: bool


def resolve_unpublished(
    storage: Storage,
    identity: DatasetIdentity,
    only: Collection[str] | None = None,
    manifest: Manifest | None = None,
) -> Resolved:
    """Decide about data files that no manifest names or that are damaged, and publish the decision.

    Args:
        storage: The dataset.
        identity: Its identity.
        only: Names of the files; None means all.
        manifest: A repair's decision on the newest generation, published together with the files that are taken in.
            None takes the newest generation as it is.

    Raises:
        OutputError: The storage cannot be read or written, or another driver is at work during a repair.
    """
    while True:
        survey = take_survey(storage, identity, manifest=manifest)
        added, condemned = _sort_out(storage, survey, only)
        damaged = [file for file in survey.damaged if file.name.startswith(f"{paths.DATA}/")]
        condemned |= {file.name for file in damaged if not (file.foreign or file.gone)}
        if not (added or condemned or damaged or manifest):
            return Resolved(survey.manifest, survey, taken_in=False)
        published = publish_manifest(storage, identity, survey.manifest.replace((), added), condemned)
        if published and _counts(storage, published):
            return Resolved(published, survey, taken_in=bool(added))
        if manifest:
            raise OutputError(f"{storage.root} was changed by another driver during the repair: repair it again.")


def _counts(storage: Storage, published: Manifest) -> bool:
    """Whether a generation that this driver has made is the newest.

    A driver that slept may make a number that was removed long ago. What that condemns may be part of the dataset.
    """
    return newest_generation(storage) == published.generation


def _sort_out(storage: Storage, survey: Survey, only: Collection[str] | None) -> tuple[list[DataFile], set[str]]:
    """Return the data files to take in and the names of those to condemn, of all that no manifest names.

    Newer files come first: where two hold the same video, the later one counts. Dropped videos are not taken in.
    """
    manifest, identity, dropped = survey.manifest, survey.identity, survey.dropped
    elsewhere = {video.key for video in survey.open_videos() if video.whole is not None}
    known = manifest.names | manifest.condemned | {file.name for file in survey.damaged}
    files = [file for file in storage.list(paths.DATA) if file.name not in known and paths.is_data_file_name(file.name)]
    files = [file for file in files if only is None or file.name in only]
    added: list[DataFile] = []
    condemned: set[str] = set()
    for file in sorted(files, key=lambda file: (-file.modified, file.name)):
        try:
            entries = read_entries(storage, identity, file.name)
        except FileNotFoundError:
            continue
        except DamagedFileError as error:
            condemned |= set() if error.damage.foreign else {file.name}
            continue
        held = elsewhere | select_videos(survey.videos, {entry.key for entry in entries}).keys()
        needed = [
            entry
            for entry in entries
            if entry.key not in held and not dropped.bans(entry.split, entry.video_id, entry.annotation)
        ]
        if needed and len(needed) == len(entries):
            # If it is gone by now, another driver has published a decision, and this one will be refused.
            with suppress(FileNotFoundError):
                added.append(describe_data_file(file.name, entries, *hash_file(storage, file.name)))
        else:
            rescued = rewrite(storage, identity, file.name, needed) if needed else None
            if rescued:
                added.append(rescued)
            condemned.add(file.name)
        elsewhere |= {entry.key for entry in needed}
    return added, condemned


# Age at which a temporary file is abandoned: no write takes an hour.
TEMPORARY_SECONDS = 3600.0


def publish(storage: Storage, identity: DatasetIdentity, results: Sequence[Compacted]) -> Manifest:
    """Add data files to the dataset, then delete what they absorbed and what proved to be damaged.

    A data file is left out if another driver has published one of its videos meanwhile, if it replaces a file that is
    already replaced, or if it is gone or condemned. Its videos stay in their present files; the caller may plan again.

    Returns:
        The newest manifest afterwards, by this driver or a faster one.

    Raises:
        OutputError: The storage cannot be read or written.
    """
    while True:
        before, videos, damaged, dropped = read_compacted(storage, identity)
        # Each new file is a chunk of the table, and is looked up in it: many chunks would make that quadratic.
        agreed = _agree(storage, identity, before, videos.combine_chunks(), results, dropped)
        replaced = {name for result in agreed for name in result.replaces}
        manifest = before.replace(replaced, [result.data_file for result in agreed if result.data_file])
        spoiled = {file.name for file in damaged if not (file.foreign or file.gone)}
        if not (agreed or damaged) or publish_manifest(storage, identity, manifest, replaced | spoiled):
            break
    for result in results:
        for file in result.damaged:
            discard(storage, identity, file)
    written = {result.data_file.name for result in results if result.data_file}
    agreed_names = {result.data_file.name for result in agreed if result.data_file}
    if written - agreed_names:
        resolve_unpublished(storage, identity, only=written - agreed_names)
    # The newest generation decides what may be deleted (`_counts`).
    current, videos, _, _ = read_compacted(storage, identity)
    held = videos.combine_chunks()
    for result in results:
        published = result.data_file is not None and result.data_file.name in current.names
        delete_absorbed(storage, identity, held, result.absorbed, older=published)
    delete_condemned(storage, current)
    refresh_videos(storage, identity)
    remove_old_generations(storage, current.generation)
    return current


def delete_absorbed(
    storage: Storage, identity: DatasetIdentity, videos: pa.Table, absorbed: Iterable[Absorbed], older: bool = False
) -> list[str]:
    """Delete partitions whose videos data files hold in the same version; return their names.

    Args:
        storage: The dataset.
        identity: Its identity.
        videos: The table of the videos that the newest manifest names.
        absorbed: The partitions, each to be deleted only while it holds the recorded version.
        older: Whether other versions than the published ones are known to be older.
    """
    listed = list(absorbed)
    held = select_videos(videos, {partition.key for partition in listed})

    def delete(partition: Absorbed) -> bool:
        row = held.get(partition.key)
        same = row is not None and Version(row["source_signature"], row["frames"]) == partition.version
        return (
            row is not None and (same or older) and delete_version(storage, identity, partition.name, partition.version)
        )

    with ThreadPoolExecutor(FOOTER_THREADS) as pool:
        deleted = list(pool.map(delete, listed))
    return [partition.name for partition, done in zip(listed, deleted, strict=True) if done]


def delete_condemned(storage: Storage, manifest: Manifest) -> list[str]:
    """Delete the data files that a manifest condemns; return their names."""
    names = sorted(manifest.condemned)
    for name in names:
        storage.delete(name)
    return names


def refresh_videos(storage: Storage, identity: DatasetIdentity) -> pa.Table:
    """Bring `videos.parquet` up to date with the newest manifest, and return it.

    The table is made again if a manifest was published meanwhile, so that the last to write it has seen the newest.
    """
    while True:
        manifest, videos, _, _ = read_compacted(storage, identity, None)
        write_videos(storage, videos)
        if newest_generation(storage) == manifest.generation:
            return videos


def _agree(
    storage: Storage,
    identity: DatasetIdentity,
    before: Manifest,
    videos: pa.Table,
    results: Sequence[Compacted],
    dropped: DropHistory,
) -> list[Compacted]:
    """Return the results that can be published together on the present manifest.

    A result may hold the new version of a video whose old version is in a file that another result replaces, so
    dropping one result can mean dropping others.
    """
    names = before.names
    written = [(result, _keys_of(storage, identity, before, result, dropped)) for result in results]
    sound = [(result, keys) for result, keys in written if keys is not None and names.issuperset(result.replaces)]
    files_of = [(result, {row["file"] for row in select_videos(videos, keys).values()}) for result, keys in sound]
    while True:
        fresh = {name for result, _ in files_of for name in result.replaces}
        agreed = [(result, files) for result, files in files_of if files <= fresh]
        if len(agreed) == len(files_of):
            return [result for result, _ in agreed]
        files_of = agreed


def _keys_of(
    storage: Storage, identity: DatasetIdentity, before: Manifest, result: Compacted, dropped: DropHistory
) -> set[VideoKey] | None:
    """Return the keys of the videos that a result wrote, None when its file cannot be published (any more)."""
    if result.data_file is None:
        return set()
    if result.data_file.name in before.condemned | before.names:
        return None
    try:
        entries = read_entries(storage, identity, result.data_file.name)
    except (FileNotFoundError, DamagedFileError):
        return None
    if any(dropped.bans(entry.split, entry.video_id, entry.annotation) for entry in entries):
        return None
    return {entry.key for entry in entries}


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did.

    Attributes:
        removed: Names of the files that it removed.
        survey: The dataset afterwards, so that a resume need not list thousands of partitions again.
        removal: What was removed because of drops.
    """

    removed: tuple[str, ...]
    survey: Survey
    removal: Removal = field(default_factory=Removal)


def sweep(
    storage: Storage,
    identity: DatasetIdentity,
    temporary_seconds: float = TEMPORARY_SECONDS,
    manifest: Manifest | None = None,
) -> Swept:
    """Remove what a crash left and what drops ban, and take in data files that no manifest names although it should.

    A sweep removes temporary files, partitions whose rows a published data file holds, data files that were replaced,
    never published, or damaged, and old generations of the manifest. It keeps files that phoenix_ray did not write.

    Args:
        storage: The dataset.
        identity: Its identity.
        temporary_seconds: Age from which temporary files are removed; 0 for a driver that holds the lease and has not
            begun to write.
        manifest: A repair's decision on the newest generation, published together with the files that are taken in.
            None takes the newest generation as it is.

    Raises:
        OutputError: The storage cannot be read or written, or another driver is at work during a repair.
    """
    youngest = time.time() - temporary_seconds
    temporary = [file.name for file in storage.list("") if file.temporary and file.modified <= youngest]
    published, survey, taken_in = resolve_unpublished(storage, identity, manifest=manifest)
    removal = remove_dropped(storage, survey) if survey.dropped else Removal()
    if survey.dropped.newest > published.drops:
        published, survey, _ = resolve_unpublished(storage, identity)
    if taken_in or not lists_files(storage, identity, published.names):
        survey = replace(survey, videos=refresh_videos(storage, identity).select(VERSION_COLUMNS))
    for name in temporary:
        storage.delete(name)
    left_over = [
        Absorbed(info.name, info.key, info.version) for video in survey.open_videos() for info in video.absorbed
    ]
    deleted = delete_absorbed(storage, identity, survey.videos, left_over)
    removed = (*removal.names, *temporary, *deleted, *delete_condemned(storage, published))
    remove_old_generations(storage, newest_generation(storage), every=bool(survey.dropped))
    partitions = tuple(info for info in survey.partitions if info.name not in set(deleted))
    return Swept(removed, replace(survey, manifest=published, partitions=partitions), removal)
