from __future__ import annotations

import multiprocessing
import pickle
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import phoenix_ray
from phoenix_ray.dataset import paths
from phoenix_ray.dataset import rows as rows_module
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.parquet import DamagedFileError
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.schema import landmark_schema
from phoenix_ray.dataset.shards import recorded_fields
from phoenix_ray.dataset.snapshot import VideoIndex, tally_splits
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.tally import Tally, add_digests, tally_rows, total
from phoenix_ray.dataset.video_landmarks import VideoLandmarks, from_rows
from phoenix_ray.dataset.video_table import VideoEntry, to_video_table
from phoenix_ray.errors import ConfigError, OutputError
from phoenix_ray.layouts import BLAZEPOSE, COCO_WHOLEBODY_133, Layout
from tests.dataset.made_up import IDENTITY, LAYOUT, commit, make_batch, make_video, new_dataset
from tests.dataset.test_compaction import compact_and_publish, flip
from tests.zoo import zoo_video

ANNOTATED = make_video("a", gloss="HEUTE", signer="Signer01", camera="left")
PLAIN = make_video("b", split="dev", frames=4)


def uncompacted(storage: LocalStorage) -> None:
    commit(storage, ANNOTATED, 0, 6)
    commit(storage, ANNOTATED, 6, 10)
    commit(storage, PLAIN, 0, 4)


def compacted(storage: LocalStorage) -> None:
    uncompacted(storage)
    compact_and_publish(storage)


def half_compacted(storage: LocalStorage) -> None:
    commit(storage, ANNOTATED, 0, 10)
    compact_and_publish(storage)
    commit(storage, PLAIN, 0, 4)


def with_a_stale_table(storage: LocalStorage) -> None:
    compacted(storage)
    storage.delete(paths.VIDEOS)


STATES = [uncompacted, compacted, half_compacted, with_a_stale_table]


@pytest.mark.parametrize("state", STATES)
def test_the_same_is_read_before_during_and_after_compaction(
    tmp_path: Path, state: Callable[[LocalStorage], None]
) -> None:
    storage = new_dataset(tmp_path)
    state(storage)
    dataset = Dataset.open(str(tmp_path))
    assert list(dataset.keys()) == [("dev", "b"), ("train", "a")]
    landmarks = dataset.load("train", "a")
    for name, points in make_batch(ANNOTATED, 0, 10).points.items():
        assert np.array_equal(landmarks.points[name], points, equal_nan=True)
    assert landmarks.present("hand").tolist() == [frame % 3 != 0 for frame in range(10)]
    videos = {(video["split"], video["video_id"]): video for video in dataset.videos().to_pylist()}
    assert set(videos) == {("train", "a"), ("dev", "b")}
    video = videos["train", "a"]
    assert (video["gloss"], video["signer"], video["translation"]) == ("HEUTE", "Signer01", None)
    assert dict(video["annotation"]) == {"camera": "left"}
    assert (video["frames"], video["frames_ok"], video["frames_unreadable"]) == (10, 10, 0)
    assert (video["fps"], video["body_rate"], video["hand_rate"]) == (25.0, 1.0, 0.6)
    assert sum(table.num_rows for table in dataset.scan()) == 14
    tallies = tally_splits(storage, IDENTITY)
    assert list(tallies) == ["dev", "train"]
    assert tallies["train"].detected == {"body": 10, "hand": 6}
    assert total(tallies.values()).digest == dataset.digest()


def test_every_state_has_the_same_digest(tmp_path: Path) -> None:
    digests = set()
    for number, state in enumerate(STATES):
        state(new_dataset(tmp_path / str(number)))
        digests.add(Dataset.open(str(tmp_path / str(number))).digest())
    assert len(digests) == 1


def test_an_unfinished_video_shows_the_frames_that_are_there(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, ANNOTATED, 2, 4)
    commit(storage, ANNOTATED, 8, 9)
    dataset = Dataset.open(str(tmp_path))
    assert dataset.read_video("train", "a").column("frame_index").to_pylist() == [2, 3, 8]
    (video,) = dataset.videos().to_pylist()
    assert (video["frames"], video["frames_ok"], video["file"]) == (10, 3, None)


def test_a_changed_video_is_read_in_its_old_version_until_the_new_one_is_whole(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, ANNOTATED, 0, 10)
    compact_and_publish(storage)
    changed = replace(ANNOTATED, signature="2", frame_count=6)
    commit(storage, changed, 0, 3)
    dataset = Dataset.open(str(tmp_path))
    assert dataset.read_video("train", "a").num_rows == 10
    commit(storage, changed, 3, 6)
    dataset.refresh()
    assert dataset.read_video("train", "a").num_rows == 6
    (video,) = dataset.videos().to_pylist()
    assert (video["source_signature"], video["frames"]) == ("2", 6)


def test_a_compaction_under_way_disturbs_no_reader(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    uncompacted(storage)
    dataset = Dataset.open(str(tmp_path))
    compact_and_publish(storage)
    assert dataset.read_video("train", "a").num_rows == 10
    commit(storage, make_video("c"), 0, 10)
    compact_and_publish(storage)
    assert dataset.read_video("train", "a").num_rows == 10
    dataset.refresh()
    assert dataset.read_video("train", "c").num_rows == 10


@pytest.mark.parametrize("block_rows", [1, 3, 4, 10, 99])
@pytest.mark.parametrize("state", STATES)
def test_blocks_are_the_whole_video_cut(tmp_path: Path, state: Callable[[LocalStorage], None], block_rows: int) -> None:
    state(new_dataset(tmp_path))
    dataset = Dataset.open(str(tmp_path))
    whole = dataset.load("train", "a")
    blocks = dataset.load_blocks("train", "a", list, block_rows)
    assert [len(block) for block in blocks[:-1]] == [block_rows] * (len(blocks) - 1)
    assert [name for block in blocks for name in block.frame_names] == list(whole.frame_names)
    for part, points in whole.points.items():
        np.testing.assert_array_equal(np.concatenate([block.points[part] for block in blocks]), points)
    assert all((block.fps, block.annotation) == (whole.fps, whole.annotation) for block in blocks)


def test_blocks_begin_anew_when_a_compaction_removes_what_they_come_from(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    uncompacted(storage)
    dataset = Dataset.open(str(tmp_path))
    calls: list[int] = []

    def count(blocks: Iterator[VideoLandmarks]) -> int:
        calls.append(0)
        for block in blocks:
            if not calls[0]:
                compact_and_publish(storage)
            calls[-1] += len(block)
        return calls[-1]

    assert dataset.load_blocks("train", "a", count, 2) == 10
    assert len(calls) == 2
    assert calls[0] < 10


def test_a_status_that_there_is_none_of_is_refused(tmp_path: Path) -> None:
    commit(new_dataset(tmp_path), PLAIN, 0, 4)
    rows = Dataset.open(str(tmp_path)).read_video("dev", "b")
    rows = rows.set_column(rows.column_names.index("status"), "status", pa.array(["ok", "fine", "ok", "ok"]))
    with pytest.raises(ValueError, match="'fine' is not a status"):
        from_rows(LAYOUT, "dev", "b", rows)


def test_a_missing_file_of_the_caller_is_not_taken_for_a_change_of_the_dataset(tmp_path: Path) -> None:
    uncompacted(new_dataset(tmp_path))
    calls: list[int] = []

    def fail(blocks: Iterator[VideoLandmarks]) -> None:
        calls.append(len(next(blocks)))
        (tmp_path / "missing.csv").read_text()

    with pytest.raises(FileNotFoundError, match=r"missing\.csv"):
        Dataset.open(str(tmp_path)).load_blocks("train", "a", fail)
    assert calls == [10]


def test_blocks_are_right_when_the_caller_looks_at_the_dataset_anew_before_the_first(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    uncompacted(storage)
    dataset = Dataset.open(str(tmp_path))

    def count(blocks: Iterator[VideoLandmarks]) -> int:
        if not (tmp_path / "data").exists():
            compact_and_publish(storage)
        dataset.refresh()
        return sum(map(len, blocks))

    assert dataset.load_blocks("train", "a", count, 4) == 10


@pytest.mark.parametrize("block_rows", [0, -1])
def test_a_block_has_at_least_one_row(tmp_path: Path, block_rows: int) -> None:
    uncompacted(new_dataset(tmp_path))
    with pytest.raises(ValueError, match=f"block_rows={block_rows}"):
        Dataset.open(str(tmp_path)).load_blocks("train", "a", list, block_rows)


def test_rows_that_no_file_has_are_the_fault_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compacted(new_dataset(tmp_path))
    dataset = Dataset.open(str(tmp_path))
    video = dict(dataset._index.find(("train", "a")) or {}, frames=4_000_000)
    monkeypatch.setattr(dataset._index, "find", lambda key: video)
    for read in (dataset.load, lambda split, name: dataset.load_blocks(split, name, list)):
        with pytest.raises(OutputError, match=r"videos\.parquet has a wrong place .*--repair"):
            read("train", "a")


def test_a_frame_name_longer_than_any_path_is_damage(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    commit(storage, PLAIN, 0, 4)
    rows = Dataset.open(str(tmp_path)).read_video("dev", "b")
    names = pa.array(["x", "y" * 4_097, "z", "z"])
    rows = rows.set_column(rows.column_names.index("frame_name"), "frame_name", names)
    with pytest.raises(DamagedFileError, match="4,097 bytes"):
        rows_module._fitting(rows, landmark_schema(LAYOUT), "file")


def test_an_unknown_video_is_told(tmp_path: Path) -> None:
    new_dataset(tmp_path)
    with pytest.raises(KeyError, match="no video 'x' in the split 'train'"):
        Dataset.open(str(tmp_path)).read_video("train", "x")


def test_a_damaged_file_is_named_with_a_way_out(tmp_path: Path) -> None:
    storage = new_dataset(tmp_path)
    compacted(storage)
    name = next(file.name for file in read_manifest(storage, IDENTITY).files if file.split == "train")
    flip(tmp_path / name, "body_y", 0)
    with pytest.raises(OutputError, match="Delete that file") as caught:
        Dataset.open(str(tmp_path)).read_video("train", "a")
    assert name in str(caught.value)


def test_a_folder_that_is_no_dataset_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not a dataset"):
        Dataset.open(str(tmp_path))


def test_a_video_is_arrays_with_its_annotations(tmp_path: Path) -> None:
    half_compacted(new_dataset(tmp_path))
    video = phoenix_ray.open(str(tmp_path)).load("train", "a")
    truth = make_batch(ANNOTATED, 0, 10)
    for name, points in truth.points.items():
        assert np.array_equal(video.points[name], points, equal_nan=True)
    assert np.array_equal(video.scores["body"], truth.scores["body"])
    assert video.array().shape == (10, 3, 3)
    assert video.present("hand").tolist() == [frame % 3 != 0 for frame in range(10)]
    assert (video.fps, len(video), video.frame_names[3]) == (25.0, 10, "images0003.png")
    assert video.annotation == {"gloss": "HEUTE", "signer": "Signer01", "camera": "left"}


def test_arrays_hold_the_coordinates_that_all_chosen_parts_have() -> None:
    flat = zoo_video(COCO_WHOLEBODY_133)
    assert flat.array().shape == (9, 133, 2)
    assert np.array_equal(flat.array("feet"), flat.points["feet"][:, :, :2], equal_nan=True)
    assert flat.array(["pose", "feet"], ("x", "confidence")).shape == (9, 23, 2)
    with pytest.raises(ValueError, match="pose has no axis 'z': it has x, y, confidence"):
        flat.array("pose", ("x", "y", "z"))
    mixed = zoo_video(Layout("mixed", (BLAZEPOSE.part("pose"), COCO_WHOLEBODY_133.part("feet"))))
    assert (mixed.array().shape, mixed.array("pose").shape) == ((9, 39, 2), (9, 33, 3))


@pytest.fixture
def signed(tmp_path: Path) -> Dataset:
    """Four videos, one of them not compacted."""
    storage = new_dataset(tmp_path)
    for video in (
        make_video("a", gloss="HEUTE REGEN", signer="Signer01"),
        make_video("b", gloss="MORGEN REGENBOGEN", signer="Signer02", frames=4),
        make_video("c", split="dev", gloss="cl-KOMMEN+ REGEN", signer="Signer01"),
    ):
        commit(storage, video, 0, video.frame_count)
    compact_and_publish(storage)
    commit(storage, make_video("d", split="test"), 0, 10)
    return Dataset.open(str(tmp_path))


@pytest.mark.parametrize(
    ("chosen", "videos"),
    [
        ({"split": "train"}, "ab"),
        ({"split": ["dev", "test"]}, "cd"),
        ({"signer": "Signer01"}, "ac"),
        ({"signer": "Signer01", "split": "dev"}, "c"),
        ({"gloss": "REGEN"}, "ac"),
        ({"gloss": ("MORGEN", "cl-KOMMEN+")}, "bc"),
        ({"where": pc.field("frames") < 10}, "b"),
        ({"split": "train", "where": pc.field("hand_rate") > 0.9}, ""),
        ({}, "abcd"),
    ],
)
def test_videos_are_chosen_by_split_signer_and_gloss(signed: Dataset, chosen: dict[str, Any], videos: str) -> None:
    some = signed.select(**chosen)
    everything, keys = list(signed.keys()), list(some.keys())
    assert sorted(video_id for _, video_id in keys) == list(videos)
    assert len(some) == len(videos)
    for key in everything:
        if key in keys:
            assert len(some.load(*key))
        else:
            with pytest.raises(KeyError):
                some.load(*key)


def test_choices_add_up_and_outlive_a_refresh(signed: Dataset) -> None:
    some = signed.select(split="train").select(gloss="REGEN", parts=["hand"])
    some.refresh()
    assert list(some.keys()) == [("train", "a")]
    assert [part.name for part in some.layout.parts] == ["hand"]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"split": "trian"}, "has the split 'trian'. There are: dev, test, train. Did you mean 'train'?"),
        ({"signer": "Signer3"}, "Signer3"),
        ({"gloss": "REG"}, "REG"),
    ],
)
def test_a_choice_that_nothing_fits_is_told(signed: Dataset, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        signed.select(**chosen)


def test_only_the_columns_of_chosen_parts_are_read(signed: Dataset, tmp_path: Path) -> None:
    hands = signed.select(parts=["hand"])
    assert not [name for name in hands.read_video("train", "a").column_names if name.startswith("body")]
    name = next(file.name for file in read_manifest(LocalStorage(str(tmp_path)), IDENTITY).files if file.videos == 2)
    flip(tmp_path / name, "body_y", 0)
    assert set(hands.load("train", "a").points) == {"hand"}
    with pytest.raises(OutputError):
        signed.load("train", "a")
    with pytest.raises(KeyError, match="no part 'foot'"):
        signed.select(parts=["foot"])


def test_a_pickled_dataset_reads_the_same_videos(signed: Dataset, tmp_path: Path) -> None:
    some = signed.select(split="train")
    some.load("train", "a")
    copy = pickle.loads(pickle.dumps(some))
    commit(LocalStorage(str(tmp_path)), make_video("e"), 0, 10)
    assert list(copy.keys()) == list(some.keys())
    assert copy.read_video("train", "a").equals(some.read_video("train", "a"))


def test_a_forked_process_reads_on(signed: Dataset) -> None:
    signed.load("train", "a")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        digests = pool.starmap(_digest_one, [(signed, key) for key in list(signed.keys()) * 4])
    assert add_digests(digests[:4]) == signed.digest()
    assert digests[:4] * 4 == digests


def _digest_one(dataset: Dataset, key: tuple[str, str]) -> int:
    return tally_rows(LAYOUT, dataset.read_video(*key)).digest


def test_a_look_up_among_many_videos_finds_each_and_nothing_else() -> None:
    keys = [(split, f"{number}ä") for split in ("b", "a") for number in (10, 9, 100, 1)]
    entries = [
        VideoEntry(**recorded_fields(make_video(key[1], key[0], frames=1)), first_row=row, tally=Tally())
        for row, key in enumerate(keys)
    ]
    index = VideoIndex(to_video_table(LAYOUT, entries, "file"))
    for row, key in enumerate(keys):
        found = index.find(key)
        assert found is not None
        assert found["first_row"] == row
    assert [index.find(key) for key in (("a", "0"), ("a", "99ä"), ("c", "1ä"), ("", ""))] == [None] * 4
    assert VideoIndex(to_video_table(LAYOUT, [], None)).find(("a", "1ä")) is None
