"""The columns of a dataset: one row per frame, one list column per part and axis, and those of heads.

A `Layout` determines the columns, so a new model needs no change here. Workers turn a model's `LandmarkBatch` into rows
with `to_table`; the reader turns them back with `to_batch`. `docs/data-format.md` describes the columns for users.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from phoenix_ray.layouts import Head, Layout, Part
from phoenix_ray.models.base import LandmarkBatch

FrameStatus = Literal["ok", "no_person", "unreadable", "failed"]
STATUSES: tuple[FrameStatus, ...] = get_args(FrameStatus)

# Key of the metadata of a column of logits: the classes' names as a JSON list.
CLASSES_KEY = b"classes"

_LARGEST_SIDE = int(np.iinfo(np.int16).max)


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """What a row records of a frame beside its landmarks.

    Attributes:
        index: 0-based position in the video.
        name: File name of the frame, or `frame-<index>`.
        timestamp: Seconds from the start of the video, None where the source has no clock.
        width: Pixels of the decoded frame, None when it is unreadable.
        height: As `width`.
        status: `ok` (a person was found), `no_person`, `unreadable` (the source's fault), `failed` (the model's).
        error: Why the frame is unreadable or failed, None otherwise.
    """

    index: int
    name: str
    timestamp: float | None
    width: int | None
    height: int | None
    status: FrameStatus
    error: str | None = None


def landmark_schema(layout: Layout) -> pa.Schema:
    """Return the Arrow schema of rows, and of data files."""
    return pa.schema(
        [
            pa.field("split", pa.string(), nullable=False),
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("frame_name", pa.string(), nullable=False),
            pa.field("frame_index", pa.int32(), nullable=False),
            pa.field("timestamp", pa.float64()),
            pa.field("width", pa.int16()),
            pa.field("height", pa.int16()),
            pa.field("status", pa.string(), nullable=False),
            pa.field("error", pa.string()),
            *(pa.field(name, _POINTS_TYPE) for part in layout.parts for name in part.columns()),
            *(pa.field(f"{part.name}_score", pa.float32()) for part in scored_parts(layout)),
            *(field for head in layout.heads for field in _head_fields(head)),
        ]
    )


def _head_fields(head: Head) -> Iterator[pa.Field]:
    if head.classes:
        # Other tools read the names of the classes here.
        yield pa.field(head.logits_column, _POINTS_TYPE, metadata={CLASSES_KEY: json.dumps(head.classes)})
    yield from (pa.field(name, pa.float32()) for name in head.number_columns)


def partition_schema(layout: Layout) -> pa.Schema:
    """Return the Arrow schema of partitions: they hold the split as a dictionary, as data files did at first.

    No other tool opens partitions, and phoenix_ray that knows only this form takes others for damaged.
    """
    schema = landmark_schema(layout)
    return schema.set(0, schema.field("split").with_type(pa.dictionary(pa.int32(), pa.string())))


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema with plain text in the place of dictionaries, as tools want it; Parquet stores both alike."""
    return pa.schema(
        [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in schema]
    )


def to_table(
    layout: Layout, split: str, video_id: str, records: Sequence[FrameRecord], batch: LandmarkBatch
) -> pa.Table:
    """Return one row per record, with the landmarks of the same position in the batch.

    A part whose points are all NaN becomes null, and so do logits that are all NaN, and any NaN score or other number.
    A width or height above 32,767 pixels is stored as null; such a picture exceeds `decode.max_pixels` unless it is a
    thin strip. Its landmarks are relative to it all the same.

    Raises:
        ValueError: The batch has another number of rows than there are records, or does not fit the layout.
    """
    schema = landmark_schema(layout)
    columns: list[pa.Array] = [
        pa.array([split] * len(records), pa.string()),
        pa.array([video_id] * len(records), pa.string()),
        pa.array([record.name for record in records], pa.string()),
        pa.array([record.index for record in records], pa.int32()),
        pa.array([record.timestamp for record in records], pa.float64()),
        pa.array([_side(record.width) for record in records], pa.int16()),
        pa.array([_side(record.height) for record in records], pa.int16()),
        pa.array([record.status for record in records], pa.string()),
        pa.array([record.error for record in records], pa.string()),
    ]
    for part in layout.parts:
        points = batch.points[part.name]
        shape = (len(records), len(part.points), len(part.axes))
        if points.shape != shape:
            raise ValueError(f"{part.name} of a batch has the shape {points.shape}; {layout.name} needs {shape}")
        missing: NDArray[np.bool_] = np.asarray(np.isnan(points).all(axis=(1, 2)))
        columns += [_to_lists(points[:, :, axis], missing) for axis in range(len(part.axes))]
    columns += [pa.array(batch.scores[part.name], pa.float32(), from_pandas=True) for part in scored_parts(layout)]
    for head in layout.heads:
        values = batch.heads[head.name]
        if values.shape != (len(records), head.width):
            raise ValueError(f"{head.name} has the shape {values.shape}, not {(len(records), head.width)}")
        logits, numbers = np.split(values, [len(head.classes)], axis=1)
        if head.classes:
            columns.append(_to_lists(logits, np.asarray(np.isnan(logits).all(axis=1))))
        columns += [pa.array(column, pa.float32(), from_pandas=True) for column in numbers.T]
    return pa.Table.from_arrays(columns, schema=schema)


def to_batch(layout: Layout, table: pa.Table) -> LandmarkBatch:
    """Return the landmarks of rows, the inverse of `to_table`: missing parts and scores are NaN again."""
    points: dict[str, NDArray[np.float32]] = {}
    for part in layout.parts:
        values = np.full((table.num_rows, len(part.points), len(part.axes)), np.nan, np.float32)
        for axis, name in enumerate(part.columns()):
            _fill_from_lists(values[:, :, axis], table.column(name))
        points[part.name] = values
    scores = {
        part.name: table.column(f"{part.name}_score").to_numpy().astype(np.float32, copy=False)
        for part in scored_parts(layout)
    }
    heads: dict[str, NDArray[np.float32]] = {}
    for head in layout.heads:
        values = np.full((table.num_rows, head.width), np.nan, np.float32)
        if head.classes:
            _fill_from_lists(values[:, : len(head.classes)], table.column(head.logits_column))
        for position, name in enumerate(head.number_columns, len(head.classes)):
            values[:, position] = table.column(name).to_numpy()
        heads[head.name] = values
    return LandmarkBatch(points, scores, heads=heads)


def empty_batch(layout: Layout, frames: int) -> LandmarkBatch:
    """Return a batch of `frames` rows in which every part is missing, as in rows of unreadable frames."""
    return LandmarkBatch(
        {part.name: np.full((frames, len(part.points), len(part.axes)), np.nan, np.float32) for part in layout.parts},
        {part.name: np.full(frames, np.nan, np.float32) for part in scored_parts(layout)},
        heads={head.name: np.full((frames, head.width), np.nan, np.float32) for head in layout.heads},
    )


def scored_parts(layout: Layout) -> Iterator[Part]:
    """Yield the parts that have a `<part>_score` column."""
    return (part for part in layout.parts if part.scored)


# Lists of one length each, but not of Arrow's fixed-size type: Arrow before version 26 writes a null of that type and
# cannot read it back.
_POINTS_TYPE = pa.list_(pa.field("element", pa.float32(), nullable=False))


def _side(pixels: int | None) -> int | None:
    return pixels if pixels is not None and pixels <= _LARGEST_SIDE else None


def _to_lists(values: NDArray[np.float32], missing: NDArray[np.bool_]) -> pa.Array:
    offsets = np.append(0, np.cumsum(np.where(missing, 0, values.shape[1]))).astype(np.int32)
    present = pa.array(values[~missing].ravel())
    return pa.ListArray.from_arrays(pa.array(offsets), present, type=_POINTS_TYPE, mask=pa.array(missing))


def _fill_from_lists(values: NDArray[np.float32], column: pa.ChunkedArray) -> None:
    """Write the lists of a column into the rows of an array (rows, points); rows that are null stay as they are."""
    row = 0
    for chunk in column.chunks:
        rows = values[row : row + len(chunk)]
        # As `flatten` without its copy: null lists are empty, in Parquet and in tables of `to_table`.
        first, last = chunk.offsets[0].as_py(), chunk.offsets[-1].as_py()
        lists = chunk.values.to_numpy()[first:last].reshape(-1, values.shape[1])
        if chunk.null_count:
            rows[chunk.is_valid().to_numpy(zero_copy_only=False)] = lists
        else:
            rows[:] = lists
        row += len(chunk)
