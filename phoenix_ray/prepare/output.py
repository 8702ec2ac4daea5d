"""The output folder of `phoenix-ray prepare`: training examples in three formats, and how far they are.

`begun.json` says what the files depend on; a receipt follows each shard; `prepare.json` comes last and takes the
receipts in. So a stopped run goes on behind the last receipt, and an output of another dataset or of other settings is
refused, never mixed.

A writer takes the examples of one shard and yields the name of each file it has finished. Files appear under their
names when they are whole (`dataset.storage`). Nothing in them depends on the clock, the user or the machine: equal
examples are equal bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from phoenix_ray.dataset.paths import safe_name
from phoenix_ray.dataset.storage import Storage
from phoenix_ray.errors import OutputError
from phoenix_ray.prepare.examples import Example

REPORT = "prepare.json"
BEGUN = "begun.json"
RECEIPTS = "receipts"

Json = dict[str, Any]


def begin(storage: Storage, description: Mapping[str, Any]) -> Json | None:
    """Record all that the files depend on, or check that it is what was begun or finished here.

    Returns:
        The report, if everything has been done before.

    Raises:
        OutputError: The folder holds something else.
    """
    names = {file.name for file in storage.list("") if not file.temporary}
    record = next((name for name in (REPORT, BEGUN) if name in names), None)
    if record is None:
        if names:
            raise OutputError(f"{storage.root} holds other files ({min(names)}, …): give a new or empty folder.")
        storage.write(BEGUN, _receipt_json(description))
        return None
    was = _read(storage, record)
    now = json.loads(_receipt_json(description))
    changed = [key for key in now if was.get(key) != now[key]]
    if changed:
        raise OutputError(
            f"{storage.root} was made from something else ({', '.join(changed)} differ, see {record}): give a new "
            "folder, or delete that one."
        )
    return was if record == REPORT else None


def shards_done(storage: Storage) -> set[str]:
    """Return the names of the shards that have a receipt."""
    return {file.name.removeprefix(f"{RECEIPTS}/") for file in storage.list(RECEIPTS) if not file.temporary}


def record(storage: Storage, shard: str, receipt: Mapping[str, Any]) -> None:
    """Write the receipt of a shard, whose files are all in place."""
    storage.write(f"{RECEIPTS}/{shard}", _receipt_json(receipt))


def finish(storage: Storage, description: Mapping[str, Any], shards: Iterable[str]) -> Json:
    """Write and return the report: the description, and from the receipts the counts of each split and every file."""
    splits: dict[str, Json] = {}
    files: list[Json] = []
    for receipt in (_read(storage, f"{RECEIPTS}/{shard}") for shard in shards):
        counts = splits.setdefault(receipt["split"], {})
        for key, value in receipt["counts"].items():
            counts[key] = counts[key] + value if key in counts else value
        files += receipt["files"]
    report = {**description, "splits": splits, "files": files}
    storage.write(REPORT, _receipt_json(report))
    return report


def tidy(storage: Storage) -> None:
    """Delete what the report has made superfluous: receipts, and what a killed run has left half written."""
    for file in list(storage.list("")):
        if file.temporary or file.name == BEGUN or file.name.startswith(f"{RECEIPTS}/"):
            storage.delete(file.name)


def _receipt_json(tree: Mapping[str, Any]) -> bytes:
    """Return the bytes of a JSON file."""
    return json.dumps(tree, indent=1, ensure_ascii=False).encode()


def _read(storage: Storage, name: str) -> Json:
    try:
        return dict(json.loads(storage.read(name)))
    except ValueError as error:
        raise OutputError(f"{storage.root}/{name} is damaged ({error}): delete the folder and start again.") from None


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
