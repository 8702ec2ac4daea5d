from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts import Layout
from phoenix_ray.statistics import measures as module
from phoenix_ray.statistics.measures import (
    SCORE_BINS,
    Gap,
    PartMeasures,
    count_scores,
    find_gaps,
    measure_blocks,
    measure_video,
)
from tests.prepare.made_up import make_video
from tests.zoo import ZOO, layout_id, zoo_video


def moving(x: list[float], missing: list[int] | None = None) -> VideoLandmarks:
    """A left hand of which every point is at x pixels in each frame of 200 pixels."""
    video = make_video(len(x), {"left_hand": missing or []}, size=(200, 100))
    present = video.present("left_hand")
    video.points["left_hand"][present, :, 1] = 0.5
    video.points["left_hand"][present, :, 0] = (np.array(x, np.float32) / 200)[present, np.newaxis]
    return video


def measure_part(video: VideoLandmarks, part: str) -> PartMeasures:
    return measure_video(video).parts[part]


def rows_of(video: VideoLandmarks, rows: Sequence[int]) -> VideoLandmarks:
    chosen = np.array(rows, np.intp)
    return replace(
        video,
        frame_index=video.frame_index[chosen],
        frame_names=tuple(video.frame_names[row] for row in rows),
        timestamps=video.timestamps[chosen],
        sizes=video.sizes[chosen],
        status=tuple(video.status[row] for row in rows),
        points={part: points[chosen] for part, points in video.points.items()},
        scores={part: scores[chosen] for part, scores in video.scores.items()},
    )


def test_jitter_is_the_distance_from_the_middle_of_the_neighbours_in_pixels() -> None:
    assert measure_part(moving([10, 12, 10, 12, 10]), "left_hand").jitter == pytest.approx(2, rel=1e-4)
    assert measure_part(moving([10, 12, 14, 16, 18]), "left_hand").jitter == pytest.approx(0, abs=1e-4)


def test_jitter_needs_three_frames_in_a_row() -> None:
    assert measure_part(moving([0, 50, 0, 50, 0], missing=[2]), "left_hand").jitter is None


def test_energy_is_the_mean_of_squared_movements_and_jerk_that_of_third_differences() -> None:
    steady = measure_part(moving([10, 12, 14, 16, 18]), "left_hand")
    assert steady.energy == pytest.approx(4, rel=1e-4)
    assert steady.jerk == pytest.approx(0, abs=1e-4)
    shaking = measure_part(moving([10, 12, 10, 12, 10]), "left_hand")
    assert shaking.energy == pytest.approx(4, rel=1e-4)
    assert shaking.jerk == pytest.approx(8, rel=1e-4)
    mixed = measure_part(moving([10, 11, 14]), "left_hand")
    assert mixed.energy == pytest.approx((1 + 9) / 2, rel=1e-4)


def test_energy_needs_two_frames_in_a_row_and_jerk_four() -> None:
    measures = measure_part(moving([10, 12, 14, 0, 90, 0, 50, 0], missing=[3, 5, 7]), "left_hand")
    assert measures.energy == pytest.approx(4, rel=1e-4)
    assert measures.jerk is None
    alone = measure_part(moving([10, 0, 30], missing=[1]), "left_hand")
    assert (alone.energy, alone.jitter, alone.jerk) == (None, None, None)


def test_the_mean_jerk_shows_a_flip_that_the_median_jitter_hides() -> None:
    x = [10.0] * 20
    x[12] = 150
    measures = measure_part(moving(x), "left_hand")
    assert measures.jitter == pytest.approx(0, abs=1e-3)
    assert measures.jerk is not None
    assert measures.jerk > 50


def test_one_wild_frame_does_not_make_a_video_shaky_but_is_its_jump() -> None:
    x = [float(10 + frame) for frame in range(20)]
    x[12] = 150
    measures = measure_part(moving(x), "left_hand")
    assert measures.jitter == pytest.approx(0, abs=1e-3)
    assert measures.jump_frame == 12
    assert measures.jump == pytest.approx(150 - 21, rel=1e-4)


def test_a_jump_across_a_gap_is_no_jump() -> None:
    measures = measure_part(moving([10, 0, 90], missing=[1]), "left_hand")
    assert (measures.jump, measures.jump_frame) == (0.0, None)


def test_rows_whose_frames_are_not_neighbours_do_not_count_as_such() -> None:
    video = moving([10, 12, 90, 92])
    measures = measure_part(replace(video, frame_index=np.array([0, 1, 7, 8], np.int32)), "left_hand")
    assert measures.jump == pytest.approx(2, rel=1e-3)
    assert measures.jitter is None


@given(st.lists(st.booleans(), max_size=30))
def test_gaps_are_what_is_missing_between_the_first_and_the_last_detection(present: list[bool]) -> None:
    found = np.array(present, bool)
    gaps = find_gaps(found, np.arange(100, 100 + len(present), dtype=np.int32))
    rows = np.flatnonzero(found)
    inside = ~found[rows[0] : rows[-1] + 1] if len(rows) else np.zeros(0, bool)
    assert sum(gap.frames for gap in gaps) == inside.sum()
    for gap in gaps:
        first = gap.first - 100
        assert not found[first : first + gap.frames].any()
        assert found[first - 1]
        assert found[first + gap.frames]


def test_the_first_of_the_longest_gaps_is_named() -> None:
    measures = measure_part(moving([0] * 9, missing=[0, 2, 4, 5, 7, 8]), "left_hand")
    assert measures.gaps == {1: 1, 2: 1}
    assert measures.longest_gap == Gap(4, 2)
    assert measures.found == 3


@given(st.lists(st.floats(0, 1, width=32) | st.just(float("nan")), max_size=20))
def test_every_score_is_counted_once_in_its_step(scores: list[float]) -> None:
    counts = count_scores(np.array(scores, np.float32))
    known = [score for score in scores if score == score]
    assert counts.sum() == len(known)
    if len(known) == 1:
        assert counts[min(int(known[0] * SCORE_BINS), SCORE_BINS - 1)] == 1


def test_scores_beyond_probabilities_count_at_the_ends_and_missing_ones_nowhere() -> None:
    counts = count_scores(np.array([7.3, 1.0, np.inf, -0.2, np.nan, 0.505], np.float32))
    assert (counts[-1], counts[0], counts[50], counts.sum()) == (3, 1, 1, 5)
    assert not count_scores(np.full(3, np.nan, np.float32)).any()


@pytest.mark.parametrize("layout", ZOO, ids=layout_id)
def test_every_layout_is_measured_with_points_that_are_missing_alone(layout: Layout) -> None:
    video = zoo_video(layout)
    parts = measure_video(video).parts
    assert list(parts) == [part.name for part in layout.parts]
    for name, part in parts.items():
        assert part.found == int(video.present(name).sum())
        # Of two points none may be there in three frames in a row.
        assert len(layout.part(name).points) < 5 or part.jitter is not None
        measured = [value for value in (part.jitter, part.energy, part.jerk, part.jump) if value is not None]
        assert np.isfinite(measured).all()
        assert part.scores.sum() == len(video) - 1


def test_a_video_is_measured_in_all_parts_of_the_image() -> None:
    measures = measure_video(make_video(4, {"face": [0], "left_hand": range(4)}))
    assert list(measures.parts) == ["pose", "left_hand", "right_hand", "face"]
    assert [measures.rate(part) for part in measures.parts] == [1, 0, 1, 0.75]
    assert (measures.signer, measures.statuses) == ("Signer04", {"ok": 4})


def test_frames_of_unknown_size_give_no_movement_in_pixels_and_are_counted() -> None:
    video = moving([10, 12, 10, 12, 10, 90], missing=[4])
    nothing = measure_video(replace(video, sizes=np.zeros_like(video.sizes)))
    assert nothing.unsized == 6
    hand = nothing.parts["left_hand"]
    assert (hand.jitter, hand.energy, hand.jerk, hand.jump_frame) == (None, None, None, None)
    assert nothing.parts["left_hand"].longest_gap == Gap(4, 1)
    sizes = video.sizes.copy()
    sizes[0] = 0
    some = measure_video(replace(video, sizes=sizes))
    assert some.unsized == 1
    assert some.parts["left_hand"].jitter == pytest.approx(2, rel=1e-4)
    assert measure_video(video).unsized == 0


def test_points_that_are_missing_for_themselves_do_not_hide_the_movement_of_the_others() -> None:
    video = moving([10, 12, 10, 12, 10, 70])
    video.points["left_hand"][:, 0] = np.nan
    video.points["left_hand"][5, 1:] = np.nan
    video.points["left_hand"][5, 0] = 0.5
    measures = measure_part(video, "left_hand")
    assert measures.found == 6
    assert measures.jitter == pytest.approx(2, rel=1e-4)
    assert measures.energy == pytest.approx(4, rel=1e-4)
    assert measures.jerk == pytest.approx(8, rel=1e-4)
    assert measures.jump == pytest.approx(2, rel=1e-4)
    assert measures.jump_frame == 1


@given(
    st.lists(st.sampled_from(["found", "missing", "skipped", "unsized"]), min_size=1, max_size=24),
    st.sets(st.integers(1, 23)),
    st.booleans(),
)
def test_where_a_video_is_cut_into_blocks_changes_no_measure(frames: list[str], cuts: set[int], counted: bool) -> None:
    kept = [index for index, kind in enumerate(frames) if kind != "skipped"]
    missing = [index for index, kind in enumerate(frames) if kind == "missing"]
    rng = np.random.default_rng(len(frames))
    video = moving([float(x) for x in rng.uniform(10, 190, len(frames))], missing)
    video.sizes[[index for index, kind in enumerate(frames) if kind == "unsized"]] = 0
    video = rows_of(video, kept)
    edges = [0, *sorted(cut for cut in cuts if cut < len(kept)), len(kept)]
    blocks = [rows_of(video, range(start, end)) for start, end in pairwise(edges)]
    with pytest.MonkeyPatch.context() as patch:
        if counted:
            patch.setattr(module, "_EXACT_VALUES", 30)
        whole, cut = measure_video(video), measure_blocks(blocks)
    assert astuple(replace(whole, parts={})) == astuple(replace(cut, parts={}))
    for part, expected in whole.parts.items():
        found = cut.parts[part]
        np.testing.assert_array_equal(found.scores, expected.scores)
        assert replace(found, scores=expected.scores) == expected


def test_the_jitter_of_a_long_video_is_counted_to_a_thirtieth_of_a_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    video = moving([float(x) for x in np.random.default_rng(0).uniform(10, 190, 50)])
    exact = measure_part(video, "left_hand").jitter
    monkeypatch.setattr(module, "_EXACT_VALUES", 30)
    counted = measure_part(video, "left_hand").jitter
    assert counted != exact
    assert counted == pytest.approx(exact, rel=3e-4)
    assert measure_part(moving([20.0] * 50), "left_hand").jitter == 0


@pytest.mark.parametrize("number", [0.0, 3.4028e38, np.inf])
def test_a_counted_median_of_one_number_is_that_number(monkeypatch: pytest.MonkeyPatch, number: float) -> None:
    monkeypatch.setattr(module, "_EXACT_VALUES", 1)
    median = module._Median()
    median.add(np.array([number, number]))
    assert median.result() == pytest.approx(number, rel=5e-4)


def test_a_video_without_rows_has_measures_and_no_blocks_have_none() -> None:
    assert measure_video(rows_of(moving([10, 12]), [])).frames == 0
    with pytest.raises(ValueError, match="at least one block"):
        measure_blocks([])
