from __future__ import annotations

import numpy as np

from phoenix_ray.models.holistic.attention import (
    LEFT_EYE_CONTOUR,
    LIPS,
    RIGHT_EYE,
    RIGHT_EYE_CONTOUR,
    RegionOfFace,
    landmarks_to_transform,
    refine_face,
    sample_bilinear,
    transform_landmarks,
)
from tests.models.holistic.floats import float32

MESH = np.arange(468 * 3, dtype=np.float32).reshape(1, 468, 3)
REFINEMENTS = [np.full((1, count, 2), -1.0 - order, np.float32) for order, count in enumerate((80, 71, 71, 5, 5))]


def test_refined_vertices_take_x_and_y_and_keep_the_depth_of_the_mesh() -> None:
    face = refine_face(MESH, REFINEMENTS)
    assert face.shape == (1, 478, 3)
    assert (face[0, list(LIPS), :2] == -1).all()
    assert (face[0, list(RIGHT_EYE), :2] == -2).all()
    np.testing.assert_array_equal(face[0, :468, 2], MESH[0, :, 2])


def test_vertices_without_refinement_are_those_of_the_mesh() -> None:
    # 1 is the tip of the nose, 152 the chin.
    np.testing.assert_array_equal(refine_face(MESH, REFINEMENTS)[0, [1, 152]], MESH[0, [1, 152]])


def test_irises_lie_at_the_mean_depth_of_their_eyes_contour() -> None:
    face = refine_face(MESH, REFINEMENTS)[0]
    assert (face[468:473, :2] == -4).all()
    assert (face[473:478, :2] == -5).all()
    np.testing.assert_allclose(face[468:473, 2], MESH[0, list(RIGHT_EYE_CONTOUR), 2].mean(), rtol=1e-6)
    np.testing.assert_allclose(face[473:478, 2], MESH[0, list(LEFT_EYE_CONTOUR), 2].mean(), rtol=1e-6)


def region(scale: float = 1.0) -> RegionOfFace:
    return RegionOfFace(
        left_rotation_idx=0,
        right_rotation_idx=1,
        target_rotation_radians=0.0,
        subset_idxs=(0, 1, 2, 3),
        scale_x=scale,
        scale_y=scale,
        output_width=8,
        output_height=4,
    )


def test_the_transform_takes_the_grid_to_the_bounds_of_its_vertices() -> None:
    landmarks = float32([[[10, 20, 0], [26, 20, 0], [10, 16, 0], [26, 24, 0]]])
    transform = landmarks_to_transform(landmarks, region())
    corners = float32([[[0, 0], [8, 0], [8, 4], [4, 2]]])
    np.testing.assert_allclose(transform_landmarks(corners, transform), [[[10, 16], [26, 16], [26, 24], [18, 20]]])


def test_the_transform_turns_with_the_line_between_its_vertices() -> None:
    # The same face turned a quarter clockwise about the origin: (x, y) -> (-y, x).
    landmarks = float32([[[-20, 10, 0], [-20, 26, 0], [-16, 10, 0], [-24, 26, 0]]])
    transform = landmarks_to_transform(landmarks, region())
    corners = float32([[[0, 0], [8, 0], [8, 4], [4, 2]]])
    moved = transform_landmarks(corners, transform)
    np.testing.assert_allclose(moved, [[[-16, 10], [-16, 26], [-24, 26], [-20, 18]]], atol=1e-5)


def identity(x: float = 0.0, y: float = 0.0) -> np.ndarray:
    transform = np.eye(4, dtype=np.float32)[None]
    transform[0, :2, 3] = (x, y)
    return transform


def test_sampling_at_whole_cells_copies_them() -> None:
    features = np.random.default_rng(0).random((1, 6, 7, 3), dtype=np.float32)
    np.testing.assert_array_equal(sample_bilinear(features, identity(2, 1), 4, 5), features[:, 1:5, 2:7])


def test_sampling_between_cells_mixes_them() -> None:
    features = float32([[0, 4], [8, 12]]).reshape(1, 2, 2, 1)
    assert sample_bilinear(features, identity(0.5, 0.25), 1, 1) == 0.75 * 2 + 0.25 * 10


def test_samples_outside_of_the_features_are_zero() -> None:
    features = np.ones((1, 4, 4, 1), dtype=np.float32)
    sampled = sample_bilinear(features, identity(-1, 2), 3, 3)[0, :, :, 0]
    np.testing.assert_array_equal(sampled, [[0, 1, 1], [0, 1, 1], [0, 0, 0]])


def test_items_of_a_batch_are_sampled_from_their_own_features() -> None:
    features = np.random.default_rng(0).random((2, 5, 5, 2), dtype=np.float32)
    transforms = np.concatenate([identity(0.3, 0.6), identity(1.2, 0.1)])
    alone = [sample_bilinear(features[item : item + 1], transforms[item : item + 1], 3, 3)[0] for item in range(2)]
    np.testing.assert_array_equal(sample_bilinear(features, transforms, 3, 3), alone)
