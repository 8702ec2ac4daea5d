"""Partitions: the committed results of shards, one small Parquet file each.

A worker writes one with `write_partition` and sends its `PartitionInfo` to the driver as a receipt. **A partition under
its final name is committed**; there is no other record. The name follows from split, video and frame range, so a shard
done twice replaces itself. A footer says all that resume, compaction and status need, so listing touches no landmark.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset import json_values, paths
from phoenix_ray.dataset.coverage import Version
from phoenix_ray.dataset.identity import DatasetIdentity
from phoenix_ray.dataset.parquet import (
    DamagedFile,
    DamagedFileError,
    open_parquet,
    open_writer,
    read_footer,
    read_sealed_footer,
    write_sealable_footer,
)
from phoenix_ray.dataset.schema import FrameRecord, to_table
from phoenix_ray.dataset.sealing import parquet_seal, seal_parquet
from phoenix_ray.dataset.storage import ReadableStorage, Storage, StoredFile
from phoenix_ray.dataset.tally import Tally, tally_rows
from phoenix_ray.landmarks import Layout
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.sources.base import Video

# Footers read at once: hides the latency of a network file system. Parsing them is bound by one CPU.
FOOTER_THREADS = 4
# Files a thread takes at once: to hand over each by itself would take as long as to read a footer.
_FILES_PER_BLOCK = 32


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """What a partition's footer says: the receipt of a shard.

    Attributes:
        name: The file, relative to the dataset.
        split: Split of the video.
        video_id: The video.
        first: First frame.
        last: End of the frames, exclusive.
        frame_count: Frames of the whole video.
        signature: The source's signature of the video when it was read.
        fps: Frames per second, None where the source has no clock; the average where the rate varies.
        annotation: Text that belongs to the video.
        tally: Counts over its rows.
        error: First error among its frames, None when there is none.
        bytes: Size of the file.
        modified: When the file was written, by the clock of the storage; 0 in a fresh receipt.
        fps_varies: Whether the frame rate varies, None where an earlier version wrote the file and did not look.
    """

    name: str
    split: str
    video_id: str
    first: int
    last: int
    frame_count: int
    signature: str
    fps: float | None
    annotation: Mapping[str, str]
    tally: Tally
    error: str | None
    bytes: int
    modified: float = 0.0
    fps_varies: bool | None = None

    @property
    def rows(self) -> int:
        """Number of frames."""
        return self.last - self.first

    @property
    def version(self) -> Version:
        """Which content of the video the rows come from."""
        return Version(self.signature, self.frame_count)


def write_partition(
    storage: Storage,
    layout: Layout,
    identity: DatasetIdentity,
    settings: OutputSettings,
    video: Video,
    first: int,
    last: int,
    records: Sequence[FrameRecord],
    batch: LandmarkBatch,
    kernels: str = "",
) -> PartitionInfo:
    """Commit the rows of frames `first` to `last` (exclusive) of a video, and return the receipt.

    `kernels` says what computed them (`models.kernels.describe_kernels`), empty where that is not known.

    Raises:
        ValueError: The records are not exactly those frames in order, or the batch does not fit them.
        OutputError: The output cannot be written.
    """
    if [record.index for record in records] != list(range(first, last)) or first == last:
        raise ValueError(
            f"{video.split}/{video.video_id}: rows of frames {first} to {last - 1} are to be committed whole"
        )
    table = to_table(layout, video.split, video.video_id, records, batch)
    tally = tally_rows(layout, table)
    if kernels:
        tally = replace(tally, kernels={kernels: tally.rows})
    error = next((record.error for record in records if record.error is not None), None)
    sink = pa.BufferOutputStream()
    with open_writer(sink, table.schema, layout, settings) as writer:
        writer.write_table(table, row_group_size=settings.row_group_rows)
        write_sealable_footer(
            writer,
            {
                "fingerprint": identity.fingerprint,
                "schema_version": identity.schema_version,
                "layout": layout.name,
                "split": video.split,
                "video_id": video.video_id,
                "range": [first, last],
                "frame_count": video.frame_count,
                "signature": video.signature,
                "fps": video.fps,
                "fps_varies": video.fps_varies,
                "annotation": dict(video.annotation),
                "error": error,
                **tally.to_json(),
            },
        )
    content = seal_parquet(sink.getvalue())
    name = paths.partition_path(video.split, video.video_id, first, last)
    storage.write(name, content)
    return PartitionInfo(
        name=name,
        split=video.split,
        video_id=video.video_id,
        first=first,
        last=last,
        frame_count=video.frame_count,
        signature=video.signature,
        fps=video.fps,
        annotation=dict(video.annotation),
        tally=tally,
        error=error,
        bytes=len(content),
        fps_varies=video.fps_varies,
    )


def list_partitions(
    storage: ReadableStorage, identity: DatasetIdentity, threads: int = FOOTER_THREADS, folder: str = paths.PARTITIONS
) -> Iterator[PartitionInfo | DamagedFile]:
    """Yield every partition below a folder, and a `DamagedFile` in the place of each that cannot be trusted.

    Temporary files are left out, and so are files that vanish meanwhile: a compaction absorbed them.
    """
    files = [file for file in storage.list(folder) if file.name.endswith(".parquet") and not file.temporary]
    read = partial(read_partition, storage, identity.fingerprint)
    blocks = [files[start : start + _FILES_PER_BLOCK] for start in range(0, len(files), _FILES_PER_BLOCK)]
    with ThreadPoolExecutor(threads) as pool:
        for infos in pool.map(lambda block: [read(file) for file in block], blocks):
            yield from (info for info in infos if info is not None)


def read_partition(storage: ReadableStorage, fingerprint: str, file: StoredFile) -> PartitionInfo | DamagedFile | None:
    """Return what a file's footer says if it fits the file's name and the dataset; None when the file is gone."""
    try:
        footer, rows = _read_statement(storage, file.name)
        first, last = footer["range"]
        info = PartitionInfo(
            name=file.name,
            split=json_values.text(footer["split"]),
            video_id=json_values.text(footer["video_id"]),
            first=json_values.count(first),
            last=json_values.count(last),
            frame_count=json_values.count(footer["frame_count"]),
            signature=json_values.text(footer["signature"]),
            fps=json_values.optional_number(footer["fps"]),
            annotation=json_values.texts(footer["annotation"]),
            tally=Tally.from_json(footer),
            error=json_values.optional_text(footer["error"]),
            bytes=file.bytes,
            modified=file.modified,
            fps_varies=json_values.optional_flag(footer.get("fps_varies")),
        )
        if footer["fingerprint"] != fingerprint:
            return DamagedFile(file.name, "it belongs to a dataset with other settings", foreign=True)
        if paths.partition_path(info.split, info.video_id, first, last) != file.name:
            return DamagedFile(file.name, "its name does not fit its content", foreign=True)
        if not info.rows == info.tally.rows == rows or not 0 < rows <= info.frame_count - first:
            return DamagedFile(file.name, f"it has {rows} rows for frames {first} to {last - 1}")
    except FileNotFoundError:
        return None
    except DamagedFileError as error:
        return error.damage
    except (KeyError, TypeError, ValueError, AttributeError, json.JSONDecodeError) as error:
        return DamagedFile(file.name, f"its footer cannot be understood ({error!r})")
    return info


def _read_statement(storage: ReadableStorage, name: str) -> tuple[dict[str, Any], int]:
    """Return what a partition says of itself, and how many rows it has; Arrow explains what is wrong with a footer."""
    sealed = read_sealed_footer(storage, name)
    if sealed is not None:
        return sealed, sealed["rows"]
    with open_parquet(storage, name) as parquet:
        return read_footer(name, parquet), parquet.metadata.num_rows


def discard(storage: Storage, identity: DatasetIdentity, damaged: DamagedFile) -> None:
    """Remove a partition that proved to be damaged, so that its frames are computed again.

    It stays if it is not of this dataset, or if somebody has written it again meanwhile.
    """
    if damaged.foreign or not damaged.name.startswith(f"{paths.PARTITIONS}/"):
        return
    with suppress(FileNotFoundError):
        content = storage.read(damaged.name)
        file = StoredFile(damaged.name, len(content), 0.0)
        found = read_partition(storage, identity.fingerprint, file)
        if parquet_seal(content) != "intact" or isinstance(found, DamagedFile):
            storage.delete(damaged.name)


def delete_version(storage: Storage, identity: DatasetIdentity, name: str, version: Version) -> bool:
    """Remove a partition if it still holds this version of its video; return whether it did."""
    found = read_partition(storage, identity.fingerprint, StoredFile(name, 0, 0.0))
    if not isinstance(found, PartitionInfo) or found.version != version:
        return False
    storage.delete(name)
    return True
