"""Data files that no manifest names are taken in, or rescued, or condemned, depending on the videos that they hold.

Such a file was written by a driver that died before publishing it, was left by a driver that died before deleting it,
belongs to a driver that was slower than another, or lost its manifest. If all of its videos are elsewhere, the file is
condemned; if none is, the file is taken in. If some are, the others are first written to a new file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import NamedTuple

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.compaction_plan import CompactionTask, keep_video
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import DataFile, Manifest, publish_manifest
from phoenix_ray.dataset.parquet import DamagedFileError
from phoenix_ray.dataset.storage import Storage, hash_file
from phoenix_ray.dataset.survey import Survey, take_survey
from phoenix_ray.dataset.video_table import VideoEntry, describe_data_file, read_entries, select_videos
from phoenix_ray.errors import OutputError

# The names of `compaction.new_data_name`; phoenix_ray did not write files of other names in `data`.
_OWN_NAME = re.compile(r"[0-9a-f]{32}\.parquet")


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
        if published:
            return Resolved(published, survey, taken_in=bool(added))
        if manifest:
            raise OutputError(f"{storage.root} was changed by another driver during the repair: repair it again.")


def is_data_file_name(name: str) -> bool:
    """Whether a name is one that a compaction gives to a data file."""
    folder, _, last = name.rpartition("/")
    return folder.partition("/")[0] == paths.DATA and _OWN_NAME.fullmatch(last) is not None


def rewrite(storage: Storage, identity: DatasetIdentity, name: str, entries: Iterable[VideoEntry]) -> DataFile | None:
    """Write some videos of a data file to a new one; return None when none of them can be read."""
    listed = list(entries)
    videos = tuple(keep_video(name, entry) for entry in listed)
    return compact_videos(
        storage, CompactionTask(identity, listed[0].split, videos, (name,)), OutputSettings()
    ).data_file


def _sort_out(storage: Storage, survey: Survey, only: Collection[str] | None) -> tuple[list[DataFile], set[str]]:
    """Return the data files to take in and the names of those to condemn, of all that no manifest names.

    Newer files come first: where two hold the same video, the later one counts.
    """
    manifest, identity = survey.manifest, survey.identity
    elsewhere = {video.key for video in survey.open_videos() if video.whole is not None}
    known = manifest.names | manifest.condemned | {file.name for file in survey.damaged}
    files = [file for file in storage.list(paths.DATA) if file.name not in known and is_data_file_name(file.name)]
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
        needed = [entry for entry in entries if entry.key not in held]
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
