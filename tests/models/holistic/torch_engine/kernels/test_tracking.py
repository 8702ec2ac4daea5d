"""Tracking in kernels: bit for bit the array pipeline with the same networks, step after step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch._subclasses.fake_tensor import FakeTensorMode

from phoenix_ray.models.holistic import elementary as formulas
from phoenix_ray.models.holistic.networks import POSE_LANDMARK, Cropper
from phoenix_ray.models.holistic.pipeline import HolisticPipeline
from phoenix_ray.models.holistic.torch_engine.kernels import pipeline as kernels
from phoenix_ray.models.holistic.torch_engine.kernels.launching import Launch, recording
from phoenix_ray.models.holistic.torch_engine.kernels.pipeline import KernelPipeline
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames
from phoenix_ray.models.holistic.tracking import Memory
from tests.golden import read_signer
from tests.models.holistic.torch_engine.kernels.fake_networks import pipeline_of_nothing
from tests.models.holistic.torch_engine.kernels.float_networks import plain_crops
from tests.models.holistic.torch_engine.kernels.frames import on_device
from tests.models.holistic.torch_engine.kernels.saying_networks import (
    Blind,
    Rows,
    Sayings,
    array_pipeline,
    frames_of,
    kernel_pipeline,
    no_crops,
    plausible,
    rows_of,
    some_sides,
)
from tests.models.holistic.torch_engine.kernels.test_elementary import assert_same_bits
from tests.models.holistic.torch_engine.kernels.test_pipeline import Both, Operators, of_frames
from tests.models.holistic.torch_engine.uploaded import cropper_of

Image = NDArray[np.uint8]
# Frames of the signer's clip that are black.
BLACK = slice(24, 29)
STAND_IN = np.zeros((260, 210, 3), np.uint8)


@dataclass(frozen=True)
class Step:
    """What a step of tracking gives.

    Attributes:
        rows: Landmarks, float32 (N, columns).
        states: float32 (N, state size).
        launches: Names of the kernels that it starts.
    """

    rows: Rows
    states: Rows
    launches: Counter[str]

    def found(self, part_column: int) -> list[bool]:
        return [not math.isnan(value) for value in self.rows[:, part_column]]


def no_states(videos: int, face_points: int) -> Rows:
    return np.full((videos, Memory.numbers(face_points)), math.nan, np.float32)


def in_arrays(pipeline: HolisticPipeline, images: Cropper, states: Rows, *, smooth: bool, detect: bool) -> Rows:
    """Return landmarks and states after a step."""
    face_points = pipeline.networks.face_points
    memory = Memory.from_rows(torch.from_numpy(states), face_points)
    found, memory = pipeline.track(images, memory, smooth=smooth, detect=detect)
    return np.concatenate([rows_of(found, face_points), memory.rows().numpy()], axis=1)


def in_kernels(pipeline: KernelPipeline, frames: DeviceFrames, states: Rows, *, smooth: bool, detect: bool) -> Step:
    given = torch.from_numpy(states).to(frames.table.device)
    with recording() as launches:
        table = pipeline.track(frames, given, smooth=smooth, detect=detect).cpu().numpy()
    rows, states = np.split(table, [pipeline.columns.count], axis=1)
    return Step(rows.copy(), states.copy(), Counter(launch.name for launch in launches))


def assert_same_step(expected: Rows, step: Step) -> None:
    assert_same_bits(expected, np.concatenate([step.rows, step.states], axis=1))


def smaller(image: Image) -> Image:
    return np.asarray(cv2.resize(image, (168, 208), interpolation=cv2.INTER_AREA), np.uint8)


def follow(both: Both, videos: Sequence[Sequence[Image]], *, smooth: bool) -> list[Step]:
    """Track videos side by side with both pipelines, and compare all steps; slots without a video show the stand-in."""
    states, steps = no_states(len(videos), both.face_points), []
    for images in zip(*videos, strict=True):
        # The host says whether to detect, from the states of the slots in use.
        in_use = states[[image is not STAND_IN for image in images]]
        detect = not Memory.from_rows(in_use, both.face_points).body_roi.has_area().all()
        with torch.inference_mode(), patch.object(kernels, "cut_crops", plain_crops):
            cropper = cropper_of(images)
            expected = in_arrays(both.arrays, cropper, states, smooth=smooth, detect=detect)
            step = in_kernels(both.kernels, on_device(images, "cpu"), states, smooth=smooth, detect=detect)
        assert_same_step(expected, step)
        states = step.states
        steps.append(step)
    return steps


@pytest.fixture(scope="module")
def signer() -> list[Image]:
    return read_signer()


@pytest.mark.slow
def test_two_videos_are_tracked_as_in_the_array_pipeline(weights: Path, signer: list[Image]) -> None:
    """The first loses its person and finds it again; the second starts two steps later, in smaller frames."""
    both, first, last = Both(weights, heatmap_kernel=3), BLACK.start, BLACK.stop
    videos = [
        [*signer[first - 1 : first + 2], *signer[last : last + 2]],
        [*[STAND_IN] * 2, *(smaller(image) for image in signer[:3])],
    ]
    steps = follow(both, videos, smooth=True)
    presence = [step.found(both.kernels.columns.points["pose"]) for step in steps]
    assert [first for first, _ in presence] == [True, False, False, True, True]
    assert [second for _, second in presence] == [False] * 2 + [True] * 3
    assert np.isfinite(steps[-1].rows).mean() > 0.9
    # Each step looks for faces. It looks for persons where a video has none: first, in a new one, after one was lost.
    assert [step.launches["read_rois"] for step in steps] == [2, 1, 2, 2, 1]


@pytest.mark.slow
@pytest.mark.samples
def test_videos_of_signers_are_tracked_as_in_the_array_pipeline(weights: Path, phoenix_sample: Path) -> None:
    files = sorted(phoenix_sample.glob("**/*.png"))
    clips = [files[start : start + 3] for start in (20, 120)]
    videos = [[np.asarray(cv2.imread(str(file)), np.uint8)[:, :, ::-1].copy() for file in clip] for clip in clips]
    steps = follow(Both(weights), videos, smooth=False)
    assert np.isfinite(steps[-1].rows).mean() > 0.9


def sequence(videos: int, steps: int, face_points: int) -> list[Sayings]:
    """Return what networks say at each step: all videos show a pose, the second one not between first and last step."""
    sayings = [plausible(videos, seed, face_points or 468) for seed in range(steps)]
    for number, spoken in enumerate(sayings):
        logit = spoken[POSE_LANDMARK.file][1]
        logit[:] = 3
        logit[1] = 3 if number in (0, steps - 1) else -3
    return sayings


@pytest.mark.slow
@pytest.mark.parametrize(("face_points", "smooth"), [(468, True), (478, False), (0, True), (0, False)])
def test_whatever_networks_say_is_tracked_as_in_the_array_pipeline(
    face_points: int, smooth: bool, device_name: str
) -> None:
    videos, sides = 2, some_sides(2, seed=4)
    states = no_states(videos, face_points)
    for number, sayings in enumerate(sequence(videos, 4, face_points)):
        detect = number != 2
        arrays, blind = array_pipeline(sayings, face_points), Blind(sides)
        expected = in_arrays(arrays, blind, states, smooth=smooth, detect=detect)
        with patch.object(kernels, "cut_crops", no_crops):
            pipeline = kernel_pipeline(sayings, device_name, face_points)
            step = in_kernels(pipeline, frames_of(sides, device_name), states, smooth=smooth, detect=detect)
        assert_same_step(expected, step)
        states = step.states
        # Without the detector, the video that lost its person does not find it again.
        assert step.found(0) == [True, number in (0, 3)]


def test_a_video_is_tracked_the_same_whatever_its_neighbours(device_name: str) -> None:
    count, order, sides = 2, [1], some_sides(2, seed=5)
    together, apart = no_states(count, 468), no_states(len(order), 468)
    with patch.object(kernels, "cut_crops", no_crops):
        for sayings in sequence(count, 2, 468):
            pipeline, frames = kernel_pipeline(sayings, device_name), frames_of(sides, device_name)
            step = in_kernels(pipeline, frames, together, smooth=True, detect=True)
            pipeline = kernel_pipeline(of_frames(sayings, order, count), device_name)
            frames = frames_of(np.ascontiguousarray(sides[:, order]), device_name)
            alone = in_kernels(pipeline, frames, apart, smooth=True, detect=True)
            assert_same_bits(step.rows[order], alone.rows)
            assert_same_bits(step.states[order], alone.states)
            together, apart = step.states, alone.states


def launches_of_a_step(face_points: int, detect: bool, videos: int = 128) -> tuple[list[Launch], Counter[str]]:
    """Return what a step launches on a GPU that is not there, but for the networks, and the operators of torch."""
    formulas.powers_of_two.cache_clear()
    with FakeTensorMode(), torch.inference_mode():
        device = torch.device("cuda:0")
        pipeline, frames = pipeline_of_nothing(face_points, videos, device)
        states = torch.empty((videos, Memory.numbers(face_points)), device=device)
        # The first step brings constants.
        pipeline.track(frames, states, smooth=True, detect=detect)
        with recording() as launches, Operators() as operators:
            rows = pipeline.track(frames, states, smooth=True, detect=detect)
    formulas.powers_of_two.cache_clear()
    assert rows.shape == (videos, pipeline.columns.count + states.shape[1])
    return launches, operators.names


@pytest.mark.parametrize(
    ("face_points", "detect", "count"),
    [(468, True, 25), (468, False, 22), (478, True, 26), (0, True, 8), (0, False, 5)],
)
def test_a_step_takes_few_launches_reads_nothing_back_and_brings_nothing_to_the_device(
    face_points: int, detect: bool, count: int
) -> None:
    """The networks' own launches come on top."""
    launches, operators = launches_of_a_step(face_points, detect)
    assert operators.keys() <= {"aten.empty.memory_format", "aten.reshape.default", "aten.view.default"}
    assert len(launches) == count
