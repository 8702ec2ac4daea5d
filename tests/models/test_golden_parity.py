"""Our landmarks against those that MediaPipe 0.10.21 gave for the same frames (`tests.golden.make_golden`)."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.parity_report import compare
from phoenix_ray import layouts
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic.litert_engine.engine import HolisticLitert
from tests.golden import GOLDEN, GOLDEN_COMPLEXITY, PARTS
from tests.golden.astronaut import LEFT_HAND, NOBODY, RIGHT_HAND, VIEWS, render
from tests.models.conftest import Image

SIZES = np.array([(view.width, view.height) for view in VIEWS])


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[np.float32]]:
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def frames(astronaut: Image) -> list[Image]:
    return [render(astronaut, view) for view in VIEWS]


def recorded(golden: dict[str, NDArray[np.float32]], face_points: int) -> LandmarkBatch:
    return LandmarkBatch({part: golden[part] for part in PARTS} | {"face": golden[f"face_{face_points}"]}, scores={})


def test_frames_are_those_that_mediapipe_saw(golden: dict[str, NDArray[np.float32]], frames: list[Image]) -> None:
    assert [zlib.crc32(frame.tobytes()) for frame in frames] == golden["frame_crc32"].tolist()


def test_golden_file_shows_each_part_and_its_absence(golden: dict[str, NDArray[np.float32]]) -> None:
    found = {part: int(recorded(golden, 478).present(part).sum()) for part in (*PARTS, "face")}
    people = len(VIEWS) - len(NOBODY)
    assert found == {
        "pose": people,
        "pose_world": people,
        "left_hand": len(LEFT_HAND),
        "right_hand": len(RIGHT_HAND),
        "face": people,
    }


@pytest.mark.parametrize("face_points", [468, 478])
def test_landmarks_are_those_of_mediapipe(
    golden: dict[str, NDArray[np.float32]], frames: list[Image], weights: Path, face_points: int
) -> None:
    model = HolisticLitert(ModelSettings.model_validate({"face_points": face_points}), weights)
    report = compare(layouts.holistic(face_points), SIZES, recorded(golden, face_points), model.estimate(frames))
    model.close()
    assert report.failures() == ()
    assert report.presence == 1
    errors = {part.part: part.errors for part in report.parts}
    assert errors["pose"]["visibility"].maximum < 0.01
    assert errors["pose_world"]["xyz mm"].p99 < 1


@pytest.mark.skipif(provenance.architecture() != "x86_64", reason="only x86-64 with FMA adds up in MediaPipe's order")
@pytest.mark.parametrize("face_points", [468, 478])
def test_on_x86_landmarks_are_those_of_mediapipe_to_the_last_bit(
    golden: dict[str, NDArray[np.float32]], frames: list[Image], weights: Path, face_points: int
) -> None:
    model = HolisticLitert(ModelSettings.model_validate({"face_points": face_points}), weights)
    found = model.estimate(frames)
    model.close()
    for part, points in recorded(golden, face_points).points.items():
        np.testing.assert_array_equal(found.points[part], points, err_msg=part)


@pytest.mark.parametrize("name", ["holistic", "blazepose"])
@pytest.mark.parametrize("complexity", [0, 1, 2])
def test_lite_and_heavy_and_pose_alone_are_those_of_mediapipe(
    golden: dict[str, NDArray[np.float32]], frames: list[Image], all_weights: Path, name: str, complexity: int
) -> None:
    settings = ModelSettings.model_validate({"name": name, "complexity": complexity})
    model = HolisticLitert(settings, all_weights)
    found = model.estimate(frames)
    model.close()
    if complexity == 1:
        expected = recorded(golden, 468).points
    else:
        with np.load(GOLDEN_COMPLEXITY) as file:
            expected = {part.name: file[f"{part.name}_{complexity}"] for part in layouts.holistic(468).parts}
    expected = {part: expected[part] for part in found.points}
    report = compare(model.layout, SIZES, LandmarkBatch(expected, {}), found)
    assert report.failures() == ()
    assert report.presence == 1
    if provenance.architecture() == "x86_64":
        for part, points in expected.items():
            np.testing.assert_array_equal(found.points[part], points, err_msg=part)
