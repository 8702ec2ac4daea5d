"""Columns of heads from the workers' batches to what readers get: bit for bit, whatever is missing, cut or merged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

import phoenix_ray
from phoenix_ray.config import OutputSettings
from phoenix_ray.dataset.card import CardWords, make_card
from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.compaction import compact_videos
from phoenix_ray.dataset.compaction_plan import plan_compaction
from phoenix_ray.dataset.head_columns import SMOOTHING, join_columns, smooth_over_time
from phoenix_ray.dataset.identity import find_layout, read_identity
from phoenix_ray.dataset.manifest import Manifest
from phoenix_ray.dataset.publication import publish
from phoenix_ray.dataset.schema import CLASSES_KEY, empty_batch, landmark_schema, to_batch, to_table
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.survey import take_survey
from phoenix_ray.dataset.tally import digest_rows, tally_rows
from phoenix_ray.dataset.video_table import read_entries
from phoenix_ray.models.agreement import same_bits
from tests.dataset.made_up import make_batch, make_records, make_video
from tests.dataset.with_heads import (
    AGE,
    EMOTION,
    IDENTITY,
    WITH_HEADS,
    batch_with_heads,
    dataset_with_heads,
    video_with_heads,
)

VIDEO = make_video()
BITS = st.integers(0, 2**32 - 1)


def test_a_head_has_a_list_of_logits_and_a_column_for_each_number() -> None:
    schema = landmark_schema(WITH_HEADS)
    names = schema.names[schema.get_field_index("body_score") + 1 :]
    assert names == [
        "emotion_logits",
        "emotion_valence",
        "emotion_arousal",
        "emotion_quality",
        "age_years",
        "age_quality",
    ]
    assert schema.field("emotion_logits").type.value_type == pa.float32()
    assert json.loads(schema.field("emotion_logits").metadata[CLASSES_KEY]) == ["glad", "sad", "calm"]


@given(stn.arrays(np.uint32, (4, EMOTION.width), elements=BITS), stn.arrays(np.bool_, (4, EMOTION.width)))
def test_any_numbers_of_heads_survive_the_table_bit_for_bit(
    bits: np.ndarray[tuple[int, int], np.dtype[np.uint32]], missing: np.ndarray[tuple[int, int], np.dtype[np.bool_]]
) -> None:
    values = np.where(missing, np.float32(np.nan), bits.view(np.float32))
    batch = replace(batch_with_heads(VIDEO, 0, 4), heads={"emotion": values, "age": np.zeros((4, 2), np.float32)})
    table = to_table(WITH_HEADS, "train", "video", make_records(0, 4), batch)
    table.validate(full=True)
    assert table.schema.equals(landmark_schema(WITH_HEADS))
    assert same_bits(to_batch(WITH_HEADS, table).heads["emotion"], values).all()


def test_rows_without_the_part_are_null_in_all_columns_of_the_head() -> None:
    table = to_table(WITH_HEADS, "train", "video", make_records(0, 4), empty_batch(WITH_HEADS, 4))
    for head in WITH_HEADS.heads:
        assert all(table.column(name).null_count == 4 for name in head.columns())


def test_a_batch_without_the_numbers_of_a_head_is_refused() -> None:
    batch = replace(batch_with_heads(VIDEO, 0, 4), heads={"emotion": np.zeros((4, 2), np.float32)})
    with pytest.raises(ValueError, match="emotion has the shape"):
        to_table(WITH_HEADS, "train", "video", make_records(0, 4), batch)


@given(st.integers(0, 9), st.integers(0, EMOTION.width - 1))
def test_every_number_of_a_head_is_part_of_the_digest(row: int, column: int) -> None:
    batch = batch_with_heads(VIDEO, 0, 10)
    changed = {name: values.copy() for name, values in batch.heads.items()}
    was = changed["emotion"][row, column]
    changed["emotion"][row, column] = 0 if np.isnan(was) else np.nan
    tables = [
        to_table(WITH_HEADS, "train", "video", make_records(0, 10), some)
        for some in (batch, replace(batch, heads=changed))
    ]
    before, after = (digest_rows(WITH_HEADS, table) for table in tables)
    assert [old == new for old, new in zip(before, after, strict=True)] == [number != row for number in range(10)]


def test_a_missing_number_is_not_zero_to_the_digest() -> None:
    batch = batch_with_heads(VIDEO, 0, 1)
    tables = []
    for number in (np.nan, 0.0):
        values = np.full((1, AGE.width), number, np.float32)
        some = replace(batch, heads={**batch.heads, "age": values})
        tables.append(to_table(WITH_HEADS, "train", "video", make_records(0, 1), some))
    assert tally_rows(WITH_HEADS, tables[0]).digest != tally_rows(WITH_HEADS, tables[1]).digest


def test_the_digest_of_a_dataset_without_heads_is_what_it_was() -> None:
    """Recorded before datasets had heads."""
    layout = replace(WITH_HEADS, heads=())
    table = to_table(layout, "train", "video", make_records(0, 3), make_batch(VIDEO, 0, 3, layout))
    assert tally_rows(layout, table).digest == DIGEST_WITHOUT_HEADS


DIGEST_WITHOUT_HEADS = 0x6D5ED89FF9D200D7B3B731171ECF1B6


@pytest.mark.parametrize("cuts", [(0, 10), (0, 1, 4, 9, 10)])
def test_a_dataset_gives_back_its_heads_before_and_after_compaction(tmp_path: Path, cuts: tuple[int, ...]) -> None:
    dataset_with_heads(str(tmp_path), cuts)
    expected = video_with_heads()
    for _ in ("partitions", "data files"):
        dataset = phoenix_ray.open(tmp_path)
        assert dataset.layout == WITH_HEADS
        video = dataset["train", "video"]
        for head in ("emotion", "age"):
            assert same_bits(video.heads[head], expected.heads[head]).all()
        assert set(dataset.select(parts=["body"])[0].heads) == {"emotion"}
        assert dataset.select(parts=[])[0].heads == {}
        compact(tmp_path)
    (data_file,) = tmp_path.glob("data/**/*.parquet")
    assert json.loads(pq.read_schema(data_file).field("emotion_logits").metadata[CLASSES_KEY]) == [
        "glad",
        "sad",
        "calm",
    ]
    assert check_dataset(LocalStorage(str(tmp_path))).findings == ()


def compact(folder: Path) -> None:
    storage = LocalStorage(str(folder))
    survey = take_survey(storage, IDENTITY)
    tasks = plan_compaction(survey, lambda name: read_entries(storage, IDENTITY, name), 10**9)
    publish(storage, IDENTITY, [compact_videos(storage, task, OutputSettings()) for task in tasks])


def test_the_order_of_parts_and_heads_survives_the_identity(tmp_path: Path) -> None:
    storage = dataset_with_heads(str(tmp_path))
    layout = find_layout(read_identity(storage))
    assert layout == WITH_HEADS
    assert [part.name for part in layout.parts] == ["body", "hand"]


def test_a_card_describes_the_columns_of_heads_and_their_classes() -> None:
    card = make_card(IDENTITY, WITH_HEADS, Manifest(), CardWords())
    assert "| `emotion` | `body` | `emotion_logits`, `emotion_valence`, `emotion_arousal`, `emotion_quality` " in card
    assert "| glad, sad, calm |" in card
    assert "Other networks" not in make_card(IDENTITY, replace(WITH_HEADS, heads=()), Manifest(), CardWords())


def test_the_repr_of_a_video_names_its_heads() -> None:
    assert "; heads: emotion, age (made-up+emotion+age)" in repr(video_with_heads())


def test_columns_of_heads_are_named_as_in_the_dataset_and_join_again() -> None:
    video = video_with_heads()
    columns = video.head_columns()
    assert list(columns) == [name for head in WITH_HEADS.heads for name in head.columns()]
    assert columns["emotion_logits"].shape == (10, 3)
    assert columns["emotion_valence"].shape == (10,)
    for head in WITH_HEADS.heads:
        assert same_bits(join_columns(head, columns), video.heads[head.name]).all()


def test_a_table_of_pandas_has_a_column_for_each_class() -> None:
    pytest.importorskip("pandas")
    video = video_with_heads()
    table = video.to_pandas()
    assert np.array_equal(table["emotion_logits_sad"], video.heads["emotion"][:, 1], equal_nan=True)
    assert np.array_equal(table["age_years"], video.heads["age"][:, 0], equal_nan=True)
    assert "age_years" not in video.to_pandas(parts=["body"])
    assert len(video.to_pandas(long=True)) == 10 * 5


def plain_smoothing(frames: list[int], values: list[float]) -> list[float]:
    """What `smooth_over_time` does to one column, as a loop over frames."""
    of_frame = dict(zip(frames, values, strict=True))
    smoothed = []
    for frame, value in of_frame.items():
        total = weights = 0.0
        for weight, back in zip(SMOOTHING, range(len(SMOOTHING) - 1, -1, -1), strict=True):
            earlier = of_frame.get(frame - back, np.nan)
            if not np.isnan(earlier):
                total += weight * earlier
                weights += weight
        smoothed.append(np.nan if np.isnan(value) else total / weights)
    return smoothed


ROWS = st.lists(st.tuples(st.booleans(), st.floats(-10, 10, width=32) | st.just(float("nan"))), max_size=30)


@given(ROWS)
def test_smoothing_is_that_of_a_plain_loop_whatever_frames_and_numbers_are_missing(
    rows: list[tuple[bool, float]],
) -> None:
    frames = [number for number, (there, _) in enumerate(rows) if there]
    values = [rows[number][1] for number in frames]
    table = np.array(values, np.float32)[:, np.newaxis] * np.ones((1, AGE.width), np.float32)
    smoothed = smooth_over_time(AGE, np.array(frames, np.int32), table)
    assert np.allclose(smoothed[:, 0], plain_smoothing(frames, values), rtol=1e-6, atol=1e-6, equal_nan=True)
    assert same_bits(smoothed[:, 1], table[:, 1]).all(), "the quality stays as it is"


def test_the_weights_are_emonets_and_a_first_frame_is_not_scaled_down() -> None:
    assert SMOOTHING == (0.1, 0.1, 0.15, 0.25, 0.4)
    values = np.ones((8, AGE.width), np.float32)
    assert np.allclose(smooth_over_time(AGE, np.arange(8, dtype=np.int32), values), 1)
    step = np.where(np.arange(8) >= 4, np.float32(1), np.float32(0))[:, np.newaxis] * values
    found = smooth_over_time(AGE, np.arange(8, dtype=np.int32), step)[:, 0]
    assert np.allclose(found, [0, 0, 0, 0, 0.4, 0.65, 0.8, 0.9])


def test_smoothing_does_not_depend_on_the_shards(tmp_path: Path) -> None:
    smoothed = []
    for name, cuts in (("whole", (0, 10)), ("cut", (0, 1, 2, 5, 6, 10))):
        dataset_with_heads(str(tmp_path / name), cuts)
        smoothed.append(phoenix_ray.open(tmp_path / name)[0].head_columns(smooth=True))
    for column, values in smoothed[0].items():
        assert same_bits(values, smoothed[1][column]).all()
    raw = video_with_heads().head_columns()
    assert not np.allclose(smoothed[0]["emotion_valence"], raw["emotion_valence"], equal_nan=True)
    assert same_bits(smoothed[0]["emotion_quality"], raw["emotion_quality"]).all()
