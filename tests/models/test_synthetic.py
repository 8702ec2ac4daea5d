from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models import registry
from phoenix_ray.models.base import LandmarkBatch, TrackingModel
from phoenix_ray.models.synthetic import GRID, LAYOUT, MISSING_OF_8, SyntheticModel, SyntheticTracker, mean_colours

Image = NDArray[np.uint8]

# CRC-32 of each part's landmarks in one frame. Where they change, raise `synthetic.VERSION`.
CHECKSUMS = [436553110, 2974981924, 2381083293, 4077993423, 2081032298]
IMAGES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)).flatmap(
    lambda shape: arrays.arrays(np.uint8, shape)
)


def estimate(*images: Image) -> LandmarkBatch:
    return SyntheticModel(16).estimate(images)


def same(one: LandmarkBatch, other: LandmarkBatch) -> bool:
    return all(np.array_equal(one.points[part], other.points[part], equal_nan=True) for part in one.points) and all(
        np.array_equal(one.scores[part], other.scores[part], equal_nan=True) for part in one.scores
    )


@pytest.fixture(scope="module")
def noise() -> LandmarkBatch:
    return estimate(*np.random.default_rng(0).integers(0, 256, (2_000, 12, 10, 3), np.uint8))


def test_the_same_frames_give_the_same_bits_in_every_release() -> None:
    frame = (np.arange(26 * 21 * 3) * 7 % 256).astype(np.uint8).reshape(26, 21, 3)
    batch = estimate(frame)
    assert [zlib.crc32(batch.points[part.name].tobytes()) for part in LAYOUT.parts] == CHECKSUMS


@given(images=st.lists(IMAGES, min_size=1, max_size=4))
def test_a_frame_does_not_depend_on_the_others(images: list[Image]) -> None:
    together = estimate(*images)
    for index, image in enumerate(images):
        alone = LandmarkBatch(
            {part: values[index : index + 1] for part, values in together.points.items()},
            {part: values[index : index + 1] for part, values in together.scores.items()},
        )
        assert same(estimate(image), alone)


@given(image=IMAGES)
def test_what_is_found_has_the_shape_of_the_layout_and_lies_in_the_picture(image: Image) -> None:
    batch = estimate(image)
    for part in LAYOUT.parts:
        points = batch.points[part.name]
        assert points.shape == (1, len(part.points), len(part.axes))
        assert points.dtype == np.float32
        assert np.isnan(points).all() or ((points > 0) & (points < 1)).all()
    assert batch.scores.keys() == {part.name for part in LAYOUT.parts if part.scored}


def test_an_empty_batch_keeps_its_shapes() -> None:
    batch = estimate()
    assert {part: values.shape for part, values in batch.points.items()} == {
        part.name: (0, len(part.points), len(part.axes)) for part in LAYOUT.parts
    }
    assert all(values.shape == (0,) for values in batch.scores.values())


def test_frames_differ() -> None:
    first = np.zeros((26, 21, 3), np.uint8)
    second = first.copy()
    second[:13] = 255
    assert not same(estimate(first), estimate(second))


def test_parts_are_missed_as_often_as_stated(noise: LandmarkBatch) -> None:
    person = noise.present("pose")
    assert person.mean() == pytest.approx(15 / 16, abs=0.03)
    for part, missing in MISSING_OF_8.items():
        assert noise.present(part)[person].mean() == pytest.approx(1 - missing / 8, abs=0.05)


def test_without_a_person_there_is_nothing(noise: LandmarkBatch) -> None:
    nobody = ~noise.present("pose")
    for part in LAYOUT.parts:
        assert not noise.present(part.name)[nobody].any()
        if part.scored and part.name != "pose":
            assert np.isnan(noise.scores[part.name][nobody]).all(), "its network did not run"


def test_a_score_says_whether_its_part_was_found(noise: LandmarkBatch) -> None:
    for part, scores in noise.scores.items():
        ran = ~np.isnan(scores)
        np.testing.assert_array_equal(scores[ran] >= 0.5, noise.present(part)[ran])


@given(image=IMAGES)
def test_mean_colours_are_those_of_the_cells(image: Image) -> None:
    height, width, _ = image.shape
    means = mean_colours(image)
    for row in range(GRID):
        for column in range(GRID):
            top, bottom = row * height // GRID, (row + 1) * height // GRID
            left, right = column * width // GRID, (column + 1) * width // GRID
            cell = image[top : max(bottom, top + 1), left : max(right, left + 1)].reshape(-1, 3)
            np.testing.assert_array_equal(means[row, column], cell.sum(axis=0, dtype=np.int64) // len(cell))


def track(images: Sequence[Image], states: NDArray[np.float32]) -> tuple[LandmarkBatch, NDArray[np.float32]]:
    return SyntheticTracker(16).track(images, states)


def test_each_mode_has_its_model_and_its_identity() -> None:
    static, tracking = ModelSettings(name="synthetic"), ModelSettings(name="synthetic", mode="tracking")
    assert not isinstance(registry.create(static), TrackingModel)
    assert isinstance(registry.create(tracking), TrackingModel)
    assert (registry.facts(static).tracks, registry.facts(tracking).tracks) == (False, True)
    assert "mode" not in registry.facts(static).identity
    assert registry.facts(tracking).identity["mode"] == "tracking"


@given(images=st.lists(IMAGES, min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_tracked_video_does_not_depend_on_the_others(images: list[Image], seed: int) -> None:
    numbers = np.random.default_rng(seed)
    states = numbers.random((len(images), SyntheticTracker.state_size)).astype(np.float32) * 255
    states[numbers.random(len(images)) < 0.5] = np.nan
    before = states.copy()
    together, after = track(images, states)
    assert states.tobytes() == before.tobytes()
    for index, image in enumerate(images):
        batch, state = track([image], states[index : index + 1])
        assert state.tobytes() == after[index : index + 1].tobytes()
        assert all(np.array_equal(batch.points[part][0], together.points[part][index], equal_nan=True)
                   for part in batch.points)  # fmt: skip


def test_one_frame_shows_in_all_after_it() -> None:
    images = np.random.default_rng(3).integers(0, 256, (300, 12, 10, 3), np.uint8)
    changed = images.copy()
    changed[0, 0, 0, 0] ^= 255
    found = []
    for video in (images, changed):
        state = np.full((1, SyntheticTracker.state_size), np.nan, np.float32)
        poses = []
        for image in video:
            batch, state = track([image], state)
            poses.append(batch.points["face"].tobytes())
        found.append((poses, state.tobytes()))
    assert found[0][1] != found[1][1]
    assert sum(one != other for one, other in zip(*(poses for poses, _ in found), strict=True)) > 50
