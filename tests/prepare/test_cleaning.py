from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.prepare import FillGaps, OneEuro, SavitzkyGolay
from phoenix_ray.prepare.cleaning import polynomial_weights
from phoenix_ray.prepare.prepared import Transform
from tests.prepare.made_up import assert_same, make_video, prepare, videos

METHODS: tuple[Literal["linear", "hold"], ...] = ("linear", "hold")


@given(video=videos(), longest=st.none() | st.integers(0, 4))
@settings(max_examples=40)
@pytest.mark.parametrize("method", METHODS)
def test_filled_points_are_marked_and_can_be_emptied_again(
    method: Literal["linear", "hold"], video: VideoLandmarks, longest: int | None
) -> None:
    before = prepare(video)
    fill = FillGaps(method, longest)
    after = fill(before)
    assert np.array_equal(after.filled, after.mask & ~before.mask)
    assert np.array_equal(after.points[before.mask], before.points[before.mask])
    assert not after.confidence[after.filled].any()
    assert_same(fill.inverse(after), before)


def hand(method: Literal["linear", "hold"], missing: list[int], frames: int, longest: int | None = None) -> list[float]:
    """The wrist's x when frame n holds n, but for the missing frames."""
    video = make_video(frames, {"left_hand": missing})
    present = video.present("left_hand")
    video.points["left_hand"][present] = np.arange(frames, dtype=np.float32)[present][:, np.newaxis, np.newaxis]
    prepared = prepare(video, FillGaps(method, longest))
    return [float(value) for value in np.nan_to_num(prepared.points[:, prepared.column(("left_hand", 0)), 0], nan=-1)]


def test_linear_goes_straight_across_a_gap_and_leaves_the_ends() -> None:
    assert hand("linear", [0, 2, 3, 6], 7) == [-1, 1, 2, 3, 4, 5, -1]


def test_hold_repeats_the_frame_before_and_leaves_the_beginning() -> None:
    assert hand("hold", [0, 2, 3, 6], 7) == [-1, 1, 1, 1, 4, 5, 5]


def test_a_gap_longer_than_allowed_stays_whole() -> None:
    assert hand("linear", [1, 3, 4], 6, longest=1) == [0, 1, 2, -1, -1, 5]
    assert hand("hold", [1, 4, 5], 6, longest=1) == [0, 0, 2, 3, -1, -1]


def test_linear_follows_the_clock_not_the_count() -> None:
    video = make_video(3, {"left_hand": [1]})
    video.timestamps[:] = [0.0, 0.1, 0.4]
    video.points["left_hand"][[0, 2]] = np.array([0, 4], np.float32)[:, np.newaxis, np.newaxis]
    prepared = prepare(video, FillGaps())
    assert prepared.points[1, prepared.column(("left_hand", 0)), 0] == pytest.approx(1.0)


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


@given(
    window=st.sampled_from([5, 7, 9, 15, 21]),
    order=st.integers(0, 4),
    more=st.integers(0, 30),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_savitzky_golay_gives_the_numbers_of_scipy(window: int, order: int, more: int, seed: int) -> None:
    signal = pytest.importorskip("scipy.signal", reason="scipy is not installed")
    video = make_video(window + more, seed=seed)
    video.points["pose"][:] += np.random.default_rng(seed).normal(0, 0.01, video.points["pose"].shape)
    before, after = prepare(video), prepare(video, SavitzkyGolay(window, order))
    expected = signal.savgol_filter(before.points.astype(np.float64), window, order, axis=0)
    np.testing.assert_allclose(after.points, expected, atol=1e-6)


@pytest.mark.parametrize(("window", "order"), [(3, 0), (7, 2), (31, 5)])
def test_weights_project_onto_polynomials(window: int, order: int) -> None:
    weights = polynomial_weights(window, order)
    places = np.arange(window) / window
    for degree in range(order + 1):
        np.testing.assert_allclose(weights @ places**degree, places**degree, atol=1e-9)
    np.testing.assert_allclose(weights @ weights, weights, atol=1e-12)


@pytest.mark.parametrize(("window", "order"), [(4, 2), (3, 3), (5, -1)])
def test_windows_without_a_middle_or_a_polynomial_are_refused(window: int, order: int) -> None:
    with pytest.raises(ValueError, match="odd window and an order below it"):
        SavitzkyGolay(window, order)
