"""Engine against engine without MediaPipe: synthetic models stand in for both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from benchmarks.parity import VideoFrame, compare_engines, main
from phoenix_ray.config import ModelSettings
from phoenix_ray.errors import ConfigError
from phoenix_ray.models import registry
from phoenix_ray.models.base import LandmarkBatch, PoseModel
from phoenix_ray.models.synthetic import SyntheticTracker

FRAMES = {"train/a": 5, "train/b": 4}


class Forgetful(SyntheticTracker):
    """Forgets its second video after two frames."""

    videos = 0
    frame = 0

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        self.frame = 0 if np.isnan(states).all() else self.frame + 1
        self.videos += self.frame == 0
        forgets = self.videos == 2 and self.frame == 2
        return super().track(images, np.full_like(states, np.nan) if forgets else states)


def frames() -> Iterator[VideoFrame]:
    numbers = np.random.default_rng(0)
    for video, count in FRAMES.items():
        for index in range(count):
            yield VideoFrame(video, index, numbers.integers(0, 256, (24, 16, 3), np.uint8))


def test_in_tracking_mode_the_first_frame_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(settings: ModelSettings) -> PoseModel:
        return (SyntheticTracker if settings.engine == "mediapipe" else Forgetful)(8)

    monkeypatch.setattr(registry, "create", create)
    report = compare_engines(ModelSettings(mode="tracking", engine="litert"), frames())
    assert report.first_different == {"train/a": None, "train/b": 2}
    assert report.first_differences() == [
        "train/b: frame 2 is the first that differs",
        "1 video without any difference",
    ]
    assert report.to_json()["first_different"] == {"train/a": None, "train/b": 2}
    assert {part.part for part in report.parts} == {part.name for part in SyntheticTracker.layout.parts}


def test_frames_of_a_tracked_video_cannot_be_left_out() -> None:
    done = CliRunner().invoke(main, ["--set", "model.mode=tracking", "--every", "2"])
    assert done.exit_code == ConfigError.exit_code
    assert "--every leaves frames out" in done.output
