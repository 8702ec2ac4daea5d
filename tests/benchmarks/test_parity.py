"""The command, with an engine that stands in for MediaPipe: both find what the synthetic model finds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from benchmarks import parity
from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import EXIT_SOURCE, EXIT_USAGE, MissingExtraError, SourceError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import LandmarkBatch, PoseModel
from phoenix_ray.models.synthetic import SyntheticModel, SyntheticTracker


class Shifted(SyntheticModel):
    """Finds everything a tenth of the picture further to the right."""

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        batch = super().estimate(images)
        return LandmarkBatch({part: points + np.float32(0.1) for part, points in batch.points.items()}, batch.scores)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Nine frames of 40x30, of which the fourth is damaged."""
    folder = tmp_path / "videos" / "one"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for index in range(9):
        cv2.imwrite(str(folder / f"{index}.png"), random.integers(0, 256, (30, 40, 3), np.uint8))
    (folder / "3.png").write_bytes(b"")
    return folder.parent


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> dict[str, SyntheticModel]:
    """Engine -> model of the layout that MediaPipe has."""
    models = {"mediapipe": SyntheticModel(4), "litert": SyntheticModel(4)}
    monkeypatch.setattr(registry, "create", lambda settings: models[settings.engine])
    return models


def run(*words: str) -> Result:
    return CliRunner().invoke(parity.main, list(words))


def test_engines_that_agree_are_at_parity(video: Path, engines: dict[str, SyntheticModel], tmp_path: Path) -> None:
    result = run(str(video), "--json", str(tmp_path / "report.json"))
    assert result.exit_code == 0, result.output
    assert "| only mediapipe | only litert |" in result.stdout
    assert "all/one: 9 frames" in result.stderr
    tree = json.loads((tmp_path / "report.json").read_text())
    assert tree["failures"] == []
    assert [part["frames"] for part in tree["parts"]] == [8] * 5, "the damaged frame is left out"


def test_an_engine_that_is_off_leaves_with_1_and_says_where(video: Path, engines: dict[str, SyntheticModel]) -> None:
    engines["litert"] = Shifted(4)
    result = run(str(video))
    assert result.exit_code == 1
    assert "face: mean 5.0000 px; at most 0.02 px is parity." in result.stderr
    assert "| face " in result.stdout


def test_every_third_frame_of_each_source(video: Path, engines: dict[str, SyntheticModel], tmp_path: Path) -> None:
    run(str(video), str(video / "one"), "--every", "3", "--json", str(tmp_path / "report.json"))
    tree = json.loads((tmp_path / "report.json").read_text())
    assert tree["parts"][0]["frames"] == 2 * 2, "frames 0 and 6; 3 is damaged"


def test_without_a_source_it_takes_the_sample(
    engines: dict[str, SyntheticModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SourceSettings] = []

    def nothing(sources: list[SourceSettings], every: int) -> Iterator[parity.VideoFrame]:
        asked.extend(sources)
        return iter(())

    monkeypatch.setattr(parity, "list_frames", nothing)
    result = run()
    assert [settings.kind for settings in asked] == ["sample"]
    assert result.exit_code == EXIT_SOURCE
    assert "There is no readable frame" in result.stderr


def test_a_missing_source_is_a_message(engines: dict[str, SyntheticModel], tmp_path: Path) -> None:
    result = run(str(tmp_path / "absent"))
    assert result.exit_code == EXIT_SOURCE
    assert "absent" in result.stderr


def test_settings_of_the_command_line_go_to_both(
    video: Path, engines: dict[str, SyntheticModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ModelSettings] = []

    def create(settings: ModelSettings) -> PoseModel:
        asked.append(settings)
        return engines[settings.engine]

    monkeypatch.setattr(registry, "create", create)
    assert run(str(video), "--set", "model.name=blazepose", "--set", "model.complexity=0").exit_code == 0
    assert [(one.engine, one.name, one.complexity) for one in asked] == [
        ("mediapipe", "blazepose", 0),
        ("litert", "blazepose", 0),
    ]


def test_an_unknown_engine_is_a_message(video: Path) -> None:
    result = run(str(video), "--engine", "lite")
    assert result.exit_code == EXIT_USAGE
    assert "'litert'" in result.stderr


def test_without_mediapipe_the_extra_is_named(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(settings: ModelSettings) -> SyntheticModel:
        raise MissingExtraError(f"model.engine={settings.engine}", "mediapipe")

    monkeypatch.setattr(registry, "create", refuse)
    result = run(str(video))
    assert result.exit_code == EXIT_USAGE
    assert "model.engine=mediapipe needs the extra [mediapipe]" in result.stderr


def test_the_reference_runs_with_the_settings_of_the_engine(
    engines: dict[str, SyntheticModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ModelSettings] = []
    create = registry.create

    def remember(settings: ModelSettings) -> object:
        asked.append(settings)
        return create(settings)

    monkeypatch.setattr(registry, "create", remember)
    engines["torch"] = engines["litert"]
    settings = ModelSettings(engine="torch", precision="fp16", face_points=478, heatmap_kernel=7, complexity=2)
    with pytest.raises(SourceError):
        parity.compare_engines(settings, iter(()))
    assert [one.engine for one in asked] == ["mediapipe", "torch"]
    assert asked[0] == ModelSettings(engine="mediapipe", face_points=478, heatmap_kernel=7, complexity=2)


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


def frames() -> Iterator[parity.VideoFrame]:
    numbers = np.random.default_rng(0)
    for video, count in FRAMES.items():
        for index in range(count):
            yield parity.VideoFrame(video, index, numbers.integers(0, 256, (24, 16, 3), np.uint8))


def test_in_tracking_mode_the_first_frame_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(settings: ModelSettings) -> PoseModel:
        return (SyntheticTracker if settings.engine == "mediapipe" else Forgetful)(8)

    monkeypatch.setattr(registry, "create", create)
    report = parity.compare_engines(ModelSettings(mode="tracking", engine="litert"), frames())
    assert report.first_different == {"train/a": None, "train/b": 2}
    assert report.first_differences() == [
        "train/b: frame 2 is the first that differs",
        "1 video without any difference",
    ]
    assert report.to_json()["first_different"] == {"train/a": None, "train/b": 2}
    assert {part.part for part in report.parts} == {part.name for part in SyntheticTracker.layout.parts}


def test_frames_of_a_tracked_video_cannot_be_left_out(video: Path) -> None:
    result = run(str(video), "--set", "model.mode=tracking", "--every", "2")
    assert result.exit_code == EXIT_USAGE
    assert "--every leaves frames out" in result.stderr
