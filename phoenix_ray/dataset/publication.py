"""Publishing a compaction, and cleaning up after one that was cut short.

Both keep one rule: **the last copy of a row is never deleted.** `publish` deletes a partition only after a manifest
names a data file that holds its rows. `sweep`, which the driver calls before it starts work, deletes a data file that
no manifest names only when its videos lie elsewhere too, and takes it into the manifest otherwise.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.compaction import Compacted
from phoenix_ray.dataset.encoding import DamagedFileError
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import Manifest, check_files, read_manifest, write_manifest
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.survey import Survey, take_survey
from phoenix_ray.dataset.videos import (
    VERSION_COLUMNS,
    describe_data_file,
    gather_videos,
    read_entries,
    select_videos,
    write_videos,
)

# Age from which a temporary file belongs to nobody any more: no write takes an hour.
TEMPORARY_SECONDS = 3600.0
_HASH_BLOCK_BYTES = 1 << 20
# Names that `CompactionTask.data_file` gives; files of other names in `data` are somebody else's.
_OWN_NAME = re.compile(r"[0-9a-f]{32}\.parquet")


def publish(storage: Storage, identity: DatasetIdentity, results: Sequence[Compacted]) -> Manifest:
    """Make written data files part of the dataset, then delete what they absorbed and what proved to be damaged.

    The manifest is read anew, so what another driver published meanwhile stays. A data file that holds a video which
    that driver published too, or replaces a file that is replaced already, is dropped; so is one that is gone again.

    Raises:
        OutputError: The storage cannot be read or written.
    """
    before, lost = check_files(storage, read_manifest(storage, identity))
    videos, unreadable = gather_videos(storage, identity, before, VERSION_COLUMNS)
    before = before.replace({file.name for file in unreadable}, ())
    agreed = _agree(storage, identity, before, videos, results)
    replaced = {name for result in agreed for name in result.replaces}
    manifest = before.replace(replaced, [result.data_file for result in agreed if result.data_file])
    write_manifest(storage, identity, manifest)

    gone = [name for result in agreed for name in (*result.absorbed, *result.replaces)]
    gone += [file.name for result in results for file in result.damaged]
    gone += [result.data_file.name for result in results if result.data_file]
    gone += [file.name for file in (*lost, *unreadable) if not file.foreign]
    kept = {file.name for file in manifest.files}
    for name in dict.fromkeys(gone):
        if name not in kept:
            storage.delete(name)
    refresh_videos(storage, identity, manifest)
    return manifest


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did.

    Attributes:
        removed: Names of what it removed.
        survey: What lies in the dataset now, so that a resume need not list thousands of partitions again.
    """

    removed: tuple[str, ...]
    survey: Survey


def sweep(storage: Storage, identity: DatasetIdentity, temporary_seconds: float = TEMPORARY_SECONDS) -> Swept:
    """Remove what a crash left over.

    That is: temporary files, partitions whose rows a published data file holds, data files that were replaced or never
    published. Files that phoenix_ray did not write are left alone.

    Args:
        storage: The dataset.
        identity: Its identity.
        temporary_seconds: Age from which temporary files are removed; 0 is right for a driver that holds the lease and
            has not started work.

    Raises:
        OutputError: The storage cannot be read or written.
    """
    youngest = time.time() - temporary_seconds
    removed = [file.name for file in storage.list("") if file.temporary and file.modified <= youngest]
    survey = take_survey(storage, identity)
    open_videos = list(survey.open_videos())
    removed += [info.name for video in open_videos for info in video.absorbed]
    manifest = survey.manifest
    elsewhere = {(video.split, video.video_id) for video in open_videos if video.whole is not None}
    for name in _unpublished(storage, manifest):
        try:
            entries = read_entries(storage, identity, name)
        except DamagedFileError as error:
            if not error.damage.foreign:
                removed.append(name)
            continue
        keys = {(entry.split, entry.video_id) for entry in entries}
        if keys & elsewhere or select_videos(survey.videos, keys):
            removed.append(name)
        else:
            manifest = manifest.replace(set(), [describe_data_file(name, entries, *_measure(storage, name))])
            elsewhere |= keys
    if manifest != survey.manifest:
        write_manifest(storage, identity, manifest)
        videos = refresh_videos(storage, identity, manifest).select(VERSION_COLUMNS)
        survey = replace(survey, manifest=manifest, videos=videos)
    for name in removed:
        storage.delete(name)
    gone = set(removed)
    kept = tuple(info for info in survey.partitions if info.name not in gone)
    return Swept(tuple(removed), replace(survey, partitions=kept))


def is_data_file_name(name: str) -> bool:
    """Whether a name in the dataset is one that a compaction gives to a data file."""
    folder, _, last = name.rpartition("/")
    return folder.partition("/")[0] == paths.DATA and _OWN_NAME.fullmatch(last) is not None


def refresh_videos(storage: Storage, identity: DatasetIdentity, manifest: Manifest) -> pa.Table:
    """Bring `videos.parquet` up to date with a manifest, and return it."""
    videos, _ = gather_videos(storage, identity, manifest)
    write_videos(storage, videos)
    return videos


def _agree(
    storage: Storage, identity: DatasetIdentity, before: Manifest, videos: pa.Table, results: Sequence[Compacted]
) -> list[Compacted]:
    """Return the results that can be published together on the manifest as it is now, and the videos in its files.

    A result may hold the new version of a video whose old one lies in a file that another result replaces, so dropping
    one result can mean dropping others.
    """
    names = {file.name for file in before.files}
    written = [(result, _keys_of(storage, identity, result)) for result in results]
    sound = [(result, keys) for result, keys in written if keys is not None and names.issuperset(result.replaces)]
    files_of = [(result, {row["file"] for row in select_videos(videos, keys).values()}) for result, keys in sound]
    while True:
        fresh = {name for result, _ in files_of for name in result.replaces}
        fresh |= {result.data_file.name for result, _ in files_of if result.data_file}
        agreed = [(result, files) for result, files in files_of if files <= fresh]
        if len(agreed) == len(files_of):
            return [result for result, _ in agreed]
        files_of = agreed


def _keys_of(storage: Storage, identity: DatasetIdentity, result: Compacted) -> set[tuple[str, str]] | None:
    """Return (split, video ID) of what a result wrote, None when the file is gone or damaged."""
    if result.data_file is None:
        return set()
    try:
        entries = read_entries(storage, identity, result.data_file.name)
    except (FileNotFoundError, DamagedFileError):
        return None
    return {(entry.split, entry.video_id) for entry in entries}


def _unpublished(storage: Storage, manifest: Manifest) -> list[str]:
    """Return the files below `data` that bear a name of ours but are not in the manifest."""
    published = {file.name for file in manifest.files}
    names = sorted(file.name for file in storage.list(paths.DATA))
    return [name for name in names if name not in published and is_data_file_name(name)]


def _measure(storage: Storage, name: str) -> tuple[int, str]:
    """Return size and sha256 of a file."""
    content = hashlib.sha256()
    with storage.open(name) as stream:
        while block := stream.read(_HASH_BLOCK_BYTES):
            content.update(block)
        return stream.tell(), content.hexdigest()
