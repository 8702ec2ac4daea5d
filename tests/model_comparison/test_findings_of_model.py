from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phoenix_ray.layouts import BLAZEPOSE, COCO_17, COCO_WHOLEBODY_133, Layout, Part, holistic
from phoenix_ray.layouts.coco import HOLISTIC_POINTS
from phoenix_ray.model_comparison.findings_of_model import as_133, find_out, points_133
from phoenix_ray.statistics.measures import measure_video
from tests.model_comparison.made_up import SIZE, make_run, unreadable


def test_rates_are_shares_of_the_frames_that_could_be_read() -> None:
    run = unreadable(make_run(holistic(468), 5, {"left_hand": [0, 1]}), 4)
    findings = find_out([run])
    assert (findings.readable, findings.people, findings.person_rate) == (4, 4, 1.0)
    assert findings.parts["left_hand"].rate == findings.shared["left_hand"].rate == 0.5
    assert findings.parts["pose"].found == 4


def test_parts_are_those_of_the_layout_and_those_of_the_133_that_it_has() -> None:
    assert list(find_out([make_run(COCO_17)]).shared) == ["pose", "upper_body"]
    assert list(find_out([make_run(BLAZEPOSE)]).shared) == ["pose", "upper_body", "feet"]
    assert list(find_out([make_run(holistic(468))]).shared) == [
        *("pose", "upper_body", "feet", "face", "left_hand", "right_hand")
    ]
    wings = Layout("bird", (Part("wings", ("left", "right"), ("x", "y", "confidence")),))
    findings = find_out([make_run(wings)])
    assert not findings.shared
    assert findings.parts["wings"].rate == 1


def test_a_part_that_is_never_found_has_a_rate_of_zero_and_no_movement() -> None:
    findings = find_out([make_run(COCO_17, missing={"pose": range(4)})])
    assert findings.person_rate == 0
    pose = findings.shared["pose"]
    assert (pose.rate, pose.jitter, pose.jerk, pose.confidence) == (0, None, None, None)


def test_movement_is_that_of_stats_and_never_leads_from_a_run_to_the_next() -> None:
    run = make_run(COCO_17, 6)
    assert find_out([run]).parts["pose"].jitter == pytest.approx(measure_video(run).parts["pose"].jitter)
    assert find_out([run]).shared["pose"].jerk == pytest.approx(measure_video(run).parts["pose"].jerk)
    # The runs would follow each other by their frames' indices.
    still = replace(run, points={"pose": np.repeat(run.points["pose"][:1], 6, axis=0)})
    elsewhere = replace(still, points={"pose": still.points["pose"] + np.float32(0.1)})
    moved = replace(elsewhere, frame_index=elsewhere.frame_index + 6)
    assert find_out([still, moved]).parts["pose"].jitter == 0
    assert find_out([still, moved]).parts["pose"].jerk == 0


def test_confidence_is_a_points_own_or_its_parts_score() -> None:
    run = make_run(holistic(468))
    findings = find_out([run])
    assert findings.parts["pose"].confidence == pytest.approx(run.points["pose"][:, :, 3].mean(), rel=1e-5)
    assert findings.parts["left_hand"].confidence == pytest.approx(0.9)
    body = run.points["pose"][:, [index for part, index in HOLISTIC_POINTS[:17] if part == "pose"], 3]
    assert findings.shared["pose"].confidence == pytest.approx(body.mean(), rel=1e-5)


def test_points_are_in_pixels_and_missing_where_the_layout_has_none() -> None:
    run = make_run(COCO_17)
    points = points_133(run)
    assert points[:, :17] == pytest.approx(run.points["pose"][:, :, :2].astype(np.float64) * SIZE)
    assert np.isnan(points[:, 17:]).all()
    same = make_run(COCO_WHOLEBODY_133)
    assert all(np.array_equal(as_133(same).points[part], values) for part, values in same.points.items())


def test_no_run_gives_nothing() -> None:
    assert find_out([]).person_rate == 0
