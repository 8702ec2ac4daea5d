"""Each engine against the true joints of the rendered figures: a guard against landmarks that are stable but wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.accuracy.suite import Image, judge, measure
from benchmarks.accuracy.true_joints import TrueJoints, read_images, read_truth
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry

# Median pixels of a 210x260 frame beyond which something is wrong; `python -m benchmarks accuracy` has the figures.
MOST_PIXELS = {"pose": 3.5, "left_hand": 3.0, "right_hand": 3.0, "face": 1.0}


@pytest.fixture(scope="module")
def videos() -> list[tuple[TrueJoints, list[Image]]]:
    """Return the frames of the demo's videos with their true joints."""
    return [(truth, read_images(truth)) for truth in read_truth() if truth.split]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "every"),
    [
        ({"engine": "litert"}, 8),
        ({"engine": "litert", "complexity": 2}, 12),
        ({"engine": "torch", "batch_size": 2}, 20),
    ],
    ids=str,
)
def test_landmarks_lie_near_the_true_joints(
    settings: dict[str, Any], every: int, videos: list[tuple[TrueJoints, list[Image]]]
) -> None:
    """Tries each `every`-th frame of every video."""
    if settings["engine"] == "torch":
        pytest.importorskip("torch")
    registry.ensure_ready(ModelSettings(**settings), print)
    model = registry.create(ModelSettings(**settings))
    try:
        some = [(replace(truth, positions=truth.positions[::every]), images[::every]) for truth, images in videos]
        measured, _ = measure(model, some)
    finally:
        model.close()
    parts = judge(video for video in measured if video.is_judged)
    assert set(parts) == set(MOST_PIXELS)
    for part, most in MOST_PIXELS.items():
        assert parts[part].found == 1, part
        assert parts[part].median <= most, part
