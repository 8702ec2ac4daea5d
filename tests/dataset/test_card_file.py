from __future__ import annotations

from pathlib import Path

import pytest

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.card import VIDEOS_CONFIG, CardWords, parse_front_matter
from phoenix_ray.dataset.card_file import write_card
from phoenix_ray.dataset.check.dataset_check import check_dataset
from phoenix_ray.dataset.manifest import Manifest, publish_manifest, read_manifest
from phoenix_ray.dataset.storage import LocalStorage, Storage
from phoenix_ray.errors import OutputError
from tests.dataset.made_up import IDENTITY, commit, make_video, new_dataset
from tests.dataset.test_compaction import compact_and_publish

LICENSED = CardWords("cc-by-4.0", "PHOENIX-2014-T")


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    storage = new_dataset(tmp_path)
    add(storage, "train")
    return storage


def add(storage: Storage, split: str) -> None:
    commit(storage, make_video("a", split=split), 0, 10)
    compact_and_publish(storage)


def written(storage: Storage, words: CardWords = LICENSED) -> tuple[str, list[str]]:
    """Return the card after it was brought up to date, and what was said."""
    said: list[str] = []
    write_card(storage, IDENTITY, words, said.append)
    return storage.read(paths.CARD).decode(), said


def splits_of(card: str) -> list[str]:
    return [entry["split"] for entry in parse_front_matter(card)["configs"][0]["data_files"]]


def test_a_card_is_written_and_follows_the_dataset(storage: LocalStorage) -> None:
    card, said = written(storage)
    assert (splits_of(card), said) == (["train"], [])
    add(storage, "dev")
    card, said = written(storage)
    assert (splits_of(card), said) == (["dev", "train"], [])
    assert check_dataset(storage).findings == ()


def test_a_card_that_is_up_to_date_is_not_written_again(storage: LocalStorage) -> None:
    written(storage)
    card = Path(storage.root, paths.CARD)
    before = card.stat().st_ino
    written(storage)
    assert card.stat().st_ino == before


def test_licence_and_source_stay_where_a_later_compaction_does_not_know_them(storage: LocalStorage) -> None:
    card, _ = written(storage)
    assert "Landmarks of people in PHOENIX-2014-T" in card
    add(storage, "dev")
    later, _ = written(storage, CardWords())
    assert parse_front_matter(later)["license"] == "cc-by-4.0"
    assert "Landmarks of people in PHOENIX-2014-T" in later
    other, _ = written(storage, CardWords("other"))
    assert parse_front_matter(other)["license"] == "other"


def test_a_dataset_without_data_files_has_no_card(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, make_video(), 0, 10)
    write_card(storage, IDENTITY, LICENSED, pytest.fail)
    assert not (tmp_path / paths.CARD).exists()


def test_the_card_of_a_dataset_that_lost_all_data_files_counts_none_of_them(storage: LocalStorage) -> None:
    written(storage)
    before = read_manifest(storage, IDENTITY)
    publish_manifest(storage, IDENTITY, before.replace(before.names, ()), before.names)
    card, _ = written(storage, CardWords())
    assert "`train`" not in card
    head = parse_front_matter(card)
    assert [config["config_name"] for config in head["configs"]] == [VIDEOS_CONFIG]
    assert head["license"] == "cc-by-4.0"


EDITS = {
    "a word": lambda card: card.replace("Landmarks of people", "My landmarks of people"),
    "the licence": lambda card: card.replace("cc-by-4.0", "mit"),
    "a line at the end": lambda card: card + "Thanks!\n",
    "line ends": lambda card: card.replace("\n", "\r\n"),
    "the seal": lambda card: card.replace('"sha256": "', '"sha256": "0'),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_card_stays_as_it_is(storage: LocalStorage, edit: object) -> None:
    assert callable(edit)
    edited = edit(written(storage)[0])
    storage.write(paths.CARD, edited.encode())
    assert written(storage) == (edited, [])
    add(storage, "dev")
    card, (line,) = written(storage)
    assert card == edited
    assert "was edited and stays as it is, but its YAML lacks the files of 1 of 2 splits: 'dev'." in line


def test_an_edited_card_that_describes_earlier_data_files_is_reported(storage: LocalStorage) -> None:
    card = written(storage)[0].replace("data/train-*.parquet", "data/*.parquet").replace("# Sign", "# My sign")
    storage.write(paths.CARD, card.encode())
    assert written(storage) == (card, [])
    earlier = parse_front_matter(card)["configs"][0]["description"]
    add(storage, "dev")
    _, (line,) = written(storage)
    assert "may return earlier rows from its cache" in line
    state = line.partition("`description: ")[2].partition("`")[0]
    storage.write(paths.CARD, card.replace(earlier, state).encode())
    assert written(storage)[1] == []


@pytest.mark.parametrize(
    ("configs", "problem"),
    [
        ("configs: [", "its YAML cannot be read"),
        ("license: mit", "names no data files"),
        ("configs: [{config_name: frames, data_files: data/*.parquet}]", None),
        ("configs: [{config_name: frames, data_files: [data/train-*, data/dev*]}]", None),
        ("configs: [{config_name: frames, data_files: {train: data/train-*, dev: ./data/dev*}}]", None),
        ("configs: [{config_name: all, data_files: '**/*.parquet'}]", None),
        ("configs: [{config_name: x, data_files: [{split: a, path: [data/train*]}]}]", "lacks the files of 1 of 2"),
        ("configs: [{config_name: x, data_files: [data/*, data/old-*]}]", "no data file has a name like data/old-*"),
    ],
)
def test_what_is_wrong_with_an_edited_card_is_said(storage: LocalStorage, configs: str, problem: str | None) -> None:
    add(storage, "dev")
    storage.write(paths.CARD, f"---\n{configs}\n---\n# Mine\n".encode())
    _, said = written(storage)
    assert [problem is not None and problem in line for line in said] == [True] * (problem is not None)


def test_a_card_that_repeats_itself_billions_of_times_takes_no_time(storage: LocalStorage) -> None:
    lines = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, 12)]
    head = "\n".join(["a0: &a0 [x]", *lines, "configs: *a11"])
    storage.write(paths.CARD, f"---\n{head}\n---\n".encode())
    assert "names no data files" in written(storage)[1][0]


def test_a_link_is_neither_followed_nor_replaced(storage: LocalStorage, tmp_path: Path) -> None:
    elsewhere = tmp_path.parent / f"{tmp_path.name}.md"
    elsewhere.write_text("mine")
    (tmp_path / paths.CARD).symlink_to(elsewhere)
    said: list[str] = []
    write_card(storage, IDENTITY, LICENSED, said.append)
    assert "could not be written" in said[0]
    assert elsewhere.read_text() == "mine"
    assert check_dataset(storage).findings == ()


def test_a_full_disk_is_said_and_fails_nothing(storage: LocalStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OutputError("No space left.")

    monkeypatch.setattr(storage, "write", fail)
    said: list[str] = []
    write_card(storage, IDENTITY, LICENSED, said.append)
    assert said == ["The dataset card could not be written. No space left."]


def test_the_last_of_two_writers_has_seen_the_newest_manifest(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another driver publishes after this one has read the manifest."""
    slow = read_manifest(storage, IDENTITY)
    add(storage, "dev")
    answers = [slow]

    def read(*arguments: object) -> Manifest:
        return answers.pop() if answers else read_manifest(storage, IDENTITY)

    monkeypatch.setattr("phoenix_ray.dataset.card_file.read_manifest", read)
    assert splits_of(written(storage)[0]) == ["dev", "train"]


def test_a_card_whose_splits_are_gone_is_written_anew(storage: LocalStorage) -> None:
    add(storage, "dev")
    written(storage)
    before = read_manifest(storage, IDENTITY)
    gone = {file.name for file in before.files if file.split == "dev"}
    publish_manifest(storage, IDENTITY, before.replace(gone, ()), gone)
    assert splits_of(written(storage)[0]) == ["train"]
