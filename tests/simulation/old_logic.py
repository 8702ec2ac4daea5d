"""How an earlier version published and swept, kept as a model: the simulation must find what was wrong with it.

Its one `manifest.json` was read, changed and replaced, so that of two drivers the later took away what the earlier had
published; and its sweep deleted a data file of which **any** video lay elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.compaction import Compacted
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.manifest import Manifest, check_files, publish_manifest, read_manifest
from phoenix_ray.dataset.sealing import seal_json
from phoenix_ray.dataset.storage import Storage, hash_file
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.dataset.video_table import describe_data_file, gather_videos, read_entries, select_videos, write_videos
from tests.simulation.storage import alone


def old_publish(storage: Storage, identity: DatasetIdentity, results: Sequence[Compacted]) -> None:
    """Replace the manifest by what was read and what was written, then delete what that absorbed."""
    before, _ = check_files(storage, read_manifest(storage, identity))
    videos, _ = gather_videos(storage, identity, before)
    replaced = {name for result in results for name in result.replaces}
    files = [result.data_file for result in results if result.data_file]
    entries = [entry for file in files for entry in read_entries(storage, identity, file.name)]
    held = select_videos(videos, {(entry.split, entry.video_id) for entry in entries})
    agreed = {row["file"] for row in held.values()} <= replaced and before.names >= replaced
    manifest = before.replace(replaced, files) if agreed else before
    replace_manifest(storage, identity, manifest)
    gone = [one.name for result in results for one in result.absorbed] if agreed else []
    for name in [*gone, *replaced, *(file.name for file in files)]:
        if name not in manifest.names:
            storage.delete(name)
    write_videos(storage, gather_videos(storage, identity, manifest)[0])


def old_sweep(storage: Storage, identity: DatasetIdentity) -> None:
    """Delete absorbed partitions, and data files that no manifest names and of which any video lies elsewhere."""
    survey = take_survey(storage, identity)
    open_videos = list(survey.open_videos())
    removed = [info.name for video in open_videos for info in video.absorbed]
    manifest = survey.manifest
    elsewhere = {(video.split, video.video_id) for video in open_videos if video.whole is not None}
    names = sorted(file.name for file in storage.list(paths.DATA) if paths.is_data_file_name(file.name))
    for name in names:
        if name in manifest.names:
            continue
        entries = read_entries(storage, identity, name)
        keys = {(entry.split, entry.video_id) for entry in entries}
        if keys & elsewhere or select_videos(survey.videos, keys):
            removed.append(name)
        else:
            manifest = manifest.replace((), [describe_data_file(name, entries, *hash_file(storage, name))])
            elsewhere |= keys
    if manifest != survey.manifest:
        replace_manifest(storage, identity, manifest)
        write_videos(storage, gather_videos(storage, identity, manifest)[0])
    for name in removed:
        storage.delete(name)


def replace_manifest(storage: Storage, identity: DatasetIdentity, manifest: Manifest) -> None:
    """Write `manifest.json` as an earlier version did."""
    draft, files = alone({})
    publish_manifest(draft, identity, manifest)
    (name,) = files
    tree = json.loads(draft.read(name))
    for key in ("generation", "condemned", "seal"):
        del tree[key]
    storage.write(paths.FIRST_MANIFEST, seal_json(tree, indent=1))
