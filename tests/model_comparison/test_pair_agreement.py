from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.layouts import COCO_17, COCO_WHOLEBODY_133, OPENPOSE_18, Layout, Part, holistic
from phoenix_ray.layouts.correspondence import coco_133_points
from phoenix_ray.model_comparison.findings_of_model import points_133
from phoenix_ray.model_comparison.pair_agreement import PairAgreement, PairPart, compare_pair
from tests.model_comparison.made_up import SIZE, make_run, unreadable

HOLISTIC = holistic(468)


def compare(first: VideoLandmarks, second: VideoLandmarks) -> dict[str, PairPart]:
    return {part.name: part for part in compare_pair(("a", [first]), ("b", [second])).parts}


def as_coco(run: VideoLandmarks, layout: Layout) -> VideoLandmarks:
    """The same places in another layout, by the names of points."""
    pixels = points_133(run)
    target = make_run(layout, len(run))
    points = {part: np.full_like(values, np.nan) for part, values in target.points.items()}
    for place, point in enumerate(coco_133_points(layout)):
        if point is not None:
            points[point[0]][:, point[1], :2] = pixels[:, place] / SIZE
            points[point[0]][:, point[1], 2] = 0.5
    return replace(target, points=points)


def test_a_known_offset_is_the_distance_of_every_point() -> None:
    parts = compare(make_run(HOLISTIC), make_run(HOLISTIC, shift=(3, 4)))
    assert {name: part.points for name, part in parts.items()} == {
        "pose": 33,
        "upper_body": 11,
        "face": 468,
        "left_hand": 21,
        "right_hand": 21,
    }
    for part in parts.values():
        assert (part.frames, part.both, part.only_first, part.only_second) == (4, 4, 0, 0)
        assert part.distances == 4 * part.points
        assert part.median_px == pytest.approx(5, rel=1e-4)
        assert part.p95_px == pytest.approx(5, rel=1e-4)


def test_shares_are_of_the_shoulders_and_of_the_eyes() -> None:
    first, second = make_run(HOLISTIC), make_run(HOLISTIC, shift=(3, 4))
    parts = compare(first, second)
    points = points_133(first)
    shoulders = np.median(np.linalg.norm(points[:, 5] - points[:, 6], axis=1))
    eyes = np.median(np.linalg.norm(points[:, 23 + 36] - points[:, 23 + 45], axis=1))
    assert parts["left_hand"].unit == "shoulder width"
    assert parts["left_hand"].median_share == pytest.approx(5 / shoulders, rel=1e-4)
    assert parts["face"].unit == "eye distance"
    assert parts["face"].p95_share == pytest.approx(5 / eyes, rel=1e-4)


def test_the_median_and_the_95th_percentile_are_those_of_the_distances() -> None:
    first = make_run(COCO_17, frames=1)
    second = replace(first, points={"pose": first.points["pose"].copy()})
    second.points["pose"][0, :, 0] += np.arange(17, dtype=np.float32) / SIZE[0]
    part = compare(first, second)["pose"]
    assert part.median_px == pytest.approx(8, abs=1e-3)
    assert part.p95_px == pytest.approx(np.quantile(np.arange(17), 0.95), abs=1e-3)


@pytest.mark.parametrize("layout", [COCO_17, COCO_WHOLEBODY_133, OPENPOSE_18])
def test_unlike_layouts_are_compared_on_the_points_that_mean_the_same(layout: Layout) -> None:
    first = make_run(HOLISTIC)
    second = as_coco(first, layout)
    for part in compare(first, second).values():
        assert part.both == 4
        assert part.median_px == pytest.approx(0, abs=1e-3)
    moved = replace(second, points={name: values.copy() for name, values in second.points.items()})
    for values in moved.points.values():
        values[:, :, :2] += np.divide((6, 8), SIZE, dtype=np.float32)
    for part in compare(first, moved).values():
        assert part.median_px == pytest.approx(10, rel=1e-3)
    assert set(compare(first, second)) == set(compare(second, first))


def test_frames_in_which_one_model_alone_finds_a_part_are_counted_and_give_no_distance() -> None:
    first = make_run(HOLISTIC, missing={"left_hand": [0, 1]})
    second = make_run(HOLISTIC, missing={"left_hand": [1, 2]}, shift=(3, 4))
    hand = compare(first, second)["left_hand"]
    assert (hand.both, hand.only_first, hand.only_second, hand.distances) == (1, 1, 1, 21)
    assert hand.median_px == pytest.approx(5, rel=1e-4)
    pair = compare_pair(("a", [first]), ("b", [second]))
    assert pair.one_sided.tolist() == [1, 0, 1, 0]


def test_points_that_one_model_alone_finds_are_counted() -> None:
    first, second = make_run(COCO_17), make_run(COCO_17)
    first.points["pose"][:, 9] = np.nan
    part = compare(first, second)["pose"]
    assert (part.both, part.one_sided, part.distances) == (4, 4, 4 * 16)


def test_nobody_anywhere_gives_no_number() -> None:
    gone = {"pose": range(4)}
    part = compare(make_run(COCO_17, missing=gone), make_run(COCO_17, missing=gone))["pose"]
    assert (part.both, part.only_first, part.only_second, part.distances) == (0, 0, 0, 0)
    assert part.median_px is part.p95_px is part.median_share is None


def test_without_shoulders_there_are_pixels_and_no_shares() -> None:
    hands = Layout("hands", (HOLISTIC.part("left_hand"),))
    (part,) = compare(make_run(hands), make_run(hands, shift=(0, 2))).values()
    assert part.median_px == pytest.approx(2, rel=1e-3)
    assert (part.median_share, part.without_unit) == (None, part.distances)


def test_unreadable_frames_are_left_out() -> None:
    first, second = (unreadable(make_run(COCO_17, shift=shift), 1) for shift in ((0, 0), (3, 4)))
    part = compare(first, second)["pose"]
    assert (part.frames, part.both) == (3, 3)
    assert part.median_px == pytest.approx(5, rel=1e-4)


def test_one_frame_is_enough() -> None:
    pair = compare_pair(("a", [make_run(COCO_17, 1)]), ("b", [make_run(COCO_17, 1, shift=(3, 4))]))
    assert pair.apart == pytest.approx([5], rel=1e-4)


def test_layouts_without_a_common_point_give_no_part() -> None:
    wings = Layout("bird", (Part("wings", ("left", "right"), ("x", "y")),))
    pair = compare_pair(("a", [make_run(wings)]), ("b", [make_run(COCO_17)]))
    assert pair.parts == ()
    assert np.isnan(pair.apart).all()


@given(shift=st.tuples(st.floats(-50, 50), st.floats(-50, 50)), cut=st.integers(1, 5), gone=st.sets(st.integers(0, 5)))
def test_a_comparison_is_symmetric_and_does_not_depend_on_runs(
    shift: tuple[float, float], cut: int, gone: set[int]
) -> None:
    first = make_run(COCO_17, 6)
    second = make_run(COCO_17, 6, {"pose": sorted(gone)}, shift)

    def cuts(run: VideoLandmarks) -> list[VideoLandmarks]:
        return [
            replace(
                run,
                frame_index=run.frame_index[rows],
                frame_names=run.frame_names[rows],
                timestamps=run.timestamps[rows],
                sizes=run.sizes[rows],
                status=run.status[rows],
                points={part: values[rows] for part, values in run.points.items()},
                scores={part: values[rows] for part, values in run.scores.items()},
            )
            for rows in (slice(0, cut), slice(cut, None))
        ]

    def numbers(pair: PairAgreement) -> tuple[object, ...]:
        part = pair.parts[0]
        return part.both, part.distances, part.median_px, part.p95_px

    whole = compare_pair(("a", [first]), ("b", [second]))
    assert numbers(whole) == numbers(compare_pair(("a", cuts(first)), ("b", cuts(second))))
    swapped = compare_pair(("b", [second]), ("a", [first]))
    assert numbers(whole) == numbers(swapped)
    assert (whole.parts[0].only_first, whole.parts[0].only_second) == (
        swapped.parts[0].only_second,
        swapped.parts[0].only_first,
    )


def test_legs_do_not_hide_how_models_differ_on_the_upper_body() -> None:
    first = make_run(COCO_17)
    second = replace(first, points={"pose": first.points["pose"].copy()})
    second.points["pose"][:, 11:, 0] += np.float32(100 / SIZE[0])
    parts = compare(first, second)
    assert parts["upper_body"].p95_px == 0
    assert parts["pose"].p95_px == pytest.approx(100, rel=1e-4)
    assert compare_pair(("a", [first]), ("b", [second])).apart == pytest.approx([0] * 4)
