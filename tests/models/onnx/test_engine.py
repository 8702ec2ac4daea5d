from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.agreement import same_bits

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnx", reason="onnx is not installed")

from tests.models.onnx.made_up import rtmw_like


def test_frames_become_landmarks_of_the_layout_whatever_the_batch(tmp_path: Path) -> None:
    settings = ModelSettings(name=str(rtmw_like(tmp_path)), batch_size=4)
    model = registry.create(settings)
    random = np.random.default_rng(3)
    images = [random.integers(0, 256, (260, 210, 3), np.uint8) for _ in range(4)]
    together = model.estimate(images)
    assert model.layout.name == registry.facts(settings).layout.name == "coco-wholebody-133"
    for row, image in enumerate(images):
        alone = model.estimate([image])
        for part, points in alone.points.items():
            assert same_bits(points, together.points[part][row : row + 1]).all(), part
    assert together.present("face").all()
