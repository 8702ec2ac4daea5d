"""The pipeline with made-up networks: what is looked at, what counts as found, and in which array library."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray.models.holistic.decoding import FACE_ANCHORS, POSE_ANCHORS
from phoenix_ray.models.holistic.geometry import ImageSize, Rect
from phoenix_ray.models.holistic.networks import Detections, FaceOutput, HandOutput, Networks, NetworkSpec, PoseOutput
from phoenix_ray.models.holistic.pipeline import HolisticLandmarks, HolisticPipeline
from phoenix_ray.models.holistic.tracking import Memory
from tests.models.holistic.floats import float32

LEFT_WRIST, RIGHT_WRIST = 15, 16


@dataclass
class Scene(Networks):
    """What the networks see in each image; crops are the indices of the images they come from."""

    persons: list[bool]
    pose_logit: float = 2.0
    hand_logit: float = 2.0
    face_logit: float = 2.0
    face_detected: bool = True
    hidden: tuple[int, ...] = ()
    face_points: int = 468
    library: Any = np
    looked_at: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def estimate(self) -> HolisticLandmarks:
        make = self.library.asarray
        pipeline = HolisticPipeline(self, make(POSE_ANCHORS), make(FACE_ANCHORS), 9, 0.5, 0.5)
        return pipeline.estimate(self)

    def track(self, memory: Memory) -> tuple[HolisticLandmarks, Memory]:
        pipeline = HolisticPipeline(self, POSE_ANCHORS, FACE_ANCHORS, 9, 0.5, 0.5)
        return pipeline.track(self, memory, smooth=True)

    @property
    def size(self) -> ImageSize:
        width, height = np.full((2, len(self.persons)), [[200], [100]], dtype=np.float32)
        return ImageSize(self.library.asarray(width), self.library.asarray(height))

    def crop(self, image: Any, roi: Rect, network: NetworkSpec) -> NDArray[np.int64]:
        assert len({len(np.asarray(values)) for values in (image, *roi)}) == 1
        assert all(np.isfinite(np.asarray(values)).all() for values in roi)
        images = np.asarray(image)
        self.looked_at[network.file] += images.tolist()
        return images

    def pose_detection(self, crops: NDArray[np.int64]) -> Detections:
        return self._boxes(POSE_ANCHORS, 4, [self.persons[image] for image in crops])

    def face_detection(self, crops: NDArray[np.int64]) -> Detections:
        return self._boxes(FACE_ANCHORS, 6, [self.face_detected] * len(crops))

    def pose_landmark(self, crops: NDArray[np.int64]) -> PoseOutput:
        landmarks = np.random.default_rng(1).uniform(90, 160, (39, 5)).astype(np.float32)
        landmarks[:, 3:] = 5
        landmarks[list(self.hidden), 3] = -5
        heatmap = np.random.default_rng(2).normal(-1, 2, (64, 64, 39)).astype(np.float32)
        world = np.random.default_rng(3).normal(0, 0.5, (39, 3)).astype(np.float32)
        logit = np.float32(self.pose_logit)
        return PoseOutput(*(self._each(crops, value) for value in (landmarks, logit, heatmap, world)))

    def hand_recrop(self, crops: NDArray[np.int64]) -> Any:
        return self._each(crops, float32([[120, 130], [125, 200]]))

    def hand_landmark(self, crops: NDArray[np.int64]) -> HandOutput:
        landmarks = np.random.default_rng(4).uniform(0, 224, (21, 3)).astype(np.float32)
        return HandOutput(self._each(crops, landmarks), self._each(crops, np.float32(self.hand_logit)))

    def face_landmark(self, crops: NDArray[np.int64]) -> FaceOutput:
        random = np.random.default_rng(5)
        mesh = self._each(crops, random.uniform(0, 192, (468, 3)).astype(np.float32))
        counts = (80, 71, 71, 5, 5) if self.face_points == 478 else ()
        refinements = tuple(self._each(crops, random.uniform(0, 192, (count, 2)).astype("f4")) for count in counts)
        return FaceOutput(mesh, refinements, self._each(crops, np.float32(self.face_logit)))

    def _each(self, crops: NDArray[np.int64], value: Any) -> Any:
        return self.library.asarray(np.stack([value] * len(crops)))

    def _boxes(self, anchors: NDArray[np.float32], keypoints: int, found: list[bool]) -> Detections:
        regressors = np.zeros((len(found), len(anchors), 4 + 2 * keypoints), dtype=np.float32)
        regressors[:, :, 2:4] = 60
        regressors[:, :, 4:] = np.random.default_rng(6).uniform(-20, 20, 2 * keypoints)
        logits = np.full((len(found), len(anchors)), -9, dtype=np.float32)
        logits[found, len(anchors) // 2 : len(anchors) // 2 + 5] = 3
        return Detections(self.library.asarray(regressors), self.library.asarray(logits))


def found(points: Any) -> list[bool]:
    return [bool(flag) for flag in ~np.isnan(np.asarray(points)).any(axis=(1, 2))]


def test_pose_alone_looks_for_nothing_else() -> None:
    scene = Scene([True, False, True], face_points=0)
    result = scene.estimate()
    assert scene.looked_at == {"pose_detection.tflite": [0, 1, 2], "pose_landmark_full.tflite": [0, 2]}
    whole = Scene([True, False, True]).estimate()
    np.testing.assert_array_equal(result.pose.points, whole.pose.points)
    np.testing.assert_array_equal(result.world, whole.world)
    assert result.face.points.shape == (3, 0, 3)


def test_only_images_with_a_person_are_looked_at_further_and_hands_go_as_one_batch() -> None:
    scene = Scene([True, False, True])
    result = scene.estimate()
    assert scene.looked_at == {
        "pose_detection.tflite": [0, 1, 2],
        "pose_landmark_full.tflite": [0, 2],
        "hand_recrop.tflite": [0, 2, 0, 2],
        "hand_landmark_full.tflite": [0, 2, 0, 2],
        "face_detection_short_range.tflite": [0, 2],
        "face_landmark.tflite": [0, 2],
    }
    for part in (result.pose, result.left_hand, result.right_hand, result.face):
        assert found(part.points) == [True, False, True]
        assert np.isnan(part.score).tolist() == [False, True, False]
    assert found(result.world) == [True, False, True]


def test_nobody_costs_only_the_detector() -> None:
    scene = Scene([False, False])
    result = scene.estimate()
    assert list(scene.looked_at) == ["pose_detection.tflite"]
    assert result.face.points.shape == (2, 468, 3)
    assert np.isnan(result.pose.score).all()


def test_a_pose_at_the_threshold_is_missing_and_keeps_its_score() -> None:
    scene = Scene([True], pose_logit=0.0)
    result = scene.estimate()
    assert found(result.pose.points) == found(result.world) == [False]
    assert result.pose.score == 0.5
    assert np.isnan([result.left_hand.score, result.right_hand.score, result.face.score]).all()
    assert list(scene.looked_at) == ["pose_detection.tflite", "pose_landmark_full.tflite"]


def test_a_hand_with_a_hidden_wrist_is_not_looked_for() -> None:
    scene = Scene([True, True], hidden=(LEFT_WRIST,))
    result = scene.estimate()
    assert scene.looked_at["hand_recrop.tflite"] == [0, 1]
    assert found(result.left_hand.points) == [False, False]
    assert np.isnan(result.left_hand.score).all()
    assert found(result.right_hand.points) == [True, True]


def test_hands_and_faces_below_their_threshold_are_missing_and_keep_their_score() -> None:
    result = Scene([True], hand_logit=-1.0, face_logit=-1.0).estimate()
    assert found(result.left_hand.points) == found(result.right_hand.points) == found(result.face.points) == [False]
    for part in (result.left_hand, result.right_hand, result.face):
        np.testing.assert_allclose(part.score, 1 / (1 + math.e), rtol=1e-6)


def test_without_a_detected_face_the_mesh_is_not_looked_for() -> None:
    scene = Scene([True], face_detected=False)
    assert np.isnan(scene.estimate().face.score).all()
    assert "face_landmark.tflite" not in scene.looked_at


def nothing(videos: int) -> Memory:
    return Memory.from_rows(np.full((videos, Memory.numbers(468)), np.nan, np.float32), 468)


def test_the_first_frame_of_a_tracked_video_is_that_of_static_mode() -> None:
    tracked, _ = Scene([True, False]).track(nothing(2))
    static = Scene([True, False]).estimate()
    for part in ("pose", "left_hand", "right_hand", "face"):
        found_points, expected = (getattr(result, part).points for result in (tracked, static))
        np.testing.assert_allclose(found_points, expected, rtol=1e-6)


def test_the_detector_looks_only_at_videos_without_a_person_to_follow() -> None:
    _, memory = Scene([True, False]).track(nothing(2))
    scene = Scene([True, True])
    result, memory = scene.track(memory)
    assert scene.looked_at["pose_detection.tflite"] == [1]
    assert found(result.pose.points) == [True, True]
    scene = Scene([True, True])
    scene.track(memory)
    assert "pose_detection.tflite" not in scene.looked_at


def test_a_lost_person_is_looked_for_in_the_next_frame_only() -> None:
    _, memory = Scene([True]).track(nothing(1))
    lost = Scene([True], pose_logit=-3.0)
    result, memory = lost.track(memory)
    assert found(result.pose.points) == found(result.face.points) == [False]
    assert list(lost.looked_at) == ["pose_landmark_full.tflite"]
    again = Scene([True])
    result, _ = again.track(memory)
    assert again.looked_at["pose_detection.tflite"] == [0]
    assert found(result.pose.points) == [True]


def test_a_hand_without_a_roi_in_this_frame_is_missing_although_it_was_there_before() -> None:
    _, memory = Scene([True]).track(nothing(1))
    assert np.isfinite(memory.left_hand).all()
    # Smoothing keeps the wrist visible for a while.
    for _ in range(40):
        result, memory = Scene([True], hidden=(LEFT_WRIST,)).track(memory)
    assert found(result.left_hand.points) == [False]
    assert np.isnan(memory.left_hand).all()
    assert found(result.right_hand.points) == [True]


@pytest.mark.parametrize("face_points", [468, 478])
def test_any_library_of_the_array_api_standard_gives_the_same_numbers(face_points: int) -> None:
    strict = pytest.importorskip("array_api_strict")
    expected = Scene([True, False, True], face_points=face_points).estimate()
    result = Scene([True, False, True], face_points=face_points, library=strict).estimate()
    for name, value in expected._asdict().items():
        arrays = value if isinstance(value, tuple) else (value,)
        others = getattr(result, name)
        for array, other in zip(arrays, others if isinstance(value, tuple) else (others,), strict=True):
            assert type(other) is type(strict.asarray([0.0]))
            np.testing.assert_array_equal(np.asarray(other), array)
