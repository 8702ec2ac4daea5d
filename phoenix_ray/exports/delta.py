"""Delta Lake over the dataset itself: a `_delta_log` beside the compacted files, no row copied.

The table is `OUTPUT/data`, unpartitioned, because every file holds its split as a column. The log names the files of
the manifest as they are now; after a further compaction it is written again with `--overwrite`, as a new version of the
table. Nothing of the dataset changes, but the files have two owners from then on: do not run operations on this table
that rewrite or delete files (OPTIMIZE, VACUUM, MERGE).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.drop_history import read_drops
from phoenix_ray.dataset.identity import find_layout, read_identity
from phoenix_ray.dataset.locations import open_storage
from phoenix_ray.dataset.manifest import DataFile, read_manifest
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.schema import landmark_schema
from phoenix_ray.errors import ConfigError, MissingExtraError, OutputError, did_you_mean


def write_delta(dataset: str, splits: Sequence[str] | None, overwrite: bool) -> Path:
    """Write the log of a finished dataset, all of it or some splits, and return the table's folder.

    Raises:
        ConfigError: A split does not exist, or the dataset is not in a folder.
        MissingExtraError: deltalake is not installed.
        OutputError: There is no finished dataset, a log is there and not to be overwritten, or it cannot be written.
    """
    if "://" in dataset:
        raise ConfigError(
            f"The format 'delta' is written into the folder of a dataset, and {dataset} is a URI. Copy the dataset "
            "to a folder first, or read the Parquet files below its data/ as they are."
        )
    try:
        from deltalake import DeltaTable, Schema
        from deltalake.exceptions import DeltaError
        from deltalake.transaction import AddAction, create_table_with_add_actions
    except ImportError:
        raise MissingExtraError("The format 'delta'", "export") from None

    files = _choose(_finished_files(dataset), splits)
    columns = landmark_schema(find_layout(read_identity(open_storage(dataset))))
    table = Path(dataset) / paths.DATA
    if DeltaTable.is_deltatable(str(table)) and not overwrite:
        raise OutputError(f"{table} is a Delta table already: --overwrite adds a version with the files of now.")
    actions = [
        AddAction(
            path=file.name.removeprefix(f"{paths.DATA}/"),
            size=file.bytes,
            partition_values={},
            modification_time=int((Path(dataset) / file.name).stat().st_mtime * 1000),
            data_change=True,
            stats=json.dumps(_statistics(file)),
        )
        for file in files
    ]
    try:
        create_table_with_add_actions(
            str(table), Schema.from_arrow(columns), actions, mode="overwrite" if overwrite else "error"
        )
    except (DeltaError, OSError) as error:
        raise OutputError(f"Cannot write the Delta log of {table}: {error}") from error
    return table


def _finished_files(dataset: str) -> tuple[DataFile, ...]:
    if not (Path(dataset) / paths.IDENTITY).is_file():
        raise OutputError(f"{dataset} is not a dataset of phoenix_ray on a local disk, which the format 'delta' needs.")
    loose = Dataset.open(dataset).videos().column("file").null_count
    if loose:
        raise OutputError(f"{loose} videos of {dataset} are not compacted yet: `phoenix-ray compact` does it.")
    storage = open_storage(dataset)
    for name, kind in storage.irregular(paths.DATA):
        # Delta's library would follow it.
        raise OutputError(f"{dataset}/{name} is {kind}: `phoenix-ray check --repair` moves it out.")
    manifest = read_manifest(storage, read_identity(storage))
    if read_drops(storage).newest > manifest.drops:
        raise OutputError(
            f"{dataset} still holds bytes of videos that were dropped. Repeat that `phoenix-ray drop`, or run "
            f"`phoenix-ray check {dataset} --repair`; then export."
        )
    return manifest.files


def _choose(files: Sequence[DataFile], splits: Sequence[str] | None) -> list[DataFile]:
    known = {file.split for file in files}
    for split in splits or ():
        if split not in known:
            raise ConfigError(f"There is no split '{split}'.{did_you_mean(split, known)}")
    return [file for file in files if not splits or file.split in splits]


def _statistics(file: DataFile) -> dict[str, object]:
    """Return what lets a query skip a file."""
    return {
        "numRecords": file.rows,
        "minValues": {"split": file.split, "video_id": file.first_video},
        "maxValues": {"split": file.split, "video_id": file.last_video},
        "nullCount": {"split": 0, "video_id": 0},
    }
