from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray import layouts
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch, TrialConditions
from tests.golden.astronaut import LEFT_HAND, NOBODY, render

torch = pytest.importorskip("torch")

from phoenix_ray.models.holistic.batching import LEAST_TRIED, BatchRate  # noqa: E402 - needs torch
from phoenix_ray.models.holistic.torch_engine import pipelines, trial  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.engine import HolisticTorch  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.networks import TorchNetworks  # noqa: E402
from phoenix_ray.models.holistic.torch_engine.trial import (  # noqa: E402
    LEAST_CALLS,
    WARM_UP_CALLS,
    DeviceRates,
    measure_device,
    measure_sizes,
    try_batch_sizes,
    try_engine,
)

Image = NDArray[np.uint8]

# The GPU of these tests is a CPU, to which a trial does the same.
TORCH = ModelSettings(engine="torch", device="cpu", batch_size=3)
OPEN = TORCH.model_copy(update={"batch_size": "auto"})
LITERT = ModelSettings(engine="litert")
# As if it were a fast one.
RATES = DeviceRates("NVIDIA H200", (BatchRate(3, 7900.0, 0),), BatchRate(3, 7900.0, 0))


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "measure_device", lambda *_: RATES)


@pytest.fixture
def one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure a size by a single call: a CPU takes its time."""
    for name, least in (("ONE_SIZE_SECONDS", 0.0), ("LEAST_CALLS", 1), ("WARM_UP_CALLS", 0)):
        monkeypatch.setattr(trial, name, least)


@pytest.fixture(scope="module")
def people(astronaut: Image) -> list[Image]:
    """Four frames with a pose, a face, and what is taken for a left hand."""
    return [render(astronaut, view) for view in LEFT_HAND[:4]]


def conditions(images: list[Image], cpu_workers: float = 1.0) -> TrialConditions:
    return TrialConditions(images, video_frames=5, workers_per_gpu=1, cpu_workers_per_gpu=cpu_workers)


def test_torch_is_taken_when_its_landmarks_are_those_of_the_cpu_engine(
    fast: None, weights: Path, people: list[Image]
) -> None:
    decision = try_engine(OPEN, LITERT, weights, conditions(people))
    assert decision.settings == TORCH
    assert decision.reason.startswith(
        "Engine torch on NVIDIA H200: the landmarks of 4 frames are those of the CPU engine"
    )
    assert "; 7,900 frames/s with batches of 3, against " in decision.reason


@pytest.mark.slow
def test_a_gpu_is_tried_from_weights_to_the_decision(one_call: None, weights: Path, people: list[Image]) -> None:
    # On a CPU torch is the slower engine, so it wins only where hardly any worker would take its place.
    decision = try_engine(OPEN, LITERT, weights, conditions(people, cpu_workers=0.001))
    assert decision.settings == TORCH.model_copy(update={"batch_size": LEAST_TRIED})


class _OffByOne(TorchNetworks):
    """Networks whose hand landmarks are off by ten pixels of the crop, about one of the frame."""

    def hand_landmark(self, crops: Any) -> Any:
        found = super().hand_landmark(crops)
        return found._replace(landmarks=found.landmarks + 10)


def test_a_gpu_that_computes_other_landmarks_is_refused(
    fast: None, monkeypatch: pytest.MonkeyPatch, weights: Path, people: list[Image]
) -> None:
    monkeypatch.setattr(pipelines, "TorchNetworks", _OffByOne)
    decision = try_engine(TORCH, LITERT, weights, conditions(people))
    assert decision.settings == LITERT
    assert decision.reason.startswith(
        "Engine litert, since torch was tried on NVIDIA H200 (model.engine=torch takes it"
    )
    assert "its landmarks are not those of the CPU engine (left_hand: mean" in decision.reason


def test_a_gpu_that_is_slower_than_the_cpus_in_its_place_is_refused(
    fast: None, weights: Path, people: list[Image]
) -> None:
    decision = try_engine(TORCH, LITERT, weights, conditions(people, cpu_workers=1e6))
    assert decision.settings == LITERT
    assert "it computes 7,900 frames/s, the CPU workers in its place " in decision.reason


def test_frames_of_nobody_prove_nothing(fast: None, weights: Path, astronaut: Image) -> None:
    decision = try_engine(TORCH, LITERT, weights, conditions([render(astronaut, view) for view in NOBODY]))
    assert decision.settings == LITERT
    assert "the CPU engine found 0 poses, 0 hands, 0 faces in 1 frames" in decision.reason


def test_a_gpu_without_memory_for_a_batch_is_refused(
    monkeypatch: pytest.MonkeyPatch, weights: Path, people: list[Image]
) -> None:
    monkeypatch.setattr(trial, "measure_device", lambda *_: replace(RATES, best=None))
    decision = try_engine(TORCH, LITERT, weights, conditions(people))
    assert decision.settings == LITERT
    assert "a batch does not fit into a worker's share of its memory" in decision.reason


@pytest.mark.parametrize(("best", "size"), [(RATES.best, 3), (None, LEAST_TRIED)])
def test_a_batch_size_alone_is_the_best_one_or_the_least_where_none_fits(
    monkeypatch: pytest.MonkeyPatch, weights: Path, people: list[Image], best: BatchRate | None, size: int
) -> None:
    monkeypatch.setattr(trial, "measure_device", lambda *_: replace(RATES, best=best))
    decision = try_batch_sizes(OPEN, weights, conditions(people))
    assert decision.settings == TORCH.model_copy(update={"batch_size": size})
    assert decision.reason == f"Batch size {size}, as measured: frames/s on NVIDIA H200: 7,900 with 3"


@pytest.mark.samples
def test_signing_proves_torch(fast: None, weights: Path, phoenix_sample: Path) -> None:
    (clip,) = phoenix_sample.glob("**/clip-slp-pose-history-5")
    files = sorted(clip.glob("**/*.png"))[:6]
    images = [np.asarray(cv2.imread(str(file), cv2.IMREAD_COLOR_RGB), np.uint8) for file in files]
    assert try_engine(OPEN, LITERT, weights, conditions(images)).settings == TORCH


CPU = torch.device("cpu")
IMAGE = np.zeros((26, 21, 3), np.uint8)


class SlowModel:
    """A model whose calls take the seconds that a table says, on a clock of its own, and that a batch may overwhelm."""

    layout = layouts.holistic(468)
    batch_size = 512

    def __init__(self, seconds: dict[int, float], fits: int = 512) -> None:
        self.now = 0.0
        self.calls: list[int] = []
        self._seconds = seconds
        self._fits = fits

    def clock(self) -> float:
        return self.now

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        self.calls.append(len(images))
        warming_up = self.calls.count(len(images)) <= WARM_UP_CALLS
        # A single frame comes first, and takes as long as it takes to compile.
        self.now += self._seconds.get(len(images), 70.0) * (5 if warming_up else 1)
        return LandmarkBatch({}, {}, () if len(images) <= self._fits else ("out of memory",))

    def close(self) -> None:
        pass


def rates(model: SlowModel, limit: float = math.inf) -> dict[int, float]:
    measured = measure_sizes(model, [IMAGE], [8, 16, 32, 64], CPU, limit, model.clock)
    return {rate.batch_size: rate.rate for rate in measured}


def test_a_rate_is_of_the_calls_after_the_first_ones() -> None:
    model = SlowModel(dict.fromkeys((8, 16, 32, 64), 0.375))
    assert rates(model) == {8: 8 / 0.375, 16: 16 / 0.375, 32: 32 / 0.375}, "and time is over"
    assert model.calls.count(8) == WARM_UP_CALLS + LEAST_CALLS


def test_sizes_grow_until_the_rate_no_longer_rises() -> None:
    assert rates(SlowModel({8: 0.125, 16: 0.125, 32: 0.25})) == {8: 64, 16: 128, 32: 128}


def test_no_size_is_begun_when_time_is_over() -> None:
    assert rates(SlowModel({8: 4.0})) == {8: 2}


@pytest.mark.parametrize(("fits", "measured"), [(4, []), (8, [8]), (32, [8, 16, 32])])
def test_sizes_grow_until_memory_runs_out(fits: int, measured: list[int]) -> None:
    assert list(rates(SlowModel(dict.fromkeys((8, 16, 32, 64), 0.1), fits))) == measured


def test_what_else_a_batch_reports_ends_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SlowModel({8: 4.0})
    batch = LandmarkBatch({}, {}, ("CUDA graphs could not be captured (out of memory): each batch is launched anew",))
    estimate = model.estimate

    def report(images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        estimate(images)
        return batch

    monkeypatch.setattr(model, "estimate", report)
    assert rates(model) == {8: 2}


class _Forgetful(TorchNetworks):
    """Networks for which memory suffices for three crops at the most."""

    def pose_detection(self, crops: Any) -> Any:
        if len(crops) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().pose_detection(crops)


def test_an_engine_that_runs_out_of_memory_ends_the_measurement(
    one_call: None, monkeypatch: pytest.MonkeyPatch, weights: Path
) -> None:
    monkeypatch.setattr(pipelines, "TorchNetworks", _Forgetful)
    model = HolisticTorch(ModelSettings(engine="torch", device="cpu", batch_size=4), weights)
    # To this clock all calls are equally long: the rate doubles with the size.
    rates = measure_sizes(model, [IMAGE], [1, 2, 4], CPU, math.inf, itertools.count(step=0.1).__next__)
    assert [rate.batch_size for rate in rates] == [1, 2]


@pytest.mark.parametrize(
    ("change", "size"), [({}, LEAST_TRIED), ({"batch_size": 2}, 2), ({"enable_batching": False}, 1)]
)
def test_a_device_is_measured_with_the_sizes_that_settings_leave_open(
    one_call: None, weights: Path, change: dict[str, Any], size: int
) -> None:
    settings = ModelSettings(engine="torch", device="cpu", **change)
    measured = measure_device(settings, weights, TrialConditions([IMAGE], 5, 2, 1.0))
    assert [rate.batch_size for rate in measured.rates] == [size]
    assert measured.best == measured.rates[0]
    assert str(measured) == f"frames/s on cpu: {measured.best.rate:,.0f} with {size}"
