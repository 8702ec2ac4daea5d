from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch.utils.data import DataLoader

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts import Layout
from phoenix_ray.training import LandmarkDataset, LandmarkStream, pad
from phoenix_ray.training.datasets import Place, order_videos, rank_from_environment, take_share
from tests.dataset.made_up import commit, commit_truncated, make_video, new_dataset
from tests.zoo import ZOO, layout_id, zoo_video

VIDEOS = st.integers(0, 200)
COUNTS = st.integers(1, 7)


@given(VIDEOS, COUNTS, COUNTS, st.none() | st.integers(0, 9), st.integers(0, 3))
def test_all_workers_of_all_ranks_read_each_video_once(
    videos: int, ranks: int, workers: int, seed: int | None, epoch: int
) -> None:
    order = order_videos(videos, seed, epoch)
    shares = [
        take_share(order, Place(rank, ranks), Place(worker, workers))
        for rank in range(ranks)
        for worker in range(workers)
    ]
    assert sorted(np.concatenate(shares).tolist()) == list(range(videos))
    assert max(map(len, shares)) - min(map(len, shares)) <= 2


@given(VIDEOS, COUNTS, COUNTS)
def test_equal_ranks_have_workers_with_equal_shares(videos: int, ranks: int, workers: int) -> None:
    order = order_videos(videos, 1, 0)
    sizes = [
        [
            len(take_share(order, Place(rank, ranks), Place(worker, workers), equal_ranks=True))
            for worker in range(workers)
        ]
        for rank in range(ranks)
    ]
    assert all(shares == sizes[0] for shares in sizes)
    assert videos - sum(map(sum, sizes)) < ranks


def test_the_order_changes_with_the_epoch_and_is_the_same_everywhere() -> None:
    orders = {epoch: order_videos(50, 7, epoch).tolist() for epoch in (0, 1)}
    assert orders[0] != orders[1]
    assert orders[0] == order_videos(50, 7, 0).tolist()
    assert order_videos(5, None, 3).tolist() == [0, 1, 2, 3, 4]


def test_a_rank_is_found_in_the_environment() -> None:
    assert rank_from_environment({"RANK": "2", "WORLD_SIZE": "4"}) == Place(2, 4)
    assert rank_from_environment({"RANK": "2"}) == Place(0, 1)


@pytest.mark.parametrize(("index", "count"), [(1, 1), (-1, 2), (0, 0)])
def test_a_place_that_does_not_exist_is_refused(index: int, count: int) -> None:
    with pytest.raises(ValueError, match="count from 0"):
        Place(index, count)


IDS = sorted([f"{number:02}" for number in range(11)] + ["open"])


def name_of(video: VideoLandmarks) -> str:
    return video.video_id


def test_videos_are_found_by_index(landmarks: Dataset) -> None:
    videos = LandmarkDataset(landmarks)
    assert len(videos) == 12
    assert [videos[index].video_id for index in range(12)] == IDS
    assert videos[-1].video_id == "open"
    with pytest.raises(IndexError):
        videos[12]


@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("spawn", 1)])
def test_a_loader_gives_each_video_once_whatever_starts_its_workers(
    landmarks: Dataset, context: str, workers: int
) -> None:
    landmarks.load("train", "03")
    collate = partial(pad, axes=("x", "y"))
    loader = DataLoader(
        LandmarkDataset(landmarks),
        batch_size=5,
        shuffle=True,
        num_workers=workers,
        collate_fn=collate,
        multiprocessing_context=context,
    )
    seen = {}
    for batch in loader:
        for row, key in enumerate(batch.keys):
            seen[key] = batch.points[row, : batch.lengths[row]].numpy()
    assert sorted(video_id for _, video_id in seen) == IDS
    for key, points in seen.items():
        assert np.array_equal(points, np.nan_to_num(landmarks.load(*key).array(axes=("x", "y"))))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_stream_gives_each_video_once_to_the_workers_of_all_ranks(landmarks: Dataset, workers: int) -> None:
    seen: list[str] = []
    for rank in range(2):
        stream = LandmarkStream(landmarks, name_of, seed=3, rank=Place(rank, 2))
        seen += DataLoader(stream, batch_size=None, num_workers=workers)
    assert sorted(seen) == IDS


def test_a_stream_without_a_seed_comes_as_it_is_stored(landmarks: Dataset) -> None:
    assert list(LandmarkStream(landmarks, name_of)) == IDS


def test_workers_that_persist_see_the_next_epoch(landmarks: Dataset) -> None:
    stream = LandmarkStream(landmarks, name_of, seed=5)
    loader = DataLoader(stream, batch_size=None, num_workers=1, persistent_workers=True)
    orders = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        orders.append(list(loader))
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]


def test_ranks_come_from_the_environment(landmarks: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = LandmarkStream(landmarks, name_of)
    seen: list[str] = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "3")
        seen += stream
        assert len(seen) == 4 * (rank + 1)
    assert seen == IDS


def test_a_pickled_stream_gives_the_same_videos(landmarks: Dataset) -> None:
    stream = LandmarkStream(landmarks, name_of, seed=1)
    assert list(pickle.loads(pickle.dumps(stream))) == list(stream)


def test_without_torch_the_extra_is_named(tmp_path: Path) -> None:
    program = (
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "import phoenix_ray.training"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "MissingExtraError" in done.stderr
    assert "pip install 'phoenix-ray[torch]'" in done.stderr


@pytest.fixture
def truncated(tmp_path: Path) -> Dataset:
    """Two videos, one of which lacks half of its frames."""
    storage = new_dataset(tmp_path)
    commit(storage, make_video("whole"), 0, 10)
    commit_truncated(storage, make_video("cut"), 0, 10, range(5, 10))
    return Dataset.open(str(tmp_path))


@pytest.mark.parametrize("kind", [LandmarkDataset, LandmarkStream])
def test_videos_that_lack_too_many_frames_are_left_out(truncated: Dataset, kind: Any) -> None:
    with pytest.warns(UserWarning, match=r"1 video partly unreadable: train/cut \(5 of 10 frames\)\. They are i"):
        both = kind(truncated, name_of)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        chosen = {most: list(iterate(kind(truncated, name_of, max_unreadable=most))) for most in (1, 0.5, 0.4)}
    assert chosen == {1: ["cut", "whole"], 0.5: ["cut", "whole"], 0.4: ["whole"]}
    assert list(iterate(both)) == ["cut", "whole"]


def iterate(videos: Any) -> Iterator[str]:
    return iter(videos) if isinstance(videos, LandmarkStream) else (videos[index] for index in range(len(videos)))


def test_a_batch_holds_each_video_up_to_its_end_and_zeros_elsewhere(landmarks: Dataset) -> None:
    videos = [landmarks.load("train", video_id) for video_id in ("04", "00", "10")]
    batch = pad(videos, parts=("hand", "body"), axes=("x", "y"))
    assert batch.keys == (("train", "04"), ("train", "00"), ("train", "10"))
    assert batch.lengths.tolist() == [7, 3, 13]
    assert batch.points.shape == (3, 13, 5, 2)
    assert batch.scores.shape == (3, 13, 1)
    assert batch.inside().sum(dim=1).tolist() == [7, 3, 13]
    for row, video in enumerate(videos):
        values = video.array(("hand", "body"), ("x", "y"))
        assert np.array_equal(batch.found[row, : len(video)].numpy(), ~np.isnan(values[:, :, 0]))
        assert np.array_equal(batch.points[row, : len(video)].numpy(), np.nan_to_num(values))
        assert np.array_equal(batch.scores[row, : len(video), 0].numpy(), video.scores["body"])
        assert not batch.points[row, len(video) :].any()
        assert not batch.found[row, len(video) :].any()
    assert [annotation["gloss"] for annotation in batch.annotations] == ["GLOSS4", "GLOSS0", "GLOSS10"]


def test_a_missing_hand_is_zero_and_not_found(landmarks: Dataset) -> None:
    batch = pad([landmarks.load("train", "00")], parts=("hand",), axes=("x", "y"))
    assert batch.found[0].tolist() == [[False, False], [True, True], [True, True]]
    assert batch.points[0, 0].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("layout", ZOO, ids=layout_id)
def test_a_layout_without_depth_makes_batches_of_x_and_y(layout: Layout) -> None:
    videos = [zoo_video(layout), zoo_video(layout, frames=3)]
    batch = pad(videos)
    count = sum(len(part.points) for part in layout.parts)
    assert batch.points.shape == (2, 9, count, 2)
    values = videos[0].array()
    assert values.shape == (9, count, 2)
    assert np.array_equal(batch.found[0].numpy(), ~np.isnan(values[:, :, 0]))
    assert np.array_equal(batch.points[0].numpy(), np.nan_to_num(values))


def test_points_that_are_missing_alone_are_zero_in_every_axis_and_not_found() -> None:
    video = zoo_video(ZOO[0])
    batch = pad([video], axes=("confidence", "y", "x"))
    missing = np.isnan(video.points["pose"][:, :, 0])
    assert (missing & ~np.isnan(video.points["pose"][:, :, 2])).any()
    assert np.array_equal(batch.found[0].numpy(), ~missing)
    assert not batch.points[0].numpy()[missing].any()
    assert np.array_equal(batch.points[0].numpy()[~missing], video.points["pose"][~missing][:, ::-1])


def test_a_batch_moves_between_devices_as_a_whole(landmarks: Dataset) -> None:
    batch = pad([landmarks.load("train", "00")]).to("meta")
    tensors = (batch.points, batch.found, batch.scores, batch.lengths)
    assert {tensor.device for tensor in tensors} == {torch.device("meta")}


def test_a_part_or_an_axis_that_does_not_exist_is_reported(landmarks: Dataset) -> None:
    videos = [landmarks.load("train", "00")]
    with pytest.raises(KeyError, match="no part 'nose'"):
        pad(videos, parts=("nose",))
    with pytest.raises(ValueError, match="'w'"):
        pad(videos, axes=("w",))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_open_dataset_is_a_dataset_of_torch_too(landmarks: Dataset, workers: int) -> None:
    loader = DataLoader(landmarks, batch_size=4, shuffle=True, num_workers=workers, collate_fn=partial(pad, axes="xy"))
    assert sorted(key for batch in loader for key in batch.keys) == list(landmarks.keys())
