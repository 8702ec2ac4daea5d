from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phoenix_ray.dataset.paths import (
    data_path,
    earlier_data_path,
    failure_path,
    is_data_file_name,
    is_earlier_data_file_name,
    partition_path,
    safe_name,
)
from phoenix_ray.dataset.storage import TEMPORARY_PREFIX

# Also lone surrogates, which file names in a wrong encoding become.
IDS = st.text(st.characters(exclude_categories=()), max_size=400)


@given(IDS)
@example("")
@example(".")
@example("..")
@example("../../etc/passwd")
@example(f"{TEMPORARY_PREFIX}1")
@example("a\0b\n")
@example("x" * 5000)
def test_any_id_becomes_one_harmless_name(video_id: str) -> None:
    name = safe_name(video_id)
    assert 0 < len(name) <= 200
    assert name.isascii()
    assert name.isprintable()
    assert "/" not in name
    assert not name.startswith(".")
    if "~" not in name:
        assert unquote(name, errors="surrogatepass") == video_id


@given(IDS, IDS)
@example("", "~")
@example("a/b", "a%2Fb")
@example("é", "e\u0301")
@example("x" * 201, "x" * 202)
def test_two_ids_never_share_a_name(one: str, other: str) -> None:
    assert (safe_name(one) == safe_name(other)) == (one == other)


def test_a_long_id_differs_from_the_id_that_looks_like_its_name() -> None:
    assert safe_name(safe_name("x" * 300)) != safe_name("x" * 300)


@given(IDS, IDS, st.integers(0, 10**9), st.integers(0, 10**9))
def test_files_stay_in_their_folder(split: str, video_id: str, first: int, last: int) -> None:
    for path, kind in ((partition_path, "partitions"), (failure_path, "failures")):
        parts = PurePosixPath(path(split, video_id, first, last)).parts
        assert len(parts) == 5
        assert parts[0] == kind
        assert ".." not in parts


@pytest.mark.parametrize(
    ("split", "video_id", "expected"),
    [
        ("train", "01April_2010_Thursday_heute-6694", "partitions/split=train/{}/01April_2010_Thursday_heute-6694"),
        ("dev", "day 1/clip.mp4", "partitions/split=dev/{}/day%201%2Fclip.mp4"),
    ],
)
def test_ordinary_ids_stay_readable(split: str, video_id: str, expected: str) -> None:
    path = PurePosixPath(partition_path(split, video_id, 512, 1024))
    assert str(path.parent) == expected.format(path.parts[2])
    assert path.name == "00000512-00001024.parquet"


@given(IDS, IDS)
@example("train", "train-x")
@example("x" * 167, "x" * 300)
@example("_a", "%5Fa")
@example("", "~")
def test_the_data_files_of_a_split_are_found_by_their_name(split: str, other: str) -> None:
    name = data_path(split, "0123456789abcdef" * 2)
    folder, _, last = name.partition("/")
    assert (folder, last[0] in "_.", "=" in last, "/" in last) == ("data", False, False, False)
    assert len(last) <= 255
    assert is_data_file_name(name)
    assert not is_earlier_data_file_name(name)
    assert fnmatchcase(name, data_path(split, "*"))
    assert fnmatchcase(name, data_path(other, "*")) == (split == other)


def test_the_names_of_earlier_versions_are_known() -> None:
    name = earlier_data_path("day 1", "0123456789abcdef" * 2)
    assert name == "data/split=day%201/0123456789abcdef0123456789abcdef.parquet"
    assert is_data_file_name(name)
    assert is_earlier_data_file_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "data/train.parquet",
        "data/train-0123.parquet",
        "data/train/0123456789abcdef0123456789abcdef.parquet",
        "other/train-0123456789abcdef0123456789abcdef.parquet",
        "data/split=a/b/0123456789abcdef0123456789abcdef.parquet",
        "data/a=b-0123456789abcdef0123456789abcdef.parquet",
    ],
)
def test_other_names_in_the_folder_are_those_of_others(name: str) -> None:
    assert not is_data_file_name(name)
