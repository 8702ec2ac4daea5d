"""Tracking in kernels: bit for bit the array pipeline with the same networks, step after step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from phoenix_ray.models.holistic.torch_engine.crops import Uploader
from phoenix_ray.models.holistic.torch_engine.kernels import pipeline
from phoenix_ray.models.holistic.torch_engine.kernels.launching import recording
from phoenix_ray.models.holistic.tracking import Memory
from tests.golden import read_signer
from tests.models.holistic.torch_engine.kernels.float_networks import plain_crops
from tests.models.holistic.torch_engine.kernels.test_elementary import assert_same_bits
from tests.models.holistic.torch_engine.kernels.test_pipeline import CPU, Both, Image, Rows, rows_of, upload

# The signer's clip is black here.
BLACK = 24
STAND_IN = np.zeros((260, 210, 3), np.uint8)


@pytest.fixture(autouse=True)
def _quick_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops have tests of their own, and take minutes in the interpreter."""
    monkeypatch.setattr(pipeline, "cut_crops", plain_crops)


@pytest.fixture(scope="module")
def signer() -> list[Image]:
    return read_signer()


class Step:
    """A step of tracking with both pipelines, from the same states.

    Attributes:
        rows: Landmarks of both, float32 (N, columns).
        states: The states after the step.
        launches: Names of the kernels that it started.
    """

    def __init__(self, both: Both, images: Sequence[Image], states: Rows, *, smooth: bool) -> None:
        face_points = both.arrays.networks.face_points
        # As the engine does: only states of videos say whether to detect, and slots without one are NaN.
        in_use = [image is not STAND_IN for image in images]
        detect = not Memory.from_rows(states[in_use], face_points).body_roi.has_area().all()
        with torch.inference_mode():
            memory = Memory.from_rows(torch.from_numpy(states), face_points)
            cropper = Uploader(CPU).upload(images, len(images))
            found, memory = both.arrays.track(cropper, memory, smooth=smooth, detect=detect)
            with recording() as launches:
                table = both.kernels.track(upload(images), torch.from_numpy(states), smooth=smooth, detect=detect)
        expected = np.concatenate([rows_of(found, face_points), memory.rows().numpy()], axis=1)
        assert_same_bits(expected, table.numpy())
        self.rows, self.states = np.split(table.numpy(), [both.kernels.columns.count], axis=1)
        self.launches = [launch.name for launch in launches]


def follow(
    both: Both, videos: Sequence[Sequence[Image]], *, smooth: bool = True, states: Rows | None = None
) -> list[Step]:
    """Track videos side by side from the states, if any; a slot shows the stand-in where it has no video."""
    if states is None:
        states = np.full((len(videos), Memory.numbers(both.arrays.networks.face_points)), math.nan, np.float32)
    steps: list[Step] = []
    for images in zip(*videos, strict=True):
        step = Step(both, images, states.copy(), smooth=smooth)
        steps.append(step)
        states = step.states.copy()
    return steps


def found(steps: Sequence[Step], video: int) -> list[bool]:
    return [not math.isnan(step.rows[video, 0]) for step in steps]


def smaller(image: Image) -> Image:
    return cv2.resize(image, (168, 208), interpolation=cv2.INTER_AREA)


def is_lost_and_found_again(signer: list[Image]) -> list[Image]:
    return [*signer[BLACK - 2 : BLACK + 2], *signer[BLACK + 5 : BLACK + 9]]


def starts_later(signer: list[Image], steps: int = 8, start: int = 3) -> list[Image]:
    return [STAND_IN] * start + [smaller(image) for image in signer[: steps - start]]


@pytest.mark.slow
@pytest.mark.parametrize("smooth", [True, False])
def test_two_videos_are_tracked_as_in_the_array_pipeline(weights: Path, signer: list[Image], smooth: bool) -> None:
    """The first loses its person and finds it again; the second starts three steps later."""
    steps = follow(Both(weights), [is_lost_and_found_again(signer), starts_later(signer)], smooth=smooth)
    assert found(steps, 0) == [True, True, False, False, True, True, True, True]
    assert found(steps, 1) == [False] * 3 + [True] * 5
    detections = [step.launches.count("_read_rois") for step in steps]
    # Each step looks for faces. For persons it looks where a video has none: first, after it was lost, and in a new one.
    assert detections == [2, 1, 1, 2, 2, 1, 1, 1]
