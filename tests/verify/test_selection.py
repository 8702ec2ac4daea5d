from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.errors import ConfigError
from phoenix_ray.verify.selection import Selection

KEYS = [("train", "a"), ("train", "b/2"), ("dev", "a"), ("test", "c")]


def test_all_videos_are_chosen_sorted_and_once_where_nothing_is_said() -> None:
    assert Selection().choose([*KEYS, *KEYS]) == sorted(KEYS)


def test_an_id_means_the_video_in_every_split_and_split_and_id_the_one() -> None:
    assert Selection(videos=("a",)).choose(KEYS) == [("dev", "a"), ("train", "a")]
    assert Selection(videos=("train/a", "train/b/2")).choose(KEYS) == [("train", "a"), ("train", "b/2")]
    assert Selection(splits=("train",), videos=("a",)).choose(KEYS) == [("train", "a")]


@given(sample=st.integers(1, 40), seed=st.integers(0, 5))
def test_a_sample_is_drawn_by_its_seed_whatever_the_order(sample: int, seed: int) -> None:
    keys = [("all", str(number)) for number in range(30)]
    selection = Selection(sample=sample, seed=seed)
    drawn = selection.choose(keys)
    assert drawn == selection.choose(reversed(keys))
    assert len(set(drawn)) == min(sample, 30)


def test_another_seed_draws_other_videos() -> None:
    keys = [("all", str(number)) for number in range(30)]
    assert len({tuple(Selection(sample=5, seed=seed).choose(keys)) for seed in range(5)}) > 1


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(splits=("trian",)), "split 'trian'. Did you mean 'train'"),
        (Selection(videos=("train/b",)), "video 'train/b'. Did you mean"),
        (Selection(splits=("test",), videos=("b/2",)), "no video to compare"),
    ],
)
def test_what_is_not_there_is_told(selection: Selection, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        selection.choose(KEYS)
