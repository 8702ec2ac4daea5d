from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.dataset import paths
from phoenix_ray.dataset.manifest import read_manifest
from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.storage import LocalStorage
from phoenix_ray.dataset.tally import total
from phoenix_ray.dataset.videos import tally_splits
from phoenix_ray.errors import OutputError
from tests.dataset.made_up import IDENTITY, LAYOUT, commit, make_batch, make_video, new_dataset
from tests.dataset.test_compaction import compact_and_publish, flip

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
    landmarks = dataset.read_landmarks("train", "a")
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
    tallies = tally_splits(LAYOUT, dataset.videos())
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
    assert dataset.read_video("train", "c").num_rows == 10


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
    with pytest.raises(OutputError, match="no dataset"):
        Dataset.open(str(tmp_path))
