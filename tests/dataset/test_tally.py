from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset.schema import to_table
from phoenix_ray.dataset.tally import Tally, tally_rows, total
from tests.dataset.made_up import LAYOUT, make_batch, make_records, make_video

COUNTS = st.dictionaries(st.text(max_size=3), st.integers(1, 100), max_size=3)
TALLIES = st.builds(Tally, st.integers(0, 10**6), st.integers(0, 2**128 - 1), COUNTS, COUNTS)


@given(st.integers(0, 10))
def test_tallies_of_parts_add_up_to_that_of_the_whole(cut: int) -> None:
    video = make_video()
    table = to_table(LAYOUT, "train", "video", make_records(0, 10), make_batch(video, 0, 10))
    assert tally_rows(LAYOUT, table[:cut]) + tally_rows(LAYOUT, table[cut:]) == tally_rows(LAYOUT, table)


@given(TALLIES)
def test_json_keeps_a_tally(tally: Tally) -> None:
    assert Tally.from_json(json.loads(json.dumps(tally.to_json()))) == tally


@given(st.permutations([Tally(1, 5, {"ok": 1}), Tally(2, 2**128 - 1, {"failed": 2}, {"hand": 1}), Tally()]))
def test_the_order_of_adding_does_not_matter(tallies: list[Tally]) -> None:
    assert total(tallies) == Tally(3, 4, {"failed": 2, "ok": 1}, {"hand": 1})


def test_a_rate_is_the_share_of_frames() -> None:
    assert Tally(8, detected={"hand": 2}).rate("hand") == pytest.approx(0.25)
    assert Tally(8).rate("hand") == 0.0
    assert Tally().rate("hand") == 0.0
