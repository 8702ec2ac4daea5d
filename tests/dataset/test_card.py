from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.card import CardWords, hub_splits, make_card, parse_front_matter
from phoenix_ray.dataset.manifest import DataFile, Manifest
from phoenix_ray.dataset.tally import Tally
from tests.dataset.made_up import IDENTITY, LAYOUT

# As `datasets` checks them.
TAKEN_BY_HUGGING_FACE = re.compile(datasets.naming._split_re)


def data_file(split: str, rows: int = 10) -> DataFile:
    tally = Tally(rows, 5, {"ok": rows}, {"body": rows, "hand": rows // 2}, {"arch=x86_64": rows})
    return DataFile(paths.data_path(split, "0" * 32), split, 2, "a", "b", 100, "ab" * 32, tally)


def card_of(*splits: str, rows: int = 10, words: CardWords | None = None) -> str:
    manifest = Manifest(tuple(data_file(split, rows) for split in splits))
    return make_card(IDENTITY, LAYOUT, manifest, words or CardWords())


@given(st.sets(st.text(max_size=120), max_size=12))
@example({"all", "all_videos", "ALL", "All"})
@example({"a-b", "a b", "a_b", "a_b_2", ""})
@example({"train", "dev", "test.v2", "ü", "手", "x" * 300, "手" * 90})
def test_each_split_has_a_name_of_its_own_that_hugging_face_takes(splits: set[str]) -> None:
    names = hub_splits(splits)
    assert names.keys() == splits
    assert len(set(names.values())) == len(splits)
    for split, name in names.items():
        assert TAKEN_BY_HUGGING_FACE.match(name), name
        assert name.lower() != "all"
        assert len(name.encode()) < 120
        unfit = not TAKEN_BY_HUGGING_FACE.fullmatch(split) or split.lower() == "all" or len(split.encode()) > 100
        assert unfit or name == split


def test_the_head_names_the_files_of_each_split() -> None:
    tree = parse_front_matter(card_of("dev", "day 1-a", words=CardWords("cc-by-4.0")))
    assert tree["license"] == "cc-by-4.0"
    assert tree["size_categories"] == ["n<1K"]
    frames, videos = tree["configs"]
    assert frames["default"] is True
    assert frames["data_files"] == [
        {"split": "day_1_a", "path": "data/day%201%2Da-*.parquet"},
        {"split": "dev", "path": "data/dev-*.parquet"},
    ]
    assert (videos["config_name"], videos["data_files"]) == ("videos", [{"split": "videos", "path": "videos.parquet"}])


@pytest.mark.parametrize(
    ("rows", "category"), [(999, "n<1K"), (1_000, "1K<n<10K"), (947_756, "100K<n<1M"), (10**9, "n>1B")]
)
def test_the_size_category_is_that_of_the_hub(rows: int, category: str) -> None:
    assert parse_front_matter(card_of("train", rows=rows))["size_categories"] == [category]


def test_the_text_counts_each_split_and_says_which_have_another_name() -> None:
    card = card_of("all", "dev")
    assert "| `all` | `all_videos` | 2 | 10 | 100.0 % | 50.0 % |" in card
    assert "does not take the names of 1 split" in card
    assert "does not take" not in card_of("dev")


def test_a_thousand_splits_all_have_files_and_a_hundred_have_a_row() -> None:
    card = card_of(*(f"s{number:03}" for number in range(1000)))
    assert len(parse_front_matter(card)["configs"][0]["data_files"]) == 1000
    assert "| 900 more splits | | 1,800 | 9,000 |" in card
    assert len(card) < 100_000


@pytest.mark.parametrize("text", ["`|<b>\n# x", "---\nlicense: x\n---\n"])
def test_texts_from_outside_are_harmless(text: str) -> None:
    identity = replace(IDENTITY, model={"model": text, "weights.x": text})
    manifest = Manifest((data_file(text),))
    card = make_card(identity, LAYOUT, manifest, CardWords(text))
    assert parse_front_matter(card)["license"] == text
    body = card.partition("\n---\n")[2]
    assert "<b>" not in body
    assert "\n# x" not in body


def test_the_source_is_named_without_its_place() -> None:
    model = {"model": "https://me:secret@host/x"}
    identity = replace(IDENTITY, model=model, source_root="/home/me/videos of people")
    card = make_card(identity, LAYOUT, Manifest((data_file("dev"),)), CardWords(source="PHOENIX-2014-T"))
    assert "Landmarks of people in PHOENIX-2014-T:" in card
    assert "/home" not in card
    assert "secret" not in card


def test_a_missing_licence_is_asked_for() -> None:
    assert card_of("dev").startswith("---\n# license: ")
    assert "output.license=" in card_of("dev")
    assert "Licence: `cc0-1.0`" in card_of("dev", words=CardWords("cc0-1.0"))


@pytest.mark.parametrize("text", ["no head", "---\nnever ends", ""])
def test_a_file_without_a_head_has_no_settings(text: str) -> None:
    assert parse_front_matter(text) == {}


@pytest.mark.parametrize("head", ["a: [", "- 1", "[" * 5000, "a" * 2_000_000])
def test_a_head_that_is_not_a_mapping_is_refused(head: str) -> None:
    with pytest.raises(ValueError, match=r"mapping|while|recursion|characters"):
        parse_front_matter(f"---\n{head}\n---\n")


def test_the_card_of_one_dataset_is_always_the_same(tmp_path: Path) -> None:
    assert card_of("dev", "train") == card_of("dev", "train")
