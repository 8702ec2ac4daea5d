from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.config_files import load
from phoenix_ray.dataset.share import Share
from phoenix_ray.errors import ConfigError

TEXTS = st.text(st.characters(codec=None), max_size=20)


@given(TEXTS, TEXTS, st.integers(1, 50))
def test_every_video_is_in_one_share(split: str, video_id: str, count: int) -> None:
    holders = [index for index in range(count) if Share(index, count).holds(split, video_id)]
    assert len(holders) == 1


@given(st.lists(st.tuples(TEXTS, TEXTS), unique=True), st.integers(1, 8), st.randoms())
def test_shares_do_not_depend_on_the_order_of_the_listing(
    videos: list[tuple[str, str]], count: int, random: Random
) -> None:
    shuffled = sorted(videos, key=lambda _: random.random())
    for index in range(count):
        share = Share(index, count)
        assert {video for video in videos if share.holds(*video)} == {
            video for video in shuffled if share.holds(*video)
        }


def test_shares_are_those_of_all_versions_and_machines() -> None:
    """An array may be resumed by a later version: these must never change."""
    videos = [("train", "a"), ("train", "b"), ("dev", "a"), ("test", "γάμμα"), ("all", "x/y")]
    assert [next(i for i in range(8) if Share(i, 8).holds(*video)) for video in videos] == [6, 4, 5, 7, 5]


def test_shares_have_about_the_same_number_of_videos() -> None:
    sizes = [sum(Share(index, 8).holds("train", f"video-{n}") for n in range(8000)) for index in range(8)]
    assert max(sizes) < 1.2 * min(sizes)


@pytest.mark.parametrize("text", ["0/1", "7/8", "127/128"])
def test_a_share_is_written_as_it_is_read(text: str) -> None:
    assert load(None, [f"run.share={text}"]).run.share == text
    assert str(Share.parse(text)) == text


def test_no_share_is_all_videos() -> None:
    assert Share.parse(load(None, []).run.share) is None


@pytest.mark.parametrize("text", ["8/8", "-1/8", "1", "1/0", "0/0", "01/8", "1/8/2", "a/b", "1.5/8", " 1/8", "1/08"])
def test_what_is_no_share_is_refused_with_what_to_give(text: str) -> None:
    with pytest.raises(ConfigError, match=r"'run.share'.*give I/N, with I from 0 to N-1.*got"):
        load(None, [f"run.share='{text}'"])
