"""The three formats of training examples. Each writes a shard in one stream, and equal examples as equal bytes.

A writer takes the examples of one shard and yields the name of each file it has finished. Files appear under their
names when they are whole (`dataset.storage`). Nothing in them depends on the clock, the user or the machine.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.prepare.examples import Example

# (storage, split, number of the shard in the split, its examples) → names of the files written.
ShardWriter = Callable[[Storage, str, int, Iterable[Example]], Iterator[str]]

# The earliest time that a ZIP archive can hold.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
# Videos in a row group: one is read as a whole, and this many are held in memory while writing.
_VIDEOS_PER_GROUP = 16


def write_npz(storage: Storage, split: str, _number: int, examples: Iterable[Example]) -> Iterator[str]:
    """Write `<split>/<video>.npz`, for `numpy.load`: the arrays, and `annotation` as JSON text."""
    for example in examples:
        name = f"{safe_name(split)}/{safe_name(example.video_id)}.npz"
        annotation = np.array(_to_json(example))
        with storage.writing(name) as stream, zipfile.ZipFile(stream, "w") as archive:
            for key, array in (*example.arrays.items(), ("annotation", annotation)):
                archive.writestr(zipfile.ZipInfo(f"{key}.npy", _NO_TIME), _to_npy(array))
        yield name


def write_webdataset(storage: Storage, split: str, number: int, examples: Iterable[Example]) -> Iterator[str]:
    """Write `<split>-<shard>.tar`, for `webdataset`: of each video `<key>.<array>.npy` and `<key>.json`."""
    name = f"{safe_name(split)}-{number:06}.tar"
    with storage.writing(name) as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for example in examples:
            # A key ends at the first dot.
            key = safe_name(example.video_id).replace(".", "%2E")
            members = {f"{array}.npy": _to_npy(values) for array, values in example.arrays.items()}
            for suffix, content in (*members.items(), ("json", _to_json(example).encode())):
                member = tarfile.TarInfo(f"{key}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    yield name


def write_parquet(storage: Storage, split: str, number: int, examples: Iterable[Example]) -> Iterator[str]:
    """Write `<split>-<shard>.parquet`, a row a video: each array as a flat list, its shape in `<array>_shape`."""
    name = f"{safe_name(split)}-{number:05}.parquet"
    remaining = iter(examples)
    with storage.writing(name) as stream:
        writer: pq.ParquetWriter | None = None
        while group := list(islice(remaining, _VIDEOS_PER_GROUP)):
            table = _to_table(group)
            writer = writer or pq.ParquetWriter(stream, table.schema, compression="zstd", write_page_checksum=True)
            writer.write_table(table)
        if writer is not None:
            writer.close()
    yield name


WRITERS: dict[str, ShardWriter] = {"npz": write_npz, "parquet": write_parquet, "webdataset": write_webdataset}


def _to_table(examples: list[Example]) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "split": pa.array([example.split for example in examples]),
        "video_id": pa.array([example.video_id for example in examples]),
        "annotation": pa.array(
            [list(example.annotation.items()) for example in examples], pa.map_(pa.string(), pa.string())
        ),
    }
    for key in examples[0].arrays:
        arrays = [example.arrays[key] for example in examples]
        columns[key] = pa.array([array.ravel() for array in arrays], pa.list_(pa.from_numpy_dtype(arrays[0].dtype)))
        columns[f"{key}_shape"] = pa.array([list(array.shape) for array in arrays], pa.list_(pa.int32()))
    return pa.table(columns)


def _to_npy(array: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, allow_pickle=False)
    return content.getvalue()


def _to_json(example: Example) -> str:
    tree = {"split": example.split, "video_id": example.video_id, **example.annotation}
    return json.dumps(tree, ensure_ascii=False, sort_keys=True)
