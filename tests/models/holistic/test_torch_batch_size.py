from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray import landmarks
from phoenix_ray.config import ModelSettings
from phoenix_ray.models.base import LandmarkBatch, TrialConditions

torch = pytest.importorskip("torch")

from phoenix_ray.models.holistic import torch_batch_size, torch_engine  # noqa: E402 - needs torch
from phoenix_ray.models.holistic.batching import LEAST_TRIED  # noqa: E402
from phoenix_ray.models.holistic.torch_batch_size import (  # noqa: E402
    LEAST_CALLS,
    WARM_UP_CALLS,
    measure_device,
    measure_sizes,
)
from phoenix_ray.models.holistic.torch_engine import HolisticTorch  # noqa: E402
from phoenix_ray.models.holistic.torch_networks import TorchNetworks  # noqa: E402

CPU = torch.device("cpu")
IMAGE = np.zeros((26, 21, 3), np.uint8)


class SlowModel:
    """A model whose calls take the seconds that a table says, on a clock of its own, and that a batch may overwhelm."""

    layout = landmarks.holistic(468)
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
        self.now += self._seconds[len(images)] * (5 if warming_up else 1)
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


class _Forgetful(TorchNetworks):
    """Networks for which memory suffices for three crops at the most."""

    def pose_detection(self, crops: Any) -> Any:
        if len(crops) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().pose_detection(crops)


@pytest.fixture
def one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure a size by a single call: a CPU takes its time."""
    for name, least in (("ONE_SIZE_SECONDS", 0.0), ("LEAST_CALLS", 1), ("WARM_UP_CALLS", 0)):
        monkeypatch.setattr(torch_batch_size, name, least)


def test_an_engine_that_runs_out_of_memory_ends_the_measurement(
    one_call: None, monkeypatch: pytest.MonkeyPatch, weights: Path
) -> None:
    monkeypatch.setattr(torch_engine, "TorchNetworks", _Forgetful)
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
