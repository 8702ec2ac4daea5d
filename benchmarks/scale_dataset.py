"""Writes a dataset of any number of compacted videos in minutes, as a run that computed them would have left it.

Each video has one frame without a person, so that a row takes a few bytes. In every other way data files, footers, the
manifest and the table of videos are those of whole videos, and the package's own functions write them.
`scale_measure` uses it because computing a million videos takes days.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pyarrow as pa

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.manifest import DataFile, Manifest, publish_manifest, read_manifest
from phoenix_ray.dataset.parquet import open_writer, write_footer
from phoenix_ray.dataset.publication import refresh_videos
from phoenix_ray.dataset.schema import FrameRecord, empty_batch, to_table
from phoenix_ray.dataset.shards import recorded_fields
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.tally import Tally, digest_rows
from phoenix_ray.dataset.video_table import VideoEntry, describe_data_file
from phoenix_ray.sources.base import Video

# About as many videos of 115 frames at 5 kB each as fit into 256 MB (output.target_file_mb).
VIDEOS_PER_FILE = 440
_NOBODY = FrameRecord(0, "frame-0", 0.0, None, None, "no_person")


def write_compacted(
    storage: Storage, identity: DatasetIdentity, settings: OutputSettings, videos: Sequence[Video]
) -> Manifest:
    """Write videos of one frame each, all of one split and sorted by ID, as a compaction would have left them."""
    chunks = [videos[start : start + VIDEOS_PER_FILE] for start in range(0, len(videos), VIDEOS_PER_FILE)]
    files = [_write_data_file(storage, identity, settings, chunk) for chunk in chunks]
    manifest = read_manifest(storage, identity)
    manifest = publish_manifest(storage, identity, manifest.replace(manifest.names, files)) or manifest
    refresh_videos(storage, identity)
    return manifest


def _write_data_file(
    storage: Storage, identity: DatasetIdentity, settings: OutputSettings, videos: Sequence[Video]
) -> DataFile:
    layout, split = find_layout(identity), videos[0].split
    table = to_table(layout, split, "", [_NOBODY] * len(videos), empty_batch(layout, len(videos)))
    names = pa.array([video.video_id for video in videos], pa.string())
    table = table.set_column(table.schema.get_field_index("video_id"), table.schema.field("video_id"), names)
    tallies = [Tally(1, digest, {"no_person": 1}) for digest in digest_rows(layout, table)]
    entries = [
        VideoEntry(**recorded_fields(video), first_row=row, tally=tally)
        for row, (video, tally) in enumerate(zip(videos, tallies, strict=True))
    ]
    sink = pa.BufferOutputStream()
    with open_writer(sink, table.schema, layout, settings) as writer:
        writer.write_table(table, row_group_size=settings.row_group_rows)
        footer = {"fingerprint": identity.fingerprint, "schema_version": identity.schema_version}
        footer |= {"layout": layout.name, "split": split, "videos": [entry.to_json() for entry in entries]}
        write_footer(writer, footer)
    content = sink.getvalue()
    name = paths.data_path(split, hashlib.sha256(videos[0].video_id.encode()).hexdigest()[:32])
    storage.write(name, content)
    return describe_data_file(name, entries, content.size, hashlib.sha256(content).hexdigest())
