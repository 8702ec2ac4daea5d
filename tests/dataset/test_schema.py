from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from phoenix_ray.dataset.schema import (
    FrameRecord,
    empty_batch,
    landmark_schema,
    partition_schema,
    plain_schema,
    to_batch,
    to_table,
)
from phoenix_ray.layouts import Layout, holistic
from phoenix_ray.layouts.layout import FRAME_COLUMNS
from phoenix_ray.models.base import LandmarkBatch
from tests.dataset.made_up import LAYOUT, make_batch, make_records, make_video

BITS = st.integers(0, 2**32 - 1)


@st.composite
def batches(draw: st.DrawFn) -> LandmarkBatch:
    """Any float bits: infinities, denormals, negative zero, NaN of any payload inside and instead of parts."""
    rows = draw(st.integers(0, 6))
    points = {}
    for part in LAYOUT.parts:
        shape = (rows, len(part.points), len(part.axes))
        points[part.name] = draw(stn.arrays(np.uint32, shape, elements=BITS)).view(np.float32)
        points[part.name][draw(stn.arrays(np.bool_, rows))] = np.nan
    scores = {"body": draw(stn.arrays(np.float32, rows, elements=st.floats(width=32)))}
    return LandmarkBatch(points, scores)


@given(batches())
def test_landmarks_survive_the_table_bit_for_bit(batch: LandmarkBatch) -> None:
    rows = len(batch.scores["body"])
    table = to_table(LAYOUT, "train", "video", make_records(0, rows), batch)
    table.validate(full=True)
    assert table.schema.equals(landmark_schema(LAYOUT))
    back = to_batch(LAYOUT, table)
    for name, points in batch.points.items():
        missing = np.isnan(points).all(axis=(1, 2))
        assert np.array_equal(points[~missing].view(np.uint32), back.points[name][~missing].view(np.uint32))
        assert np.isnan(back.points[name][missing]).all()
    assert np.array_equal(batch.scores["body"], back.scores["body"], equal_nan=True)


@given(batches(), st.data())
def test_slices_of_a_table_give_the_landmarks_of_their_rows(batch: LandmarkBatch, data: st.DataObject) -> None:
    rows = len(batch.scores["body"])
    first = data.draw(st.integers(0, rows))
    table = to_table(LAYOUT, "train", "video", make_records(0, rows), batch)
    cut = pa.concat_tables([table.slice(first), table.slice(0, first)])
    back = to_batch(LAYOUT, cut)
    for name, points in to_batch(LAYOUT, table).points.items():
        assert np.array_equal(back.points[name], np.concatenate([points[first:], points[:first]]), equal_nan=True)


def test_missing_parts_and_scores_are_null() -> None:
    batch = make_batch(make_video(), 0, 4)
    batch.scores["body"][1] = np.nan
    table = to_table(LAYOUT, "train", "video", make_records(0, 4), batch)
    assert table.column("hand_x").is_null().to_pylist() == [True, False, False, True]
    assert table.column("hand_y").is_null().to_pylist() == [True, False, False, True]
    assert table.column("body_x").null_count == 0
    assert table.column("body_score").is_null().to_pylist() == [False, True, False, False]


def test_a_nan_inside_a_found_part_is_kept() -> None:
    batch = make_batch(make_video(), 1, 2)
    batch.points["hand"][0, 0, 0] = np.nan
    table = to_table(LAYOUT, "train", "video", make_records(1, 2), batch)
    assert table.column("hand_x").null_count == 0
    assert np.isnan(table.column("hand_x")[0].as_py()[0])


def test_a_side_that_int16_cannot_hold_is_null() -> None:
    record = FrameRecord(0, "strip.png", None, 40_000, 1, "ok")
    table = to_table(LAYOUT, "train", "video", [record], empty_batch(LAYOUT, 1))
    assert table.column("width").to_pylist() == [None]
    assert table.column("height").to_pylist() == [1]


def test_a_batch_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="body"):
        to_table(LAYOUT, "train", "video", make_records(0, 3), make_batch(make_video(), 0, 2))


def test_the_columns_of_holistic() -> None:
    schema = landmark_schema(holistic(468))
    assert schema.names == [
        *("split", "video_id", "frame_name", "frame_index", "timestamp", "width", "height", "status", "error"),
        *("pose_x", "pose_y", "pose_z", "pose_visibility", "pose_world_x", "pose_world_y", "pose_world_z"),
        *("left_hand_x", "left_hand_y", "left_hand_z", "right_hand_x", "right_hand_y", "right_hand_z"),
        *("face_x", "face_y", "face_z", "pose_score", "left_hand_score", "right_hand_score", "face_score"),
    ]
    assert schema.field("face_x").type == pa.list_(pa.field("element", pa.float32(), nullable=False))
    assert schema.field("face_x").type.value_type == pa.float32()
    assert schema.field("frame_index").type == pa.int32()
    assert schema.field("width").type == pa.int16()
    assert schema.field("timestamp").type == pa.float64()


def test_text_is_plain_in_data_files_and_the_split_a_dictionary_in_partitions() -> None:
    schema = landmark_schema(LAYOUT)
    assert plain_schema(schema).equals(schema)
    partition = partition_schema(LAYOUT)
    assert pa.types.is_dictionary(partition.field("split").type)
    assert plain_schema(partition).equals(schema)


def test_the_columns_of_every_row_are_those_that_heads_may_not_have() -> None:
    assert tuple(landmark_schema(Layout("empty", ())).names) == FRAME_COLUMNS
