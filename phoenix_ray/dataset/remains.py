"""Searches every file of a dataset for what is left of dropped videos: the last step of `phoenix-ray drop`.

It opens the files anew, and trusts neither the manifest nor `videos.parquet`: a data file is searched in its footer and
in its columns `split` and `video_id`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pyarrow.compute as pc

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.card_file import is_edited
from phoenix_ray.dataset.drop_history import SIGNER, DropHistory, record_number
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.manifest import newest_generation
from phoenix_ray.dataset.parquet import DamagedFileError, explain_damage, open_parquet
from phoenix_ray.dataset.removal import STATUS, SUMMARY
from phoenix_ray.dataset.sealing import parse_mapping
from phoenix_ray.dataset.storage import Storage, StoredFile
from phoenix_ray.dataset.video_table import read_entries, read_videos

_KEY_COLUMNS = ["split", "video_id"]
_PLAIN = frozenset({paths.IDENTITY, paths.LEASE, paths.CARD})


@dataclass(frozen=True, slots=True)
class Remains:
    """What a search found.

    Attributes:
        files: Files that hold something of a dropped video, or may: each with the reason.
        unknown: Files that phoenix_ray did not write, and a card that was edited: nobody can say what they hold.
    """

    files: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...]


def find_remains(storage: Storage, identity: DatasetIdentity, dropped: DropHistory) -> Remains:
    """Search a dataset right after a drop, under the lease: no run has written anything since.

    Raises:
        OutputError: The dataset cannot be read.
    """
    newest = paths.manifest_path(newest_generation(storage))
    files: list[tuple[str, str]] = []
    unknown = [name for name, _ in storage.irregular("")]
    for file in storage.list(""):
        with suppress(FileNotFoundError):
            if _is_unknown(file) or (file.name == paths.CARD and is_edited(storage)):
                unknown.append(file.name)
            elif reason := _search(storage, identity, dropped, file, newest):
                files.append((file.name, reason))
    return Remains(tuple(sorted(files)), tuple(sorted(unknown)))


def _is_unknown(file: StoredFile) -> bool:
    top = file.name.partition("/")[0]
    if file.temporary:
        return False
    if top == paths.DATA:
        return not paths.is_data_file_name(file.name)
    if top == paths.DROPPED:
        return record_number(file.name) is None
    return top not in paths.TOP_LEVEL


def _search(
    storage: Storage, identity: DatasetIdentity, dropped: DropHistory, file: StoredFile, newest_manifest: str
) -> str:
    """Return what a file still has of a dropped video, empty where that is nothing."""
    name = file.name
    top = name.partition("/")[0]
    if file.temporary:
        return "an unfinished write"
    if dropped.bans_file(name):
        return "it is named after a dropped video"
    if name in _PLAIN or top in (paths.LEASES, paths.DROPPED, paths.QUARANTINE):
        # `removal` has examined what is in quarantine, some of which nobody can read.
        return ""
    if top == paths.RUNS:
        return _search_run(storage, name)
    if paths.manifest_generation(name) is not None:
        return "" if name == newest_manifest else "an earlier generation of the manifest"
    try:
        if name == paths.VIDEOS:
            videos = read_videos(storage, find_layout(identity), [*_KEY_COLUMNS, SIGNER])
            rows = videos.to_pylist() if videos is not None else []
            found = any(dropped.bans(row["split"], row["video_id"], {SIGNER: row[SIGNER]}) for row in rows)
        else:
            found = any(dropped.bans(split, video_id, {}) for split, video_id in _keys_in(storage, name))
            if top == paths.DATA and not found:
                entries = read_entries(storage, identity, name)
                found = any(dropped.bans(entry.split, entry.video_id, entry.annotation) for entry in entries)
    except DamagedFileError as error:
        # The path of a partition says whose it is.
        return "" if top == paths.PARTITIONS else f"it cannot be searched: {error.damage.reason}"
    return "it holds a dropped video" if found else ""


def _search_run(storage: Storage, name: str) -> str:
    last = name.rpartition("/")[2]
    if last == SUMMARY:
        return ""
    if last != STATUS:
        return "of an earlier run; it may name or show a dropped video"
    try:
        tree = parse_mapping(storage.read(name))
    except ValueError:
        return "it cannot be read"
    return "it names videos" if tree.get("at_work") or tree.get("latest") else ""


def _keys_in(storage: Storage, name: str) -> Iterator[tuple[str, str]]:
    """Yield the split and ID of each video of which a Parquet file has rows; nothing for other files."""
    if not name.endswith(".parquet"):
        return
    with explain_damage(storage, name), open_parquet(storage, name) as parquet:
        for group in range(parquet.num_row_groups):
            keys = parquet.read_row_group(group, columns=_KEY_COLUMNS)
            pairs = keys.group_by(_KEY_COLUMNS).aggregate([]) if keys.num_rows else keys
            splits, ids = (pc.cast(pairs.column(column), "string").to_pylist() for column in _KEY_COLUMNS)
            yield from zip(splits, ids, strict=True)
