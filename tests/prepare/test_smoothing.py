from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import MissingExtraError
from phoenix_ray.prepare import OneEuro, SavitzkyGolay
from phoenix_ray.prepare.prepared import Transform
from tests.prepare.made_up import make_video, prepare, videos

FILTERS = (OneEuro(), SavitzkyGolay(5, 2))


@given(video=videos(20))
@settings(max_examples=30)
@pytest.mark.parametrize("smooth", FILTERS, ids=repr)
def test_missing_stays_missing_and_nothing_else_goes(smooth: Transform, video: VideoLandmarks) -> None:
    before, after = prepare(video), prepare(video, smooth)
    assert np.array_equal(after.mask, before.mask)
    assert not after.filled.any()


@pytest.mark.parametrize("smooth", FILTERS, ids=repr)
def test_a_gap_parts_what_comes_before_from_what_comes_behind(smooth: Transform) -> None:
    video = make_video(15, {"left_hand": [7]})
    moved = make_video(15, {"left_hand": [7]})
    moved.points["left_hand"][:7] += np.float32(0.3)
    one, other = prepare(video, smooth), prepare(moved, smooth)
    hand = one.column(("left_hand", 4))
    assert np.array_equal(one.points[8:, hand], other.points[8:, hand])


@pytest.mark.parametrize("smooth", [*FILTERS, OneEuro(min_cutoff=0.1, beta=0)], ids=repr)
def test_a_point_at_rest_stays(smooth: Transform) -> None:
    video = make_video(12)
    video.points["pose"][:] = 0.5
    prepared = prepare(video, smooth)
    np.testing.assert_allclose(prepared.points[:, prepared.column(("pose", 11))], 0.5, atol=1e-6)


@pytest.mark.parametrize("smooth", [*FILTERS, OneEuro(beta=0)], ids=repr)
def test_trembling_gets_less(smooth: Transform) -> None:
    video = make_video(60)
    video.points["pose"][:] = 0.5 + np.random.default_rng(0).normal(0, 0.002, video.points["pose"].shape)
    before, after = prepare(video), prepare(video, smooth)
    shoulder = before.column(("pose", 11))
    assert np.diff(after.points[:, shoulder, 0]).std() < 0.7 * np.diff(before.points[:, shoulder, 0]).std()


def test_one_euro_follows_a_fast_point_closer_than_a_slow_cutoff_would() -> None:
    video = make_video(50)
    video.points["pose"][:] = (np.arange(50, dtype=np.float32) / 25)[:, np.newaxis, np.newaxis]
    lags = [
        float(np.abs(prepare(video, OneEuro(beta=beta)).points[-1, 0, 0] - video.points["pose"][-1, 11, 0]))
        for beta in (0.0, 5.0)
    ]
    assert lags[1] < 0.5 * lags[0]


def test_savitzky_golay_keeps_a_parabola() -> None:
    video = make_video(11)
    time = np.arange(11, dtype=np.float32) / 10
    video.points["pose"][:] = (time**2 - time)[:, np.newaxis, np.newaxis]
    prepared = prepare(video, SavitzkyGolay(5, 2))
    np.testing.assert_allclose(prepared.points[:, 0, 0], time**2 - time, atol=1e-6)


def test_a_run_shorter_than_the_window_stays_as_it_is() -> None:
    video = make_video(9, {"left_hand": [4]})
    hand = prepare(video).column(("left_hand", 0))
    assert np.array_equal(
        prepare(video, SavitzkyGolay(5, 2)).points[:, hand], prepare(video).points[:, hand], equal_nan=True
    )


def test_without_scipy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.signal", None)
    with pytest.raises(MissingExtraError, match=r"phoenix-ray\[prepare\]"):
        prepare(make_video(), SavitzkyGolay())
