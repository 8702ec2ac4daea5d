"""Partitions: the committed results of shards, a small Parquet file each.

A worker writes a partition with `write_partition` and sends its `PartitionInfo` to the driver as a receipt. **A
partition under its final name is committed**; there is no other record. Its name follows from split, video and frame
range, so a shard that is computed twice replaces itself. Its footer has everything that resume, compaction and status
need, so that listing partitions reads no landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import TypeAdapter

from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset import paths
from phoenix_ray.dataset.chain_state import STATE_FIELD, CommittedState, encode_state, parse_state
from phoenix_ray.dataset.identity import DatasetIdentity, find_layout
from phoenix_ray.dataset.parquet import (
    DamagedFile,
    DamagedFileError,
    open_parquet,
    open_writer,
    read_footer,
    read_sealed_footer,
    write_sealable_footer,
)
from phoenix_ray.dataset.schema import FrameRecord, partition_schema, to_table
from phoenix_ray.dataset.sealing import FrameNumber, parquet_seal, seal_parquet, validate
from phoenix_ray.dataset.shards import FrameRange, RecordedVideo, Shard, Version, recorded_fields
from phoenix_ray.dataset.storage import ReadableStorage, Storage, StoredFile
from phoenix_ray.dataset.tally import RecordedTally, tally_rows
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.sources.base import Video

# Footers read at once, to hide the latency of a network file system. Parsing them keeps one CPU busy.
FOOTER_THREADS = 4
# Files that a thread takes at once: handing over each takes as long as reading a footer.
_FILES_PER_BLOCK = 32


class FrameRows(Protocol):
    """The rows of some frames; `estimation.Estimate` is one."""

    @property
    def records(self) -> Sequence[FrameRecord]:
        """What is known of each frame beside its landmarks."""

    @property
    def rows(self) -> LandmarkBatch:
        """The landmarks, one row for each record."""

    @property
    def state(self) -> NDArray[np.float32] | None:
        """What a tracking model remembers of the video after the last of the frames; None for other models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionInfo(RecordedVideo):
    """What a partition's footer says: the receipt of a shard.

    Attributes:
        name: The file, relative to the dataset.
        first: First frame.
        last: End of the frames, exclusive.
        tally: Counts over its rows.
        error: First error among its frames, None when there is none.
        bytes: Size of the file.
        modified: When the file was written, by the clock of the storage; 0 in a fresh receipt.
    """

    name: str
    first: FrameNumber
    last: FrameNumber
    tally: RecordedTally
    error: str | None
    bytes: int
    modified: float = 0.0

    @property
    def rows(self) -> int:
        """Number of frames."""
        return self.last - self.first


_INFO = TypeAdapter(PartitionInfo)


def write_partition(
    storage: Storage,
    identity: DatasetIdentity,
    settings: OutputSettings,
    shard: Shard,
    computed: FrameRows,
    kernels: str = "",
) -> PartitionInfo:
    """Commit the rows of a shard and return the receipt.

    Args:
        storage: The dataset.
        identity: Its identity.
        settings: How files are encoded.
        shard: The frames.
        computed: A row for each of them, in order.
        kernels: What computed them (`models.provenance.describe_kernels`), empty where that is not known.

    Raises:
        ValueError: The records are not exactly those frames in order, or the landmarks do not fit them.
        OutputError: The output cannot be written, or the identity names a layout that is not known here.
    """
    video, first, last = shard.video, shard.first, shard.last
    if [record.index for record in computed.records] != list(range(first, last)) or first == last:
        raise ValueError(f"{shard}: a partition holds one row for each of these frames, in order")
    layout = find_layout(identity)
    table = to_table(layout, video.split, video.video_id, computed.records, computed.rows)
    tally = tally_rows(layout, table)
    if kernels:
        tally = replace(tally, kernels={kernels: tally.rows})
    error = next((record.error for record in computed.records if record.error is not None), None)
    recorded = recorded_fields(video)
    state = {} if computed.state is None else {STATE_FIELD: encode_state(computed.state)}
    sink = pa.BufferOutputStream()
    schema = partition_schema(layout)
    with open_writer(sink, schema, layout, settings) as writer:
        writer.write_table(table.cast(schema), row_group_size=settings.row_group_rows)
        write_sealable_footer(
            writer,
            {
                "fingerprint": identity.fingerprint,
                "schema_version": identity.schema_version,
                "layout": layout.name,
                "range": [first, last],
                "error": error,
                **recorded,
                **tally.to_json(),
                **state,
            },
        )
    content = seal_parquet(sink.getvalue())
    name = paths.partition_path(video.split, video.video_id, first, last)
    storage.write(name, content)
    return PartitionInfo(name=name, first=first, last=last, tally=tally, error=error, bytes=len(content), **recorded)


def list_partitions(
    storage: ReadableStorage, identity: DatasetIdentity, threads: int = FOOTER_THREADS, folder: str = paths.PARTITIONS
) -> Iterator[PartitionInfo | DamagedFile]:
    """Yield every partition below a folder, and a `DamagedFile` in the place of each that cannot be trusted.

    Temporary files are left out, and so are files that a compaction absorbs meanwhile.
    """
    files = [file for file in storage.list(folder) if file.name.endswith(".parquet") and not file.temporary]
    read = partial(read_partition, storage, identity.fingerprint)
    blocks = [files[start : start + _FILES_PER_BLOCK] for start in range(0, len(files), _FILES_PER_BLOCK)]
    with ThreadPoolExecutor(threads) as pool:
        for infos in pool.map(lambda block: [read(file) for file in block], blocks):
            yield from (info for info in infos if info is not None)


def read_partition(storage: ReadableStorage, fingerprint: str, file: StoredFile) -> PartitionInfo | DamagedFile | None:
    """Return what a file's footer says if that fits the file's name and the dataset; None when the file is gone."""
    try:
        footer, rows = _read_statement(storage, file.name)
        first, last = footer["range"]
        about_file = {"name": file.name, "bytes": file.bytes, "modified": file.modified}
        info = validate(_INFO, {**footer, **about_file, "first": first, "last": last, "tally": footer})
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
    except (KeyError, TypeError, ValueError) as error:
        return DamagedFile(file.name, f"its footer cannot be understood ({error!r})")
    return info


def _read_statement(storage: ReadableStorage, name: str) -> tuple[dict[str, Any], int]:
    """Return the metadata and the number of rows of a partition."""
    sealed = read_sealed_footer(storage, name)
    if sealed is not None:
        return sealed, sealed["rows"]
    if parquet_seal(storage.read(name)) == "broken":
        raise DamagedFileError(name, "damaged: its seal is broken")
    with open_parquet(storage, name) as parquet:
        return read_footer(name, parquet), parquet.metadata.num_rows


def read_state(storage: ReadableStorage, name: str) -> NDArray[np.float32] | None:
    """Return the state in the footer of a partition; None where it has none, or where any of the file's bits is wrong.

    All of the file is read for its seal: a wrong bit in a state would go into every frame after.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFileError: It is not a whole Parquet file of ours.
    """
    if parquet_seal(storage.read(name)) != "intact":
        return None
    footer, _ = _read_statement(storage, name)
    return parse_state(footer.get(STATE_FIELD))


def latest_state(
    storage: ReadableStorage, identity: DatasetIdentity, video: Video, frame: int, size: int
) -> CommittedState | None:
    """Return the committed state of a video that is the nearest before `frame`, or at it; None where there is none.

    Args:
        storage: The dataset.
        identity: Its identity; partitions of other datasets do not count.
        video: The video; partitions of another version of it do not count.
        frame: A frame of it.
        size: How many numbers the model's state has; states of another size do not count.

    Raises:
        OutputError: The dataset cannot be read.
    """
    version = Version(video.signature, video.frame_count)
    folder = paths.video_folder(paths.PARTITIONS, video.split, video.video_id)
    candidates = [(last, file) for file in storage.list(folder) for _, last in _range_in(file) if 0 < last <= frame]
    for last, file in sorted(candidates, key=lambda candidate: -candidate[0]):
        info = read_partition(storage, identity.fingerprint, file)
        if not isinstance(info, PartitionInfo) or info.version != version:
            continue
        try:
            numbers = read_state(storage, file.name)
        except (FileNotFoundError, DamagedFileError):
            continue
        if numbers is not None and numbers.size == size:
            return CommittedState(last, numbers)
    return None


def _range_in(file: StoredFile) -> Iterator[FrameRange]:
    """Yield the range of frames that the name of a partition says; nothing for another file."""
    first, separator, last = file.name.rpartition("/")[2].removesuffix(".parquet").partition("-")
    if not file.temporary and separator and first.isdecimal() and last.isdecimal():
        yield int(first), int(last)


def discard(storage: Storage, identity: DatasetIdentity, damaged: DamagedFile) -> None:
    """Remove a damaged partition, so that its frames are computed again.

    A partition of another dataset is kept, and so is one that somebody has written again meanwhile.
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
    """Remove a partition if it still holds this version of its video; return whether it was removed."""
    found = read_partition(storage, identity.fingerprint, StoredFile(name, 0, 0.0))
    if not isinstance(found, PartitionInfo) or found.version != version:
        return False
    storage.delete(name)
    return True
