from __future__ import annotations

import numpy as np
import pytest

from phoenix_ray.config_files import load_tree
from phoenix_ray.prepare.pipeline import PrepareSettings, axis_names, build_pipeline, parts_needed
from phoenix_ray.prepare.point_sets import resolve_points
from tests.prepare.made_up import LAYOUT, make_video

EVERYTHING = (
    *("clean.fill=linear", "clean.smooth=savitzky_golay", "time.frame_rate=12.5", "channels.motion=acceleration"),
    *("normalise.over=frame", "normalise.hands=wrist", "points.axes=xyz"),
)


def load(*words: str) -> PrepareSettings:
    return load_tree(PrepareSettings, None, words)


def test_all_steps_together_give_finite_points_of_the_chosen_kind() -> None:
    settings = load(*EVERYTHING)
    prepared = build_pipeline(settings, LAYOUT, mirrored=True)(make_video(20, {"left_hand": [4, 5], "face": [0]}))
    assert prepared.points.shape == (10, 178, 9)
    assert prepared.axes == axis_names(settings) == ("x", "y", "z", "dx", "dy", "dz", "ddx", "ddy", "ddz")
    assert np.isfinite(prepared.points[prepared.mask]).all()
    assert prepared.filled.any()
    assert prepared.mirrored


def test_points_that_only_normalisation_needs_are_dropped_again() -> None:
    settings = load("points.select=[right_hand:8,lips]", "normalise.hands=wrist")
    prepared = build_pipeline(settings, LAYOUT)(make_video())
    assert prepared.chosen == resolve_points(LAYOUT, settings.points.select)
    assert parts_needed(settings, LAYOUT) == ("pose", "right_hand", "face")
    wrist = build_pipeline(load("points.select=[right_hand:0]"), LAYOUT)(make_video())
    tip = build_pipeline(load("points.select=[right_hand:8]"), LAYOUT)(make_video())
    np.testing.assert_allclose(prepared.points[:, 0], tip.points[:, 0] - wrist.points[:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("reference", "parts"), [("none", ("left_hand",)), ("image", ("left_hand",)), ("shoulders", ("pose", "left_hand"))]
)
def test_only_the_parts_that_matter_are_read(reference: str, parts: tuple[str, ...]) -> None:
    settings = load("points.select=[left_hand]", f"normalise.reference={reference}")
    assert parts_needed(settings, LAYOUT) == parts


def test_without_a_reference_points_stay_in_the_image() -> None:
    video = make_video()
    prepared = build_pipeline(load("points.select=[left_hand]", "normalise.reference=none"), LAYOUT)(video)
    assert np.array_equal(prepared.points, video.points["left_hand"][:, :, :2])
