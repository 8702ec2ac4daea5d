from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset.video_names import describe_missing, find_named, matching_videos

names = st.text("ab/", max_size=4)


def table_of(keys: list[tuple[str, str]]) -> pa.Table:
    splits = pa.array([split for split, _ in keys], pa.string()).dictionary_encode()
    return pa.table({"split": splits, "video_id": pa.array([video_id for _, video_id in keys], pa.string())})


@given(st.lists(st.tuples(names, names), max_size=8, unique=True), names)
def test_a_name_means_each_video_that_has_it_as_its_id_or_with_its_split(
    keys: list[tuple[str, str]], name: str
) -> None:
    whole = {key for key in keys if "/".join(key) == name}
    expected = whole or {key for key in keys if key[1] == name}
    assert set(matching_videos(table_of(keys), name)) == expected


@pytest.fixture(scope="module")
def many() -> pa.Table:
    numbers = np.arange(200_000)
    ids = pa.array([f"video-{number:07}" for number in numbers])
    splits = pa.DictionaryArray.from_arrays((numbers // 100_000).astype(np.int32), pa.array(["dev", "train"]))
    return pa.table({"split": splits, "video_id": ids})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("video-0123456x", "video-0123456"),
        ("vidoe-0123456", "video-0123456"),
        ("Video-0000007", "video-0000007"),
        ("dev/video-000005", "dev/video-000005"),
    ],
)
def test_a_similar_name_is_found_among_many(many: pa.Table, name: str, meant: str) -> None:
    started = time.process_time()
    with pytest.raises(KeyError) as caught:
        find_named(many, "OUTPUT", name)
    assert f"Did you mean '{meant}" in caught.value.args[0]
    # Comparing each name would take half a minute.
    assert time.process_time() - started < 5


def test_names_of_any_length_are_answered_at_once_and_in_brief() -> None:
    table = table_of([("train", "x" * 10_000 + str(number)) for number in range(50)])
    for name in ("x" * 9_999, "x" * 100_000, "y", "/" * 1_000, "\x1b" * 10_000):
        with pytest.raises(KeyError) as caught:
            find_named(table, "OUTPUT", name)
        assert len(caught.value.args[0]) < 700
        assert len(describe_missing(table, "OUTPUT", ("train", name))) < 700
        assert len(describe_missing(table, "OUTPUT", (name, "a"))) < 700


@pytest.mark.parametrize("count", [3, 3_000])
def test_a_name_that_is_not_utf_8_is_found_as_it_is_stored(count: int) -> None:
    table = table_of([("train", f"clip\\udcff{number}") for number in range(count)])
    assert find_named(table, "OUTPUT", "clip\udcff2") == ("train", "clip\\udcff2")
    with pytest.raises(KeyError, match="Did you mean"):
        find_named(table, "OUTPUT", "clip\udcff9999")
    assert "no video 'clip" in describe_missing(table, "OUTPUT", ("train", "clip\udcff9999"))


def test_an_id_of_many_splits_is_answered_with_some_of_them() -> None:
    table = table_of([(f"split-{number:03}", "a") for number in range(100)])
    with pytest.raises(KeyError, match=r"split-004/a and 95 more\. Name one by its split and ID"):
        find_named(table, "OUTPUT", "a")
