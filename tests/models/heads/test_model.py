"""Models with heads: frames to rows, in both modes, with the synthetic model and hand-made networks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.agreement import same_bits
from phoenix_ray.models.base import OverlappingModel, TrackingModel
from phoenix_ray.models.synthetic import SyntheticEntry

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from tests.models.heads.made_up import CLASSES, SIZE, emotion_head

WIDTH = len(CLASSES) + 3


def pictures(count: int, seed: int = 5) -> list[np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]]:
    random = np.random.default_rng(seed)
    sizes = random.integers(40, 90, (count, 2))
    return [random.integers(0, 256, (height, width, 3), np.uint8) for height, width in sizes.tolist()]


def settings(*heads: Path, mode: str = "static", batch_size: int = 8) -> ModelSettings:
    tree = {"name": "synthetic", "heads": tuple(map(str, heads)), "mode": mode, "batch_size": batch_size}
    return ModelSettings.model_validate(tree)


def test_heads_look_at_the_frames_with_their_part_and_change_no_landmark(tmp_path: Path) -> None:
    images = pictures(40)
    plain = registry.create(ModelSettings(name="synthetic")).estimate(images)
    model = registry.create(settings(emotion_head(tmp_path)))
    batch = model.estimate(images)
    rows = batch.heads["emotion"]
    present = batch.present("face")
    assert rows.shape == (40, WIDTH)
    assert 0 < present.sum() < 40
    assert np.array_equal(~np.isnan(rows).any(axis=1), present)
    assert np.array_equal(np.isnan(rows).all(axis=1), ~present)
    assert (np.abs(rows[present, -3:-1]) <= 1).all(), "valence and arousal are clamped"
    assert (np.abs(rows[present, -3:-1]) == 1).any(), "some of them would be outside"
    assert ((rows[present, -1] > 0) & (rows[present, -1] <= 1)).all()
    for part, points in plain.points.items():
        assert same_bits(points, batch.points[part]).all()
    model.close()


class Ahead:
    """The synthetic model, which begins batches ahead."""

    def __init__(self) -> None:
        self._model = registry.create(ModelSettings(name="synthetic"))
        self.layout, self.batch_size = self._model.layout, self._model.batch_size
        self.estimate, self.close = self._model.estimate, self._model.close

    def begin(self, images: Sequence[NDArray[np.uint8]]) -> Any:
        pending = Mock()
        pending.result = lambda: self._model.estimate(images)
        self.begun = pending
        return pending


def test_a_model_that_begins_batches_ahead_does_so_with_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(12)
    with_heads = settings(emotion_head(tmp_path))
    expected = registry.create(with_heads).estimate(images)
    assert not isinstance(registry.create(with_heads), OverlappingModel)
    inner = Ahead()
    monkeypatch.setattr(SyntheticEntry, "create", lambda self, settings: inner)
    model = registry.create(with_heads)
    assert isinstance(model, OverlappingModel)
    pending = model.begin(images)
    batch = pending.result()
    np.testing.assert_array_equal(batch.heads["emotion"], expected.heads["emotion"])
    pending.abandon()
    inner.begun.abandon.assert_called_once_with()


@pytest.mark.parametrize("size", [1, 3, 16, 40])
def test_rows_are_the_same_bits_whatever_frames_are_in_a_batch(tmp_path: Path, size: int) -> None:
    images = pictures(40)
    model = registry.create(settings(emotion_head(tmp_path)))
    together = model.estimate(images).heads["emotion"]
    cut = [model.estimate(images[first : first + size]).heads["emotion"] for first in range(0, 40, size)]
    assert same_bits(np.concatenate(cut), together).all()


def test_a_tracking_model_with_heads_tracks_with_the_states_of_the_model_alone(tmp_path: Path) -> None:
    plain = registry.create(ModelSettings(name="synthetic", mode="tracking"))
    model = registry.create(settings(emotion_head(tmp_path), mode="tracking"))
    assert isinstance(plain, TrackingModel)
    assert isinstance(model, TrackingModel)
    assert model.state_size == plain.state_size
    states = np.full((2, plain.state_size), np.nan, np.float32)
    expected_states = states
    seen = 0
    for step in range(6):
        images = pictures(2, step)
        batch, states = model.track(images, states)
        expected, expected_states = plain.track(images, expected_states)
        assert same_bits(states, expected_states).all()
        assert same_bits(batch.points["face"], expected.points["face"]).all()
        assert np.array_equal(~np.isnan(batch.heads["emotion"][:, 0]), expected.present("face"))
        seen += int(expected.present("face").sum())
    assert seen > 0


def test_a_static_model_with_heads_does_not_pass_for_a_tracking_model(tmp_path: Path) -> None:
    assert not isinstance(registry.create(settings(emotion_head(tmp_path))), TrackingModel)


def test_several_heads_may_look_at_unlike_parts(tmp_path: Path) -> None:
    face = emotion_head(tmp_path, "mood")
    hand = emotion_head(tmp_path, "grip", head="grip", crop={"part": "left_hand"})
    batch = registry.create(settings(face, hand)).estimate(pictures(20))
    for head, part in (("emotion", "face"), ("grip", "left_hand")):
        assert np.array_equal(~np.isnan(batch.heads[head][:, 0]), batch.present(part))


def test_no_frames_give_no_rows(tmp_path: Path) -> None:
    assert registry.create(settings(emotion_head(tmp_path))).estimate([]).heads["emotion"].shape == (0, WIDTH)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"decoder": {"classes": list("abcde"), "logits": {"output": "expression"}}}, "has 4 numbers, but 5"),
        ({"input": {"size": [SIZE * 2, SIZE * 2]}}, "correct input.size, input.layout or input.channel_order"),
        (
            {"input": {"size": [SIZE, SIZE], "channel_order": "grey"}},
            "correct input.size, input.layout or input.channel_order",
        ),
        ({"input": {"size": [SIZE, SIZE], "name": "picture"}}, "has no input 'picture'"),
    ],
)
def test_a_manifest_that_does_not_fit_its_network_is_refused_before_the_first_frame(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        registry.create(settings(emotion_head(tmp_path, **fields)))


def test_a_file_that_holds_no_network_is_refused(tmp_path: Path) -> None:
    for suffix in (".onnx", ".tflite"):
        file = tmp_path / f"broken{suffix}"
        file.write_bytes(b"no network at all")
        weights = {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        manifest = emotion_head(tmp_path, weights=weights)
        with pytest.raises(ModelError, match="cannot be loaded"):
            registry.create(settings(manifest))
