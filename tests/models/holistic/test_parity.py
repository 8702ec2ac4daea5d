from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray import layouts
from phoenix_ray.models.agreement import PartAgreement, agree_all
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic.parity import LEAST_FOUND, largest_distance, objection_to_gpu

LAYOUT = layouts.holistic(468)
FRAMES = 10
SIZES = np.array([(200, 100)] * FRAMES, np.int32)
FAST, SLOW = 1000.0, 100.0

Points = dict[str, NDArray[np.float32]]


def everything_found() -> Points:
    random = np.random.default_rng(0)
    return {part.name: random.random((FRAMES, len(part.points), len(part.axes)), np.float32) for part in LAYOUT.parts}


def compared(reference: Points, candidate: Points) -> tuple[PartAgreement, ...]:
    return agree_all(LAYOUT, SIZES, LandmarkBatch(reference, {}), LandmarkBatch(candidate, {}))


def test_torch_is_taken_when_it_finds_the_same_landmarks_and_is_faster() -> None:
    parts = compared(everything_found(), everything_found())
    assert objection_to_gpu(parts, FAST, SLOW) is None
    assert largest_distance(parts) == 0


@pytest.mark.parametrize("part", ["pose", "left_hand", "right_hand", "face"])
def test_landmarks_that_are_off_by_a_pixel_in_one_part_are_refused(part: str) -> None:
    candidate = everything_found()
    candidate[part][:, :, 0] += np.float32(1 / 200)
    parts = compared(everything_found(), candidate)
    against = objection_to_gpu(parts, FAST, SLOW)
    assert against is not None
    assert against.startswith(f"its landmarks are not those of the CPU engine ({part}: mean 1.0")
    assert largest_distance(parts) == pytest.approx(1, abs=0.001)


def test_a_hundredth_of_a_pixel_is_accepted_and_reported() -> None:
    candidate = everything_found()
    candidate["face"][:, :, 1] += np.float32(0.01 / 100)
    parts = compared(everything_found(), candidate)
    assert objection_to_gpu(parts, FAST, SLOW) is None
    assert largest_distance(parts) == pytest.approx(0.01, rel=0.01)


def test_of_pose_alone_only_poses_are_judged() -> None:
    points = {name: points for name, points in everything_found().items() if name.startswith("pose")}
    parts = agree_all(layouts.BLAZEPOSE, SIZES, LandmarkBatch(points, {}), LandmarkBatch(points, {}))
    assert objection_to_gpu(parts, FAST, SLOW) is None


def test_a_part_that_torch_loses_is_refused() -> None:
    candidate = everything_found()
    candidate["right_hand"][:1] = np.nan
    against = objection_to_gpu(compared(everything_found(), candidate), FAST, SLOW)
    assert against is not None
    assert "Presence agrees in 97.50%" in against


def test_finding_what_nobody_else_finds_is_refused() -> None:
    nothing = {name: np.full_like(points, np.nan) for name, points in everything_found().items()}
    against = objection_to_gpu(compared(nothing, everything_found()), FAST, SLOW)
    assert against == "the CPU engine found 0 poses, 0 hands, 0 faces in 10 frames of the source, too few to judge by"


def hidden(*parts: str) -> Points:
    """Landmarks of which some parts are found in too few frames."""
    points = everything_found()
    for part in parts:
        points[part][LEAST_FOUND - 1 :] = np.nan
    return points


@pytest.mark.parametrize(
    ("points", "counts"),
    [
        (hidden("face"), "10 poses, 20 hands, 3 faces"),
        (hidden("pose"), "3 poses, 20 hands, 10 faces"),
    ],
)
def test_frames_without_a_part_prove_nothing_of_its_networks(points: Points, counts: str) -> None:
    against = objection_to_gpu(compared(points, points), FAST, SLOW)
    assert against == f"the CPU engine found {counts} in 10 frames of the source, too few to judge by"


def test_hands_of_one_side_prove_the_networks_of_both() -> None:
    points = everything_found()
    points["left_hand"][:] = np.nan
    assert objection_to_gpu(compared(points, points), FAST, SLOW) is None
    points["right_hand"][LEAST_FOUND - 1 :] = np.nan
    assert objection_to_gpu(compared(points, points), FAST, SLOW) is not None


def test_torch_is_refused_where_it_is_no_faster_than_the_cpus() -> None:
    parts = compared(everything_found(), everything_found())
    assert objection_to_gpu(parts, 320, 320) == "it computes 320 frames/s, the CPU workers in its place 320"
    assert objection_to_gpu(parts, 321, 320) is None
