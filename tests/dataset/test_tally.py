from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from phoenix_ray.dataset.schema import to_table
from phoenix_ray.dataset.sealing import validate
from phoenix_ray.dataset.tally import RecordedTally, Tally, add_digests, digest_rows, digest_text, tally_rows, total
from tests.dataset.made_up import LAYOUT, make_batch, make_records, make_video

RECORDED = TypeAdapter(RecordedTally)
COUNTS = st.dictionaries(st.text(max_size=3), st.integers(1, 100), max_size=3)
TALLIES = st.builds(Tally, st.integers(0, 10**6), st.integers(0, 2**128 - 1), COUNTS, COUNTS)


@given(st.integers(0, 10))
def test_tallies_of_parts_add_up_to_that_of_the_whole(cut: int) -> None:
    video = make_video()
    table = to_table(LAYOUT, "train", "video", make_records(0, 10), make_batch(video, 0, 10))
    assert tally_rows(LAYOUT, table[:cut]) + tally_rows(LAYOUT, table[cut:]) == tally_rows(LAYOUT, table)


@given(TALLIES)
def test_json_keeps_a_tally(tally: Tally) -> None:
    assert validate(RECORDED, json.loads(json.dumps(tally.to_json()))) == tally


@given(st.permutations([Tally(1, 5, {"ok": 1}), Tally(2, 2**128 - 1, {"failed": 2}, {"hand": 1}), Tally()]))
def test_the_order_of_adding_does_not_matter(tallies: list[Tally]) -> None:
    assert total(tallies) == Tally(3, 4, {"failed": 2, "ok": 1}, {"hand": 1})


def test_a_rate_is_the_share_of_frames() -> None:
    assert Tally(8, detected={"hand": 2}).rate("hand") == pytest.approx(0.25)
    assert Tally(8).rate("hand") == 0.0
    assert Tally().rate("hand") == 0.0


VIDEO = make_video(frames=12)


def table_of(first: int, last: int, video_id: str = "video") -> pa.Table:
    video = replace(VIDEO, video_id=video_id)
    return to_table(LAYOUT, "train", video_id, make_records(first, last), make_batch(video, first, last))


WHOLE = table_of(0, 12)


@given(st.permutations(range(12)), st.integers(0, 12))
def test_digests_add_up_whatever_the_order_and_the_shards(order: list[int], cut: int) -> None:
    shuffled = WHOLE.take(pa.array(order))
    parts = [shuffled.slice(0, cut), shuffled.slice(cut)]
    assert add_digests(digest for part in parts for digest in digest_rows(LAYOUT, part)) == add_digests(
        digest_rows(LAYOUT, WHOLE)
    )


def test_the_digest_of_known_rows_never_changes() -> None:
    """Pinned: datasets written by earlier versions must keep their digests."""
    batch = make_batch(VIDEO, 0, 3)
    for points in batch.points.values():
        points[~np.isnan(points)] = 0.25
    batch.scores["body"][:] = (0.5, np.nan, 1.0)
    table = to_table(LAYOUT, "train", "video", make_records(0, 3), batch)
    assert digest_text(add_digests(digest_rows(LAYOUT, table))) == "6d16dd90725c9761f2fa7a8441b0ca25"


def test_parquet_keeps_the_digest() -> None:
    file = io.BytesIO()
    pq.write_table(WHOLE, file)
    file.seek(0)
    assert digest_rows(LAYOUT, pq.read_table(file)) == digest_rows(LAYOUT, WHOLE)


def changed(column: str, value: object) -> pa.Table:
    values = WHOLE.column(column).to_pylist()
    values[1] = value
    field = WHOLE.schema.field(column)
    return WHOLE.set_column(WHOLE.schema.get_field_index(column), field, pa.array(values, field.type))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("split", "dev"),
        ("video_id", "other"),
        ("frame_name", "other.png"),
        ("frame_index", 77),
        ("status", "failed"),
        ("hand_x", None),
        ("hand_x", [0.0, 0.0]),
        ("body_score", None),
        ("body_score", 0.0),
    ],
)
def test_any_change_of_a_row_changes_its_digest_and_no_other(column: str, value: object) -> None:
    before, after = digest_rows(LAYOUT, WHOLE), digest_rows(LAYOUT, changed(column, value))
    assert [one != other for one, other in zip(before, after, strict=True)] == [row == 1 for row in range(12)]


def test_a_single_bit_changes_the_digest() -> None:
    batch = make_batch(VIDEO, 0, 12)
    batch.points["body"].view(np.uint32)[5, 2, 1] ^= 1
    table = to_table(LAYOUT, "train", "video", make_records(0, 12), batch)
    assert (
        sum(one != other for one, other in zip(digest_rows(LAYOUT, table), digest_rows(LAYOUT, WHOLE), strict=True))
        == 1
    )


def test_rows_of_two_videos_cannot_be_swapped_unnoticed() -> None:
    one, other = table_of(0, 1, "one"), table_of(0, 1, "other")
    swapped = [
        table.set_column(1, "video_id", pa.array([video_id])) for table, video_id in ((one, "other"), (other, "one"))
    ]
    total = add_digests(digest_rows(LAYOUT, one) + digest_rows(LAYOUT, other))
    assert total != add_digests(digest_rows(LAYOUT, swapped[0]) + digest_rows(LAYOUT, swapped[1]))
