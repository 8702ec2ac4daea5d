from __future__ import annotations

import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.parity_report import ParityReport, compare
from phoenix_ray import layouts
from phoenix_ray.errors import EXIT_DIFFERENT
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic.parity import PARITY

LAYOUT = layouts.holistic(468)
FRAMES = 8
SIZES = np.array([(200, 100)] * FRAMES)
AXES = {"x": 0, "y": 1, "z": 2, "visibility": 3}


def everything_found() -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(0)
    return {part.name: random.random((FRAMES, len(part.points), len(part.axes)), np.float32) for part in LAYOUT.parts}


def moved(part: str, axis: str, by: float, frames: slice = slice(None)) -> dict[str, NDArray[np.float32]]:
    points = everything_found()
    points[part][frames, :, AXES[axis]] += np.float32(by)
    return points


def lost(part: str, frames: int) -> dict[str, NDArray[np.float32]]:
    points = everything_found()
    points[part][:frames] = np.nan
    return points


def report(
    candidate: dict[str, NDArray[np.float32]], reference: dict[str, NDArray[np.float32]] | None = None
) -> ParityReport:
    return compare(
        LAYOUT,
        SIZES,
        LandmarkBatch(reference or everything_found(), {}),
        LandmarkBatch(candidate, {}),
        names=("A", "B"),
    )


def test_the_same_landmarks_are_at_parity() -> None:
    same = report(everything_found())
    assert same.failures() == ()
    assert same.exit_code == 0
    assert same.presence == 1
    for part in same.parts:
        assert (part.frames, part.both, part.identical) == (FRAMES, FRAMES, FRAMES)
        assert all(spread.maximum == 0 for spread in part.errors.values())


@pytest.mark.parametrize(
    ("part", "axis", "kind", "expected"),
    [
        ("face", "x", "xy px", 0.01 * 200),
        ("face", "y", "xy px", 0.01 * 100),
        ("left_hand", "z", "z px", 0.01 * 200),
        ("pose", "visibility", "visibility", 0.01),
        ("pose_world", "z", "xyz mm", 10),
    ],
)
def test_errors_are_in_their_units(part: str, axis: str, kind: str, expected: float) -> None:
    parts = {compared.part: compared for compared in report(moved(part, axis, 0.01)).parts}
    spread = parts[part].errors[kind]
    for value in (spread.mean, spread.median, spread.p99, spread.maximum):
        assert value == pytest.approx(expected, rel=1e-4)
    others = [
        spread.maximum
        for name, compared in parts.items()
        for other, spread in compared.errors.items()
        if (name, other) != (part, kind)
    ]
    assert max(others) == 0


def test_distances_are_measured_in_each_frame_s_own_pixels() -> None:
    sizes = SIZES.copy()
    sizes[0] = (2_000, 100)
    candidate = LandmarkBatch(moved("face", "x", 0.001), {})
    compared = compare(LAYOUT, sizes, LandmarkBatch(everything_found(), {}), candidate)
    spread = compared.parts[-1].errors["xy px"]
    assert spread.maximum == pytest.approx(2, rel=1e-3)
    assert spread.median == pytest.approx(0.2, rel=0.01)


def test_one_moved_frame_is_one_frame_that_is_not_identical() -> None:
    parts = {part.part: part for part in report(moved("pose", "x", 1e-6, slice(2, 3))).parts}
    assert parts["pose"].identical == FRAMES - 1
    assert parts["face"].identical == FRAMES


def test_minus_zero_is_not_the_same_bits() -> None:
    reference, candidate = everything_found(), everything_found()
    reference["face"][:, :, 2], candidate["face"][:, :, 2] = 0.0, -0.0
    compared = report(candidate, reference)
    assert compared.parts[-1].identical == 0
    assert compared.exit_code == 0


@pytest.mark.parametrize("part", PARITY)
def test_a_part_beyond_its_bar_is_named(part: str) -> None:
    mean = PARITY[part].mean
    assert report(moved(part, "x", 0.9 * mean / 200)).failures() == ()
    beyond = report(moved(part, "x", 1.1 * mean / 200))
    (failure,) = beyond.failures()
    assert failure.startswith(f"{part}: mean ")
    assert beyond.exit_code == EXIT_DIFFERENT


def test_a_few_points_far_off_are_found_by_the_percentile() -> None:
    points = everything_found()
    points["left_hand"][0, :3, 0] += 0.6 / 200
    assert report(points).failures() == ("left_hand: p99 0.6000 px; at most 0.5 px is parity.",)


def test_presence_counts_each_side_and_leaves_what_only_one_found_out_of_the_errors() -> None:
    compared = report(lost("face", 3), lost("face", 1))
    face = compared.parts[-1]
    assert (face.both, face.only_reference, face.only_candidate) == (FRAMES - 3, 2, 0)
    assert report(lost("face", 1), lost("face", 3)).parts[-1].only_candidate == 2
    assert compared.presence == 1 - 2 / (4 * FRAMES)
    assert compared.failures() == ("Presence agrees in 93.75% of frame x part; at least 99% must.",)


@given(first=st.integers(0, FRAMES), second=st.integers(0, FRAMES))
def test_every_frame_is_counted_once(first: int, second: int) -> None:
    for part in report(lost("pose", second), lost("pose", first)).parts:
        neither = min(first, second) if part.part == "pose" else 0
        assert part.both + part.only_reference + part.only_candidate + neither == part.frames == FRAMES


def test_where_nothing_was_found_nothing_is_proven() -> None:
    nothing = {part: np.full_like(points, np.nan) for part, points in everything_found().items()}
    empty = report(nothing, nothing)
    assert empty.presence == 1
    assert empty.exit_code == EXIT_DIFFERENT
    assert "nothing was compared" in empty.failures()[0]


def test_the_report_is_plain_json() -> None:
    tree = json.loads(json.dumps(report(moved("face", "x", 1.0)).to_json(), allow_nan=False))
    assert (tree["reference"], tree["candidate"], tree["layout"]) == ("A", "B", "holistic-468")
    assert tree["parts"][4]["errors"]["xy px"]["mean"] == pytest.approx(200, rel=1e-4)
    assert tree["failures"]


def test_the_table_is_markdown_with_a_row_for_each_error() -> None:
    out = io.StringIO()
    Console(file=out, width=140).print(report(lost("left_hand", FRAMES)).to_table())
    heading, rule, *rows = [line for line in out.getvalue().splitlines() if line.strip()]
    assert [cell.strip() for cell in heading.split("|")[4:6]] == ["only A", "only B"]
    assert set(rule) <= set("|-: ")
    named = [cells[1].strip() for cells in (row.split("|") for row in rows)]
    assert named == ["pose", "", "", "pose_world", "left_hand", "right_hand", "", "face", ""]
