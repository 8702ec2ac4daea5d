"""Tracking against MediaPipe's internal streams (`tests.golden.make_tracking`), and what it promises beside them."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.parity_report import compare
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import provenance
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic import tracking
from phoenix_ray.models.holistic.geometry import ImageSize, Rect
from phoenix_ray.models.holistic.litert_engine.engine import HolisticLitertTracking
from phoenix_ray.models.holistic.tracking import FACE_NEARNESS, HAND_NEARNESS, Body, Memory, Nearness, choose_roi
from tests.golden import TRACKING, read_signer
from tests.models.holistic.floats import float32

WIDTH, HEIGHT = 210, 260
BLACK = range(24, 29)
Golden = dict[str, NDArray[np.float32]]
Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def golden() -> Golden:
    with np.load(TRACKING) as file:
        return dict(file)


@pytest.fixture(scope="module")
def signer() -> list[Image]:
    return read_signer()


@pytest.fixture(params=["numpy", "torch"])
def library(request: pytest.FixtureRequest) -> Any:
    return pytest.importorskip(request.param)


def sizes(library: Any, videos: int) -> ImageSize:
    return ImageSize(*(library.asarray(np.full(videos, side, np.float32)) for side in (WIDTH, HEIGHT)))


def nothing(library: Any, videos: int) -> Memory:
    return Memory.from_rows(library.asarray(np.full((videos, Memory.numbers(468)), np.nan, np.float32)), 468)


def rect(library: Any, numbers: NDArray[np.float32]) -> Rect:
    return Rect(*(library.asarray(np.ascontiguousarray(values)) for values in numbers.T))


def as_array(roi: Rect) -> NDArray[np.float32]:
    return np.stack([np.asarray(values) for values in roi], axis=1)


def test_frames_are_those_that_mediapipe_saw(golden: Golden, signer: list[Image]) -> None:
    assert [zlib.crc32(frame.tobytes()) for frame in signer] == golden["frame_crc32"].tolist()


def test_the_golden_clip_has_a_gap_and_a_hand_that_is_lost(golden: Golden) -> None:
    missing = np.flatnonzero(np.isnan(golden["pose"][:, 0, 0]))
    assert missing.tolist() == list(BLACK)
    assert np.isnan(golden["right_hand"][:, 0, 0]).sum() > len(BLACK)


@pytest.mark.parametrize("smooth", [True, False])
def test_the_pose_is_filtered_as_mediapipe_does(golden: Golden, library: Any, smooth: bool) -> None:
    """The second video of the batch begins four frames late, and the first must not notice."""
    memory, size = nothing(library, 2), sizes(library, 2)
    ending = "" if smooth else "_unsmoothed"
    for frame in range(len(golden["pose"])):
        rows = [frame, max(0, frame - 4)]
        late = np.array([False, frame < 4])
        raw = [golden[name][rows].copy() for name in ("pose_raw", "auxiliary_raw", "world_raw")]
        for values in raw:
            values[late] = np.nan
        body, memory = tracking.filter_body(Body(*map(library.asarray, raw)), memory, size, smooth=smooth)
        for found, name in (
            (body.points, f"pose{ending}"),
            (body.world, f"pose_world{ending}"),
            (body.auxiliary, "auxiliary"),
            (as_array(memory.body_roi), "body_roi"),
        ):
            expected = golden[name][rows][~late]
            values = np.asarray(found)[~late]
            if name.startswith("pose_uns"):
                values = values[..., :3]
            np.testing.assert_array_equal(values, expected[..., : values.shape[-1]], err_msg=f"{name} {frame}")


@pytest.mark.parametrize("part", ["left_hand", "right_hand", "face"])
def test_the_roi_of_the_frame_before_is_that_of_mediapipe(golden: Golden, library: Any, part: str) -> None:
    last = library.asarray(golden[part][:-1, :, :2].copy())
    make = tracking.previous_face_roi if part == "face" else tracking.previous_hand_roi
    found = as_array(make(last, sizes(library, len(last))))
    expected = golden[f"{part}_last_roi"][1:]
    # MediaPipe makes it only where there was a part.
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("part", ["left_hand", "right_hand", "face"])
def test_the_roi_is_kept_or_lost_as_mediapipe_does(golden: Golden, library: Any, part: str) -> None:
    found, last = (golden[f"{part}_{kind}_roi"] for kind in ("found", "last"))
    before = np.full_like(golden[part][:, :, :2], np.nan)
    before[1:] = golden[part][:-1, :, :2]
    size, near = sizes(library, len(found)), FACE_NEARNESS if part == "face" else HAND_NEARNESS
    chosen = choose_roi(rect(library, found), rect(library, last), library.asarray(before), size, near)
    np.testing.assert_array_equal(as_array(chosen), golden[f"{part}_roi"])
    assert (as_array(chosen) == last).all(axis=1).any()


FOUND = [0.5, 0.5, 0.25, 0.25, 0.0]


def is_kept(previous: list[float], landmark: tuple[float, float] = (0.5, 0.5), near: Nearness = HAND_NEARNESS) -> bool:
    size = ImageSize(float32([256]), float32([256]))
    landmarks = float32([[landmark]])
    chosen = choose_roi(Rect(*float32([FOUND]).T), Rect(*float32([previous]).T), landmarks, size, near)
    kept: list[float] = as_array(chosen)[0].tolist()
    return kept == list(map(float, float32(previous))) and previous != FOUND


@pytest.mark.parametrize(
    ("kept", "lost"),
    [
        ([0.549, 0.5, 0.25, 0.25, 0.0], [0.551, 0.5, 0.25, 0.25, 0.0]),
        ([0.5, 0.451, 0.25, 0.25, 0.0], [0.5, 0.449, 0.25, 0.25, 0.0]),
        ([0.5, 0.5, 0.349, 0.25, 0.0], [0.5, 0.5, 0.351, 0.25, 0.0]),
        ([0.5, 0.5, 0.25, 0.151, 0.0], [0.5, 0.5, 0.25, 0.149, 0.0]),
        ([0.5, 0.5, 0.25, 0.25, 0.698], [0.5, 0.5, 0.25, 0.25, 0.699]),
        ([0.5, 0.5, 0.25, 0.25, 6.284], [0.5, 0.5, 0.25, 0.25, -2.0]),
    ],
)
def test_a_roi_is_lost_where_it_moves_turns_or_grows_too_much(kept: list[float], lost: list[float]) -> None:
    assert is_kept(kept)
    assert not is_kept(lost)


def test_a_roi_exactly_at_a_limit_is_kept() -> None:
    quarter = Nearness(40.0, 0.25, 0.5, 0.9)
    assert is_kept([0.5625, 0.5, 0.25, 0.25, 0.0], near=quarter)
    assert is_kept([0.5, 0.5, 0.375, 0.25, 0.0], near=quarter)


def test_a_roi_is_lost_where_a_landmark_lies_on_the_edge_of_the_inner_roi() -> None:
    inner = Nearness(40.0, 0.25, 0.5, 0.5)
    moved = [0.51, 0.5, 0.25, 0.25, 0.0]
    assert is_kept(moved, (0.5624, 0.5), inner)
    assert not is_kept(moved, (0.5625, 0.5), inner)
    assert not is_kept(moved, (0.5, 0.4375), inner)


def test_without_a_roi_in_this_frame_there_is_none() -> None:
    size = ImageSize(float32([256]), float32([256]))
    missing, previous = Rect(*float32([[np.nan] * 5]).T), Rect(*float32([FOUND]).T)
    chosen = choose_roi(missing, previous, float32([[[0.5, 0.5]]]), size, HAND_NEARNESS)
    assert np.isnan(as_array(chosen)).all()


def test_a_hand_left_of_the_image_has_an_roi_that_reaches_to_its_edge() -> None:
    """MediaPipe looks for the highest coordinate from the smallest positive number on."""
    hand = np.full((1, 21, 2), (0.5, 0.4), np.float32)
    hand[0, [0, 5, 17]] = [(0.5, 0.6), (0.45, 0.4), (0.55, 0.4)]
    size = ImageSize(float32([256]), float32([256]))
    inside, outside = (tracking.previous_hand_roi(points, size) for points in (hand, hand - float32([1, 0])))
    assert (inside.width[0], inside.center_x[0]) == (pytest.approx(0.4, abs=0.05), pytest.approx(0.5, abs=0.05))
    # The palm reaches from -0.55 to 0: its middle is at -0.275, from which it reaches to -0.275 and again to 0.
    assert (outside.width[0], outside.center_x[0]) == (pytest.approx(0.55, abs=0.08), pytest.approx(-0.41, abs=0.05))


def test_after_a_gap_world_and_visibility_go_on_and_the_pose_starts_anew(golden: Golden) -> None:
    first, gap, again = 10, BLACK.start, BLACK.stop
    memory, size = nothing(np, 1), sizes(np, 1)

    def feed(frame: int, memory: Memory) -> tuple[Body, Memory]:
        raw = (golden[name][[frame]] for name in ("pose_raw", "auxiliary_raw", "world_raw"))
        return tracking.filter_body(Body(*raw), memory, size, smooth=True)

    _, memory = feed(first, memory)
    _, memory = feed(gap, memory)
    assert np.isnan(memory.pose.raw).all()
    assert np.isnan(memory.auxiliary.raw).all()
    assert np.isnan(memory.body_roi.width).all()
    assert np.isfinite(memory.world.raw).all()
    assert memory.world.age.tolist() == [1]
    _, after_another = feed(gap, memory)
    assert after_another.world.age.tolist() == [2]
    body, _ = feed(again, after_another)
    np.testing.assert_allclose(body.points[0, :, :3], golden["pose_raw"][again, :, :3], rtol=1e-6)
    assert not np.array_equal(body.points[0, :, 3], golden["pose_raw"][again, :, 3])
    assert not np.array_equal(body.world, golden["world_raw"][[again]])


@settings(deadline=None)
@given(videos=st.integers(1, 3), face_points=st.sampled_from([468, 478]), seed=st.integers(0, 2**32 - 1))
def test_a_memory_survives_as_rows(videos: int, face_points: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(videos, Memory.numbers(face_points))).astype(np.float32)
    np.testing.assert_array_equal(Memory.from_rows(rows, face_points).rows(), rows)


def run(model: HolisticLitertTracking, frames: list[Image], state: NDArray[np.float32]) -> tuple[Any, Any]:
    """Landmarks of a video frame by frame, and the state after each."""
    batches, states = [], []
    for frame in frames:
        batch, state = model.track([frame], state)
        batches.append(batch)
        states.append(state)
    return batches, states


@pytest.fixture(scope="module")
def tracked(weights: Path, signer: list[Image]) -> Any:
    """The clip from its beginning to after the gap."""
    model = HolisticLitertTracking(ModelSettings(mode="tracking"), weights)
    start = np.full((1, model.state_size), np.nan, np.float32)
    return model, *run(model, signer[:34], start)


def joined(batches: list[LandmarkBatch]) -> LandmarkBatch:
    return LandmarkBatch(
        {part: np.concatenate([batch.points[part] for batch in batches]) for part in batches[0].points},
        {part: np.concatenate([batch.scores[part] for batch in batches]) for part in batches[0].scores},
    )


def test_landmarks_are_those_of_mediapipe(golden: Golden, tracked: Any) -> None:
    model, batches, _ = tracked
    found = joined(batches)
    expected = {part: golden[part][: len(batches)] for part in found.points}
    sides = np.full((len(batches), 2), (WIDTH, HEIGHT))
    report = compare(model.layout, sides, LandmarkBatch(expected, {}), found)
    assert report.failures() == ()
    assert report.presence == 1
    if provenance.architecture() == "x86_64":
        for part, points in expected.items():
            np.testing.assert_array_equal(found.points[part], points, err_msg=part)


def test_another_model_goes_on_from_a_state(tracked: Any, weights: Path, signer: list[Image]) -> None:
    _, batches, states = tracked
    other = HolisticLitertTracking(ModelSettings(mode="tracking"), weights)
    kept = np.frombuffer(states[19].tobytes(), np.float32).reshape(1, -1)
    again, _ = run(other, signer[20:26], kept)
    for part, points in joined(again).points.items():
        np.testing.assert_array_equal(points, joined(batches[20:26]).points[part], err_msg=part)


def test_videos_together_are_the_same_bits_as_each_alone(tracked: Any, signer: list[Image]) -> None:
    model, batches, states = tracked
    rows = [5, 23, 24, 29]
    before = np.concatenate([states[row - 1] for row in rows])
    given = before.copy()
    together, after = model.track([signer[row] for row in rows], before)
    np.testing.assert_array_equal(before, given)
    for place, row in enumerate(rows):
        np.testing.assert_array_equal(after[place], states[row][0])
        for part, points in together.points.items():
            np.testing.assert_array_equal(points[place], batches[row].points[part][0], err_msg=part)


def test_torch_tracks_like_litert_and_alone_as_in_company(tracked: Any, weights: Path, signer: list[Image]) -> None:
    pytest.importorskip("torch")
    from phoenix_ray.models.holistic.torch_engine.engine import HolisticTorchTracking

    _, batches, states = tracked
    settings = ModelSettings(mode="tracking", engine="torch", device="cpu", batch_size=2)
    model = HolisticTorchTracking(settings, weights)
    rows = [5, 24]
    before = np.concatenate([states[row - 1] for row in rows])
    together, after = model.track([signer[row] for row in rows], before)
    alone, after_alone = model.track([signer[5]], before[:1])
    np.testing.assert_array_equal(after[:1], after_alone)
    for part, points in alone.points.items():
        np.testing.assert_array_equal(points, together.points[part][:1], err_msg=part)
    for place, row in enumerate(rows):
        for part, points in together.points.items():
            np.testing.assert_allclose(points[place], batches[row].points[part][0], atol=1e-3, err_msg=part)
