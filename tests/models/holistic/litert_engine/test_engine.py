from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray import layouts
from phoenix_ray.errors import ModelError
from phoenix_ray.model_settings import ModelSettings
from phoenix_ray.models.base import LandmarkBatch
from phoenix_ray.models.holistic.crop_transforms import MAX_SIDE
from phoenix_ray.models.holistic.geometry import Rect
from phoenix_ray.models.holistic.litert_engine.engine import HolisticLitert, WarpCropper
from phoenix_ray.models.holistic.networks import FACE_LANDMARK, HAND_RECROP, NetworkSpec
from tests.models.holistic.floats import float32

Image = NDArray[np.uint8]


@pytest.fixture(scope="module", params=[468, 478])
def face_points(request: pytest.FixtureRequest) -> int:
    points: int = request.param
    return points


@pytest.fixture(scope="module")
def model(weights: Path, face_points: int) -> HolisticLitert:
    return HolisticLitert(ModelSettings(face_points=face_points), weights)


@pytest.fixture(scope="module")
def together(model: HolisticLitert, moving_astronaut: list[Image]) -> LandmarkBatch:
    return model.estimate(moving_astronaut)


def assert_rows_equal(some: LandmarkBatch, rows: list[int], all_of_them: LandmarkBatch) -> None:
    for name, points in some.points.items():
        np.testing.assert_array_equal(points, all_of_them.points[name][rows])
    for name, scores in some.scores.items():
        np.testing.assert_array_equal(scores, all_of_them.scores[name][rows])


def test_a_person_is_found_where_she_is(together: LandmarkBatch, moving_astronaut: list[Image]) -> None:
    assert together.present("pose").all()
    assert together.present("face").all()
    nose = together.points["pose"][:, 0, :2]
    tip = together.points["face"][:, 1, :2]
    np.testing.assert_allclose(nose, tip, atol=0.03)
    assert (np.abs(nose - 0.5) < 0.25).all()
    assert (np.diff(nose[:, 0]) > 0).all(), "the frames pan from left to right"


def test_pose_alone_is_the_pose_of_holistic(
    weights: Path, together: LandmarkBatch, moving_astronaut: list[Image]
) -> None:
    model = HolisticLitert(ModelSettings(name="blazepose"), weights)
    alone = model.estimate(moving_astronaut)
    assert model.layout == layouts.BLAZEPOSE
    assert alone.points.keys() == {"pose", "pose_world"}
    assert alone.scores.keys() == {"pose"}
    assert_rows_equal(alone, list(range(len(moving_astronaut))), together)


def test_points_and_scores_follow_the_layout(together: LandmarkBatch, face_points: int) -> None:
    layout = layouts.holistic(face_points)
    assert {name: points.shape for name, points in together.points.items()} == {
        part.name: (6, len(part.points), len(part.axes)) for part in layout.parts
    }
    assert list(together.scores) == [part.name for part in layout.parts if part.scored]
    assert all(array.dtype == np.float32 for array in (*together.points.values(), *together.scores.values()))


def test_a_missing_part_is_missing_throughout(together: LandmarkBatch) -> None:
    for points in together.points.values():
        missing = np.isnan(points)
        assert (missing.all(axis=(1, 2)) | ~missing.any(axis=(1, 2))).all()


def test_the_score_of_a_part_that_was_looked_for_in_vain_is_kept(together: LandmarkBatch) -> None:
    looked_for = ~np.isnan(together.scores["left_hand"])
    absent = ~together.present("left_hand")
    assert (looked_for & absent).any()
    assert (together.scores["left_hand"][looked_for & absent] <= 0.5).all()


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)), cut=st.integers(1, 5))
def test_landmarks_are_the_same_bits_in_any_order_and_batch(
    model: HolisticLitert, together: LandmarkBatch, moving_astronaut: list[Image], order: list[int], cut: int
) -> None:
    for rows in (order[:cut], order[cut:]):
        assert_rows_equal(model.estimate([moving_astronaut[row] for row in rows]), rows, together)


def test_frames_of_other_sizes_and_without_a_person_change_nothing(
    model: HolisticLitert, together: LandmarkBatch, moving_astronaut: list[Image]
) -> None:
    nobody = np.zeros((90, 160, 3), dtype=np.uint8)
    mixed = model.estimate([nobody, moving_astronaut[2], nobody])
    assert mixed.present("pose").tolist() == [False, True, False]
    assert np.isnan(mixed.scores["pose"][[0, 2]]).all()
    np.testing.assert_array_equal(mixed.points["face"][1], together.points["face"][2])


@pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 12_000), (12_000, 1), (3, 40_000), (12_000, 12_000)],
    ids=lambda shape: f"{shape[1]}x{shape[0]}",
)
@pytest.mark.parametrize("minimum", [0.0, 0.5])
def test_images_of_any_shape_give_numbers_or_nan(weights: Path, shape: tuple[int, int], minimum: float) -> None:
    eager = ModelSettings(min_detection_confidence=minimum, min_tracking_confidence=minimum)
    image = np.broadcast_to(np.uint8(200), (*shape, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = HolisticLitert(eager, weights).estimate([image])
    assert not any(np.isinf(points).any() for points in batch.points.values())


def test_no_frames_give_no_rows(model: HolisticLitert) -> None:
    batch = model.estimate([])
    assert {len(array) for array in (*batch.points.values(), *batch.scores.values())} == {0}


def test_confidences_and_kernel_are_honoured(weights: Path, moving_astronaut: list[Image]) -> None:
    frames = moving_astronaut[:1]
    unsure = HolisticLitert(ModelSettings(min_tracking_confidence=1.0), weights).estimate(frames)
    assert not unsure.present("pose").any()
    assert 0.5 < unsure.scores["pose"][0] < 1
    blind = HolisticLitert(ModelSettings(min_detection_confidence=1.0), weights).estimate(frames)
    assert np.isnan(blind.scores["pose"]).all()
    narrow = HolisticLitert(ModelSettings(heatmap_kernel=7), weights).estimate(frames)
    wide = HolisticLitert(ModelSettings(heatmap_kernel=9), weights).estimate(frames)
    difference = np.abs(narrow.points["pose"] - wide.points["pose"])[0, :, :2].max()
    assert 0 < difference < 0.05


def test_batch_size_is_the_setting(weights: Path) -> None:
    assert HolisticLitert(ModelSettings(batch_size=5), weights).batch_size == 5


def test_irises_lie_within_their_eyes(weights: Path, moving_astronaut: list[Image]) -> None:
    face = HolisticLitert(ModelSettings(face_points=478), weights).estimate(moving_astronaut[:1]).points["face"][0]
    for iris, corners in ((468, (33, 133)), (473, (362, 263))):
        left, right = sorted(face[list(corners), 0])
        assert left < face[iris, 0] < right


@pytest.fixture
def copied_weights(weights: Path, tmp_path: Path) -> Path:
    for file in weights.glob("*.tflite"):
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


@pytest.mark.parametrize("network", [HAND_RECROP, FACE_LANDMARK[478]], ids=lambda network: network.file)
def test_missing_and_damaged_weights_are_named_with_the_way_out(copied_weights: Path, network: NetworkSpec) -> None:
    file = copied_weights / network.file
    whole = file.read_bytes()
    file.unlink()
    with pytest.raises(ModelError, match=rf"{network.file} cannot be read.*phoenix-ray models install"):
        HolisticLitert(ModelSettings(face_points=478), copied_weights)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=rf"{network.file} is damaged.*phoenix-ray models install"):
        HolisticLitert(ModelSettings(face_points=478), copied_weights)


BLACK_OUTSIDE = NetworkSpec("", 16, 0.0, repeat_border=False)
REPEATED_OUTSIDE = NetworkSpec("", 16, 0.0, repeat_border=True)


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), dtype=np.uint8)


def squares(*centers: tuple[float, float], side: float = 16, rotation: float = 0) -> Rect:
    x, y = float32(centers).T
    return Rect(x, y, np.full_like(x, side), np.full_like(x, side), np.full_like(x, rotation))


def test_an_upright_roi_on_whole_pixels_is_a_slice() -> None:
    image = noise(40, 50)
    (crop,) = WarpCropper([image]).crop(np.array([0]), squares((20, 18)), BLACK_OUTSIDE)
    np.testing.assert_array_equal(crop, image[10:26, 12:28])


def test_a_quarter_turn_turns_the_pixels() -> None:
    image = noise(40, 50)
    (crop,) = WarpCropper([image]).crop(np.array([0]), squares((20, 20), rotation=np.pi / 2), BLACK_OUTSIDE)
    turned = np.rot90(image[12:29, 12:29])
    np.testing.assert_array_equal(crop[1:], turned[:16, :16][1:])


def test_outside_of_the_image_is_black_or_its_repeated_border() -> None:
    image = noise(40, 50)
    roi = squares((0, 20))
    (black,) = WarpCropper([image]).crop(np.array([0]), roi, BLACK_OUTSIDE)
    (repeated,) = WarpCropper([image]).crop(np.array([0]), roi, REPEATED_OUTSIDE)
    assert (black[:, :8] == 0).all()
    np.testing.assert_array_equal(repeated[:, :8], np.repeat(image[12:28, :1], 8, axis=1))
    np.testing.assert_array_equal(black[:, 8:], repeated[:, 8:])


def test_each_crop_comes_from_its_own_image() -> None:
    images = [noise(30, 30, seed=1), noise(40, 60, seed=2)]
    cropper = WarpCropper(images)
    np.testing.assert_array_equal([*cropper.size], [[30, 60], [30, 40]])
    crops = cropper.crop(np.array([1, 0, 1]), squares((10, 10), (10, 10), (12, 10)), BLACK_OUTSIDE)
    np.testing.assert_array_equal(crops[0], images[1][2:18, 2:18])
    np.testing.assert_array_equal(crops[1], images[0][2:18, 2:18])
    np.testing.assert_array_equal(crops[2], images[1][2:18, 4:20])


def test_an_image_too_long_to_warp_is_reduced() -> None:
    cropper = WarpCropper([np.full((2, MAX_SIDE + 5000, 3), 7, dtype=np.uint8)])
    assert (cropper.size.width, cropper.size.height) == (MAX_SIDE, 2)
    assert (cropper.crop(np.array([0]), squares((MAX_SIDE - 8, 1)), REPEATED_OUTSIDE) == 7).all()


def test_an_image_that_is_a_view_is_cropped_like_its_copy() -> None:
    image = noise(40, 50)[:, ::-1]
    view, copy = (
        WarpCropper([pixels]).crop(np.array([0]), squares((20, 20), rotation=0.3), REPEATED_OUTSIDE)
        for pixels in (image, image.copy())
    )
    np.testing.assert_array_equal(view, copy)
