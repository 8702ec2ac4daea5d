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
from phoenix_ray.prepare import Compose, FillGaps, ImageHeights, Mirror, ShoulderWidth, TakePoints, Vocabulary, collate
from phoenix_ray.prepare.examples import GLOSS_SPECIALS, WORD_SPECIALS, torch_batch
from tests.exports.made_up import write_dataset
from tests.prepare.made_up import make_video, prepare, videos

TEXTS = st.lists(st.text("ABÄß <>", max_size=20), max_size=6)


@given(texts=TEXTS, order=st.randoms())
def test_the_order_of_texts_does_not_matter(texts: list[str], order: object) -> None:
    vocabulary = Vocabulary.build(texts, GLOSS_SPECIALS)
    assert Vocabulary.build(sorted(texts), GLOSS_SPECIALS) == vocabulary
    assert len(set(vocabulary.tokens)) == len(vocabulary.tokens) == len(vocabulary.counts)


@given(texts=TEXTS)
def test_known_text_decodes_to_itself(texts: list[str]) -> None:
    vocabulary = Vocabulary.build(texts, WORD_SPECIALS)
    for text in texts:
        assert vocabulary.decode(vocabulary.encode(text)) == " ".join(text.split())


def test_frequent_tokens_come_first_and_equal_ones_by_code_point() -> None:
    vocabulary = Vocabulary.build(["REGEN NORD", "REGEN SUED", "NORD ÄNDERN"], GLOSS_SPECIALS)
    assert vocabulary.tokens == ("<blank>", "<pad>", "<unk>", "NORD", "REGEN", "SUED", "ÄNDERN")
    assert vocabulary.counts == (0, 0, 0, 2, 2, 1, 1)
    assert vocabulary.encode("REGEN SCHNEE") == [4, 2]


def test_rare_tokens_become_unknown() -> None:
    vocabulary = Vocabulary.build(["A A B"], WORD_SPECIALS, min_count=2)
    assert vocabulary.decode(vocabulary.encode("A B")) == "A <unk>"


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
