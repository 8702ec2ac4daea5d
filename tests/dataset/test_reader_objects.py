"""A dataset as a sequence of videos: iteration, places, slices, names and what they say where nothing fits."""

from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import phoenix_ray
from phoenix_ray.dataset.identity import claim_dataset
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.rows import RowReader
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.errors import OutputError
from tests.dataset.made_up import IDENTITY, commit, make_video, new_dataset
from tests.dataset.test_compaction import compact_and_publish

# `clip` is in two splits, and `dev/b` is also the ID of a video.
KEYS = [("dev", "b"), ("dev", "clip"), ("train", "a"), ("train", "clip"), ("train", "dev/b"), ("train", "e/f")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six videos, of which the last is not compacted and lacks frames."""
    folder = tmp_path_factory.mktemp("objects") / "output"
    storage = new_dataset(folder)
    for split, video_id in KEYS[:-1]:
        commit(storage, make_video(video_id, split), 0, 10)
    compact_and_publish(storage)
    commit(storage, make_video("e/f"), 0, 6)
    return folder


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return phoenix_ray.open(folder)


def keys_of(dataset: Dataset) -> list[tuple[str, str]]:
    return list(dataset.keys())


def test_iteration_yields_each_video_in_order(dataset: Dataset) -> None:
    videos = list(dataset)
    assert [(video.split, video.video_id) for video in videos] == KEYS == keys_of(dataset)
    assert [len(video) for video in videos] == [10, 10, 10, 10, 10, 6]
    for key, video in zip(KEYS, videos, strict=True):
        assert np.array_equal(video.points["body"], dataset.load(*key).points["body"])
    assert [video.video_id for video in reversed(dataset)] == [video_id for _, video_id in reversed(KEYS)]


def test_iteration_decodes_each_piece_of_a_file_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[str, int]] = []
    decode = RowReader._row_group

    def note(self: RowReader, file: str, group: int, columns: tuple[str, ...] | None) -> object:
        last = self._last
        rows = decode(self, file, group, columns)
        if self._last is not last:
            decoded.append((file, group))
        return rows

    monkeypatch.setattr(RowReader, "_row_group", note)
    assert len(list(phoenix_ray.open(folder))) == 6
    assert len(decoded) == len(set(decoded)) > 2


@given(st.integers(-9, 9))
def test_a_place_means_what_it_means_in_a_list(dataset: Dataset, place: int) -> None:
    if -6 <= place < 6:
        for same in (place, np.int64(place)):
            video = dataset[same]
            assert (video.split, video.video_id) == KEYS[place]
    else:
        with pytest.raises(IndexError, match=rf"no video {place}: the dataset has 6 videos"):
            dataset[place]


ends = st.none() | st.integers(-9, 9)


@given(ends, ends, st.none() | st.integers(1, 4))
def test_a_slice_is_a_dataset_of_these_videos(dataset: Dataset, first: int | None, end: int | None, step: int) -> None:
    part = dataset[first:end:step]
    assert keys_of(part) == KEYS[first:end:step]
    assert len(part) == len(KEYS[first:end:step])
    assert keys_of(part[::2]) == KEYS[first:end:step][::2]
    assert part.splits == {
        split: number for split in ("dev", "train") if (number := sum(key[0] == split for key in keys_of(part)))
    }


def test_a_slice_keeps_its_videos_when_others_come(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    for video_id in "bdf":
        commit(storage, make_video(video_id), 0, 4)
    part = phoenix_ray.open(tmp_path)[1:]
    commit(storage, make_video("e"), 0, 10)
    commit(storage, make_video("d"), 4, 10)
    part.refresh()
    assert [(video.video_id, len(video)) for video in part] == [("d", 10), ("f", 4)]
    compact_and_publish(storage)
    assert [video.video_id for video in pickle.loads(pickle.dumps(part))] == ["d", "f"]
    assert keys_of(part.select(split="train", parts=["hand"])) == [("train", "d"), ("train", "f")]
    with pytest.raises(KeyError, match=r"this part of .* has no video 'b'"):
        part["b"]


def test_a_slice_of_a_part_has_its_parts(dataset: Dataset) -> None:
    part = dataset.select(split="train", parts=["hand"])[1:3]
    assert keys_of(part) == [("train", "clip"), ("train", "dev/b")]
    assert list(part[0].points) == ["hand"]


def test_videos_are_found_by_split_and_id_and_by_an_id_that_one_video_has(dataset: Dataset) -> None:
    for key in KEYS:
        assert dataset[key].video_id == key[1]
        assert key in dataset
        assert "/".join(key) in dataset
    assert dataset["a"].video_id == "a"
    assert dataset["e/f"].split == "train"
    assert dataset["train/clip"].split == "train"
    # An ID that looks like another video's split and ID: the latter wins, as everywhere.
    assert (dataset["dev/b"].split, dataset["dev/b"].video_id) == ("dev", "b")
    assert all(video in dataset for video in dataset)
    assert replace(dataset[0], video_id="other") not in dataset
    assert ("dev", "a") not in dataset
    assert "A" not in dataset


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("clip", "has several videos 'clip': dev/clip, train/clip. Name one by its split and ID."),
        ("clop", "has no video 'clop'. Did you mean 'clip'?"),
        ("dev/clop", "has no video 'dev/clop'. Did you mean 'dev/clip'?"),
        ("unlike", "has no video 'unlike'. It has 6 videos: b, clip, a, clip, dev/b, …."),
        (("dev", "clop"), "no video 'clop' in the split 'dev' of .*. Did you mean 'clip'?"),
        (("dev", "a"), "no video 'a' in the split 'dev' of .*: it is in train"),
        (("trian", "x"), "no video 'x' in the split 'trian' of .*, which it does not have. Did you mean 'train'?"),
        (("val", "x"), "no video 'x' in the split 'val' of .*, which it does not have. It has 2 splits: dev, train."),
    ],
)
def test_a_wrong_name_is_answered_with_what_may_be_meant(dataset: Dataset, name: str, message: str) -> None:
    with pytest.raises(KeyError, match=message.replace("?", r"\?").replace("…", ".")):
        dataset[name]


@pytest.mark.parametrize("place", [None, 1.5, ("train",), ("train", 3), ["a"], b"a"])
def test_what_names_no_video_is_refused(dataset: Dataset, place: object) -> None:
    with pytest.raises(TypeError):
        dataset[place]  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        place in dataset  # noqa: B015


def test_threads_read_at_once_with_a_selection_each(dataset: Dataset) -> None:
    expected = [video.points["body"].tobytes() for video in dataset]

    def read(part: Dataset) -> list[bytes]:
        return [video.points["body"].tobytes() for _ in range(5) for video in part]

    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(read, [dataset.select() for _ in range(8)]):
            assert found == expected * 5


def test_a_selection_of_everything_copies_no_table(dataset: Dataset) -> None:
    assert dataset.select(parts=["hand"]).videos() is dataset.videos()


def test_a_slice_backwards_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match="reversed"):
        dataset[::-1]


def test_a_dataset_without_videos_is_empty(tmp_path: Path) -> None:
    new_dataset(tmp_path)
    dataset = phoenix_ray.open(tmp_path)
    assert list(dataset) == []
    assert dataset.splits == {}
    assert len(dataset[:3]) == 0
    assert repr(dataset).count("0 videos") == 1
    with pytest.raises(KeyError, match="it has none yet"):
        dataset["a"]
    with pytest.raises(IndexError, match="has 0 videos"):
        dataset[0]


def test_a_dataset_is_opened_by_a_path_a_text_and_a_uri(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.chdir(folder.parent)
    for path in (folder, str(folder), f"file://{folder}", "~/output", Path("~/output"), "output", Path("output")):
        assert len(phoenix_ray.open(path)) == 6
    with pytest.raises(OutputError, match=r"'~nobody_of_this_name/x' begins with a user who does not exist"):
        phoenix_ray.open("~nobody_of_this_name/x")


def test_the_repr_says_what_there_is(folder: Path, dataset: Dataset) -> None:
    assert repr(dataset) == (
        f"<Dataset {folder}: 6 videos, 60 frames\n"
        "  made-up, none, static: body, hand (made-up)\n"
        "  dev 2, train 4; 1 video unfinished>"
    )


def test_the_repr_is_short_whatever_the_names(tmp_path: Path) -> None:
    storage = LocalStorage(str(new_dataset(tmp_path / ("x" * 200)).root))
    for number in range(30):
        commit(storage, make_video("ID\x1b\u202e\u200f" * 700, f"{number}\n\x1b[31m\u200f" + "long" * 40), 0, 2)
    shown = repr(phoenix_ray.open(storage.root))
    assert len(shown) < 500
    assert "and 26 more splits; 30 videos unfinished>" in shown
    assert not set(shown) & set("\x1b\u202e\u200f")
    assert len(repr(phoenix_ray.open(storage.root)[0])) < 500


def test_a_dataset_whose_folder_was_deleted_or_replaced_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path / "output")
    commit(storage, make_video("a"), 0, 10)
    opened = phoenix_ray.open(tmp_path / "output")
    shutil.rmtree(tmp_path / "output")
    for use in (opened.refresh, lambda: opened["a"]):
        with pytest.raises(OutputError, match=r"it has no dataset.json. There is no such path"):
            use()
    assert len(opened) == 1
    claim_dataset(LocalStorage(str(tmp_path / "output")), replace(IDENTITY, limit_frames=5))
    with pytest.raises(OutputError, match="holds another dataset now"):
        opened.refresh()
