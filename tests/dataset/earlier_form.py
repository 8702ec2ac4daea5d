"""Datasets in the form of earlier versions: data files by split in folders, with the split as a dictionary."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.manifest import DataFile, Manifest, publish_manifest, read_manifest
from phoenix_ray.dataset.parquet import open_writer
from phoenix_ray.dataset.publication import delete_condemned
from phoenix_ray.dataset.sealing import PARQUET_SEAL_BLANK, PARQUET_SEAL_KEY, seal_parquet
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.dataset.video_table import describe_data_file, gather_videos, read_entries

Publish = Callable[[Storage, DatasetIdentity, Manifest, set[str]], object]


def give_earlier_form(storage: Storage, identity: DatasetIdentity, publish: Publish = publish_manifest) -> None:
    """Write all data files and `videos.parquet` of a dataset as an earlier version did."""
    before = read_manifest(storage, identity)
    files = [_write_earlier(storage, identity, file) for file in before.files]
    publish(storage, identity, before.replace(before.names, files), set(before.names))
    newest = read_manifest(storage, identity)
    delete_condemned(storage, newest)
    for name in before.names:
        storage.delete(name)
    videos, _ = gather_videos(storage, identity, newest)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, videos.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(videos.unify_dictionaries())
        writer.add_key_value_metadata({PARQUET_SEAL_KEY: PARQUET_SEAL_BLANK})
    storage.write(paths.VIDEOS, seal_parquet(sink.getvalue()))


def _write_earlier(storage: Storage, identity: DatasetIdentity, file: DataFile) -> DataFile:
    with storage.open(file.name) as source:
        parquet = pq.ParquetFile(source)
        rows, footer = parquet.read(), parquet.metadata.metadata[b"phoenix_ray"]
    schema = rows.schema.set(0, rows.schema.field("split").with_type(pa.dictionary(pa.int32(), pa.string())))
    sink = pa.BufferOutputStream()
    with open_writer(sink, schema, find_layout(identity), OutputSettings(row_group_rows=8)) as writer:
        writer.write_table(rows.cast(schema), row_group_size=8)
        writer.add_key_value_metadata({b"phoenix_ray": footer})
    content = sink.getvalue().to_pybytes()
    name = paths.earlier_data_path(file.split, PurePosixPath(file.name).stem.rpartition("-")[2])
    storage.write(name, content)
    return describe_data_file(
        name, read_entries(storage, identity, name), len(content), hashlib.sha256(content).hexdigest()
    )
