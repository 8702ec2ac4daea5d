"""The filters against a scalar transcription of MediaPipe's C++, bit for bit, on numpy and on torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from phoenix_ray.models.holistic.smoothing import FilterState, OneEuroFilter, low_pass
from tests.models.holistic.floats import float32

f32 = np.float32
FRAME_MICROSECONDS = 33_333


class ScalarLowPass:
    """`util/filtering/low_pass_filter.cc`."""

    def __init__(self) -> None:
        self.raw: np.float32 | None = None
        self.stored = f32(0)

    def apply(self, value: np.float32, alpha: np.float32) -> np.float32:
        result = value
        if self.raw is not None:
            result = f32(float(alpha * value) + (1.0 - float(alpha)) * float(self.stored))
        self.raw, self.stored = value, result
        return result


class ScalarOneEuro:
    """`util/filtering/one_euro_filter.cc`."""

    def __init__(self, min_cutoff: float, beta: float) -> None:
        self.min_cutoff, self.beta = float(f32(min_cutoff)), float(f32(beta))
        self.frequency, self.last = 30.0, -1
        self.x, self.dx = ScalarLowPass(), ScalarLowPass()

    def alpha(self, cutoff: float) -> np.float32:
        share: np.float32 = f32(1.0 / (1.0 + (1.0 / (2 * math.pi * cutoff)) / (1.0 / self.frequency)))
        return share

    def apply(self, microseconds: int, scale: np.float32, value: np.float32) -> np.float32:
        now = microseconds * 1000
        self.frequency = 1.0 / ((now - self.last) * 1e-9)
        self.last = now
        speed = 0.0
        if self.x.raw is not None:
            speed = (float(value) - float(self.x.raw)) * float(scale) * self.frequency
        speed = float(self.dx.apply(f32(speed), self.alpha(1.0)))
        return self.x.apply(value, self.alpha(self.min_cutoff + self.beta * abs(speed)))


def nothing_yet(videos: int, points: int, like: Any = np) -> FilterState:
    nothing = like.asarray(np.full((videos, points, 3), np.nan, f32))
    return FilterState(nothing, nothing, nothing, like.asarray(np.full(videos, np.nan, f32)))


numbers = st.floats(-1e4, 1e4, width=32)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@settings(deadline=None, max_examples=40)
@given(
    values=arrays(f32, (6, 2, 3, 3), elements=numbers),
    scale=arrays(f32, (6, 2), elements=st.floats(2**-10, 2.0, width=32)),
    skipped=st.sets(st.integers(1, 5)),
    options=st.sampled_from([(0.05, 80.0), (0.01, 10.0), (0.1, 40.0)]),
)
def test_values_are_those_of_mediapipe_whatever_frames_are_skipped(
    library: str,
    values: NDArray[np.float32],
    scale: NDArray[np.float32],
    skipped: set[int],
    options: tuple[float, float],
) -> None:
    xp = pytest.importorskip(library)
    scalars = np.array([[[ScalarOneEuro(*options) for _ in range(3)] for _ in range(3)] for _ in range(2)])
    state = nothing_yet(2, 3, xp)
    for frame, points in enumerate(values):
        if frame in skipped:
            state = state._replace(age=state.age + 1)
            continue
        smoothed, state = OneEuroFilter(*options).smooth(xp.asarray(points), state, xp.asarray(scale[frame]))
        expected = [
            scalars[video, point, axis].apply(
                (frame + 1) * FRAME_MICROSECONDS, scale[frame, video], points[video, point, axis]
            )
            for video, point, axis in np.ndindex(2, 3, 3)
        ]
        np.testing.assert_array_equal(np.asarray(smoothed).ravel(), float32(expected))


def test_a_low_pass_that_has_seen_nothing_returns_the_value() -> None:
    values = float32([0.25, 0.75])
    last = float32([np.nan, 0.5])
    assert low_pass(values, last, np.full_like(values, 0.1)).tolist() == [0.25, f32(0.525)]


def test_the_state_of_a_video_can_be_kept_and_that_of_another_forgotten() -> None:
    _, state = OneEuroFilter(0.05, 80.0).smooth(np.ones((2, 1, 3), f32), nothing_yet(2, 1))
    kept = state.where(np.array([True, False]), math.nan)
    assert kept.raw[0].tolist() == [[1, 1, 1]]
    assert np.isnan(kept.raw[1]).all()
    assert kept.age.tolist()[0] == 0
    assert math.isnan(kept.age[1])
