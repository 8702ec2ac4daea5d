"""Cleaning up after drivers that died, by the rule of `publication`: the last copy of a row is never deleted."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from phoenix_ray.dataset.compaction_plan import Absorbed
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import Manifest, newest_generation, remove_old_generations
from phoenix_ray.dataset.publication import delete_absorbed, delete_condemned, refresh_videos
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.survey import Survey
from phoenix_ray.dataset.unpublished import settle_unpublished
from phoenix_ray.dataset.videos import VERSION_COLUMNS, lists_files

# Age from which a temporary file belongs to nobody any more: no write takes an hour.
TEMPORARY_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did.

    Attributes:
        removed: Names of what it removed.
        survey: What lies in the dataset now, so that a resume need not list thousands of partitions again.
    """

    removed: tuple[str, ...]
    survey: Survey


def sweep(
    storage: Storage,
    identity: DatasetIdentity,
    temporary_seconds: float = TEMPORARY_SECONDS,
    manifest: Manifest | None = None,
) -> Swept:
    """Remove what a crash left over, and take in what no manifest names although it should.

    Removed are temporary files, partitions whose rows a published data file holds, data files that were replaced, never
    published, or damaged, and old generations of the manifest. Files that phoenix_ray did not write are left alone.

    Args:
        storage: The dataset.
        identity: Its identity.
        temporary_seconds: Age from which temporary files are removed; 0 is right for a driver that holds the lease and
            has not started work.
        manifest: What a repair has decided on the newest generation; it is published with what is taken in. None goes
            by what is published.

    Raises:
        OutputError: The storage cannot be read or written, or another driver is at work during a repair.
    """
    youngest = time.time() - temporary_seconds
    temporary = [file.name for file in storage.list("") if file.temporary and file.modified <= youngest]
    published, survey, taken_in = settle_unpublished(storage, identity, manifest=manifest)
    if taken_in or not lists_files(storage, identity, published.names):
        survey = replace(survey, videos=refresh_videos(storage, identity).select(VERSION_COLUMNS))
    for name in temporary:
        storage.delete(name)
    left_over = [
        Absorbed(info.name, info.split, info.video_id, info.version)
        for video in survey.open_videos()
        for info in video.absorbed
    ]
    deleted = delete_absorbed(storage, identity, survey.videos, left_over)
    removed = (*temporary, *deleted, *delete_condemned(storage, published))
    remove_old_generations(storage, newest_generation(storage))
    partitions = tuple(info for info in survey.partitions if info.name not in set(deleted))
    return Swept(removed, replace(survey, manifest=published, partitions=partitions))
