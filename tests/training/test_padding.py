from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.training import pad


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
