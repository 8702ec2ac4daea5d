from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_ray.dataset.reader import Dataset
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import MissingExtraError
from phoenix_ray.prepare import Compose, FillGaps, ImageHeights, Mirror, ShoulderWidth, TakePoints, collate
from phoenix_ray.prepare.batch import torch_batch
from tests.exports.made_up import write_dataset
from tests.prepare.made_up import make_video, prepare, videos


@given(several=st.lists(videos(), min_size=1, max_size=4))
@settings(max_examples=20)
def test_splitting_a_batch_gives_the_videos_back(several: list[VideoLandmarks]) -> None:
    given_ = [prepare(video) for video in several]
    batch = collate(given_)
    assert batch.points.shape[:2] == batch.mask.shape[:2] == (len(several), max(len(video) for video in several))
    assert not batch.points[~batch.mask].any()
    for one, points in zip(given_, batch.split(), strict=True):
        assert np.array_equal(points, one.points, equal_nan=True)
    assert batch.lengths.tolist() == [len(video) for video in several]


def test_half_precision_is_half_the_bytes() -> None:
    videos_ = [prepare(make_video(3))]
    half = collate(videos_, "float16")
    assert half.points.dtype == np.float16
    np.testing.assert_allclose(half.points, collate(videos_).points, atol=1e-3)


def test_a_batch_of_tensors_holds_the_same() -> None:
    torch = pytest.importorskip("torch")
    videos_ = [prepare(make_video(3)), prepare(make_video(5, {"face": [1]}))]
    batch = torch_batch(videos_)
    assert torch.equal(batch["points"], torch.from_numpy(collate(videos_).points))
    assert batch["lengths"].tolist() == [3, 5]
    assert batch["keys"] == (("train", "video-0"), ("train", "video-0"))


def test_a_loader_of_torch_takes_transforms_and_batches(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from phoenix_ray.training import LandmarkDataset

    videos_ = [replace(make_video(3 + number, seed=number), video_id=str(number)) for number in range(3)]
    dataset = Dataset.open(write_dataset(tmp_path, tuple(videos_)))
    transform = Compose(TakePoints("holistic_178"), FillGaps(), ImageHeights(), ShoulderWidth(), Mirror())
    loader = torch.utils.data.DataLoader(LandmarkDataset(dataset, transform), batch_size=3, collate_fn=torch_batch)
    (batch,) = loader
    assert batch["points"].shape == (3, 5, 178, 2)
    assert np.array_equal(batch["points"].numpy(), collate([transform(video) for video in videos_]).points)


def test_videos_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="same points and axes"):
        collate([prepare(make_video()), prepare(make_video(), axes="xy")])
    with pytest.raises(ValueError, match="no video"):
        collate([])


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"phoenix-ray\[torch\]"):
        torch_batch([prepare(make_video())])
