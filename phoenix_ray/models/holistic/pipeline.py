"""MediaPipe Holistic as a function of N images: detector, pose, then hands and face found from the pose.

Every engine runs this pipeline with its own networks and cropper. It holds no state. In `estimate`, an image's
landmarks depend on that image alone, unlike MediaPipe's own static mode, whose hands and face remember the previous
image. In `track`, the images are the next frames of N videos, and the caller keeps what is remembered of each.

All items of a batch go through each step together; items for which nothing was found carry NaN, and only the others are
cropped and shown to the next network. Where shapes are fixed (`arrays.shapes_are_fixed`), the networks see the whole
image in place of a missing region, and the pipeline drops what they return for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from phoenix_ray.models.holistic import geometry, tracking
from phoenix_ray.models.holistic.arrays import (
    Array,
    divide,
    indices,
    missing,
    namespace,
    scatter_rows,
    shapes_are_fixed,
)
from phoenix_ray.models.holistic.attention import refine_face
from phoenix_ray.models.holistic.decoding import best_detection, refine_by_heatmap
from phoenix_ray.models.holistic.elementary import sigmoid
from phoenix_ray.models.holistic.geometry import DOWNWARDS, LEVEL, UPWARDS, ImageSize, Rect, View
from phoenix_ray.models.holistic.networks import (
    FACE_DETECTION,
    FACE_LANDMARK,
    HAND_LANDMARK,
    HAND_RECROP,
    POSE_DETECTION,
    POSE_LANDMARK,
    Cropper,
    Networks,
    NetworkSpec,
)
from phoenix_ray.models.holistic.tracking import (
    AUXILIARY_POINTS,
    FACE_NEARNESS,
    HAND_NEARNESS,
    HAND_POINTS,
    POSE_POINTS,
    Body,
    Memory,
)

# Points of the recrop network: the middle of the hand, and a point on the circle around it.
HAND_CENTER, HAND_EDGE = 0, 1
# Keypoints of the face detector.
RIGHT_EYE, LEFT_EYE = 0, 1
# Pose landmarks: wrist, little finger, index finger of the left and right hand; the face and its eyes.
LEFT_HAND, RIGHT_HAND = (15, 17, 19), (16, 18, 20)
FACE_OF_POSE, RIGHT_EYE_OF_POSE, LEFT_EYE_OF_POSE = slice(0, 11), 5, 2

# The pipeline does not look for a hand whose wrist is less visible (MediaPipe: hand_landmarks_from_pose).
MIN_WRIST_VISIBILITY = 0.1
MIN_FACE_DETECTION_SCORE = 0.5
MIN_HAND_SCORE = 0.5
MIN_FACE_SCORE = 0.5
# The hand network's z has another unit than its x (MediaPipe: `normalize_z`).
HAND_DEPTH_SCALE = 0.4

# `scale` and `shift_y` of `geometry.enlarge`: from a hand or face as the pose gives it to the ROI in which to look for
# it, and from what is found there to the ROI of its landmarks.
HAND_OF_POSE_MARGIN, HAND_MARGIN = (2.7, -0.1), (1.0, -0.1)
FACE_OF_POSE_MARGIN, FACE_MARGIN = (3.0, 0.0), (2.0, -0.1)


class FoundPart(NamedTuple):
    """Landmarks float32 (N, K, axes), NaN throughout where missing; score float32 (N,), NaN where not computed."""

    points: Array
    score: Array


class HolisticLandmarks(NamedTuple):
    """What Holistic finds in N images; `world` is float32 (N, 33, 3). For Pose alone, hands and face have no points."""

    pose: FoundPart
    world: Array
    left_hand: FoundPart
    right_hand: FoundPart
    face: FoundPart


@dataclass(frozen=True, slots=True)
class HolisticPipeline:
    """The pipeline with the networks of one engine.

    Attributes:
        networks: The engine's networks.
        pose_anchors: `decoding.POSE_ANCHORS` as an array of the engine.
        face_anchors: `decoding.FACE_ANCHORS` as an array of the engine.
        heatmap_kernel: Cells per side of the window in which a pose point is refined.
        min_detection_confidence: A detected person counts from this score.
        min_tracking_confidence: A pose counts above this score.
    """

    networks: Networks
    pose_anchors: Array
    face_anchors: Array
    heatmap_kernel: int
    min_detection_confidence: float
    min_tracking_confidence: float

    def estimate(self, images: Cropper) -> HolisticLandmarks:
        """Return the landmarks of the images."""
        body, score = self._body(images, self._body_roi(images))
        points = geometry.through_pixels(body.points[:, :, :3], images.size)
        pose = FoundPart(namespace(points).concat([points, body.points[:, :, 3:]], axis=2), score)
        if not self.networks.face_points:
            return _pose_alone(pose, body.world)
        left_hand, right_hand = _halves(self._hands(images, self._hand_rois(images, pose.points)))
        face = self._face(images, self._face_roi(images, pose.points))
        return HolisticLandmarks(pose, body.world, left_hand, right_hand, face)

    def track(
        self, images: Cropper, memory: Memory, *, smooth: bool, detect: bool = True
    ) -> tuple[HolisticLandmarks, Memory]:
        """Return the landmarks of the next frame of N videos, and what to remember of them.

        Args:
            images: The frames.
            memory: What is remembered of the frames before.
            smooth: Whether to smooth the pose.
            detect: Whether any video has no body ROI; without such videos the detector need not run.
        """
        xp = namespace(memory.face)
        size, both = images.size, _twice(images.size)
        roi, tracked = memory.body_roi, memory.body_roi.has_area()
        if detect:
            found = self._body_roi(images, ~tracked)
            roi = Rect(*(xp.where(tracked, old, new) for old, new in zip(roi, found, strict=True)))
        body, score = self._body(images, roi)
        body, memory = tracking.filter_body(body, memory, size, smooth=smooth)
        pose = FoundPart(body.points, score)
        if not self.networks.face_points:
            return _pose_alone(pose, body.world), memory

        hands = xp.concat([memory.left_hand, memory.right_hand])
        previous = tracking.previous_hand_roi(hands, both)
        roi = self._hand_rois(images, body.points)
        roi = tracking.choose_roi(roi, previous, hands, both, HAND_NEARNESS)
        left_hand, right_hand = _halves(self._hands(images, roi))

        previous = tracking.previous_face_roi(memory.face, size)
        roi = self._face_roi(images, body.points)
        face = self._face(images, tracking.choose_roi(roi, previous, memory.face, size, FACE_NEARNESS))
        memory = memory._replace(
            left_hand=left_hand.points[:, :, :2], right_hand=right_hand.points[:, :, :2], face=face.points[:, :, :2]
        )
        return HolisticLandmarks(pose, body.world, left_hand, right_hand, face), memory

    def _body_roi(self, images: Cropper, worthwhile: Array | None = None) -> Rect:
        """Return the ROI of the most prominent person in the images that are `worthwhile`, bool (N,)."""

        def read(view: View, crops: Array) -> tuple[Array]:
            boxes = self.networks.pose_detection(crops)
            anchors, minimum = self.pose_anchors, self.min_detection_confidence
            keypoints = best_detection(boxes.regressors, boxes.logits, anchors, POSE_DETECTION.size, minimum)
            return (geometry.remove_letterbox(keypoints, view),)

        size = images.size
        whole = geometry.whole_image(size)
        (keypoints,) = self._look(images, size, whole, POSE_DETECTION, read, [(4, 2)], worthwhile)
        return tracking.body_roi(keypoints, size)

    def _body(self, images: Cropper, roi: Rect) -> tuple[Body, Array]:
        """Return the pose within the ROI, not yet through any filter, and its score, float32 (N,)."""

        def read(view: View, crops: Array) -> tuple[Array, Array, Array]:
            output = self.networks.pose_landmark(crops)
            xp = namespace(output.landmarks)
            points = divide(output.landmarks[:, :, :3], POSE_LANDMARK.size)
            x, y = refine_by_heatmap(points[:, :, 0], points[:, :, 1], output.heatmap, self.heatmap_kernel)
            points = geometry.project(xp.concat([x[:, :, None], y[:, :, None], points[:, :, 2:]], axis=2), view)
            points = xp.concat([points, sigmoid(output.landmarks[:, :, 3:4])], axis=2)
            x, y = geometry.rotate(output.world[:, :, 0:1], output.world[:, :, 1:2], view.roi.rotation)
            world = xp.concat([x, y, output.world[:, :, 2:]], axis=2)
            count = POSE_POINTS + AUXILIARY_POINTS
            return points[:, :count, :], world[:, :POSE_POINTS, :], sigmoid(output.logit)

        shapes = [(POSE_POINTS + AUXILIARY_POINTS, 4), (POSE_POINTS, 3), ()]
        points, world, score = self._look(images, images.size, roi, POSE_LANDMARK, read, shapes)
        found = score > self.min_tracking_confidence
        points = _where_found(found, points)
        body = Body(points[:, :POSE_POINTS, :], points[:, POSE_POINTS:, :3], _where_found(found, world))
        return body, score

    def _hand_rois(self, images: Cropper, pose: Array) -> Rect:
        """Return the ROIs that the recrop network finds, (2 N,): of all left hands, then of all right hands."""
        xp = namespace(pose)
        size = _twice(images.size)
        pixels = geometry.in_pixels(pose, images.size)
        wrist, little_finger, index_finger = (
            xp.concat([pixels[:, left, :], pixels[:, right, :]])
            for left, right in zip(LEFT_HAND, RIGHT_HAND, strict=True)
        )
        visibility = xp.concat([pose[:, LEFT_HAND[0], 3], pose[:, RIGHT_HAND[0], 3]])

        def read(view: View, crops: Array) -> tuple[Array]:
            return (geometry.project(divide(self.networks.hand_recrop(crops), HAND_RECROP.size), view),)

        center = divide(2 * index_finger + little_finger, 3)
        rotation = geometry.rotation_towards(wrist, center, UPWARDS)
        roi = geometry.enlarge(geometry.square_through(center, wrist, rotation, size), size, *HAND_OF_POSE_MARGIN)
        visible = visibility > MIN_WRIST_VISIBILITY
        (alignment,) = self._look(images, size, roi, HAND_RECROP, read, [(2, 2)], visible)

        alignment = geometry.in_pixels(alignment, size)
        center, edge = alignment[:, HAND_CENTER, :], alignment[:, HAND_EDGE, :]
        rotation = geometry.rotation_towards(center, edge, DOWNWARDS)
        return geometry.enlarge(geometry.square_through(center, edge, rotation, size), size, *HAND_MARGIN)

    def _hands(self, images: Cropper, roi: Rect) -> FoundPart:
        """Return the hands within the ROIs (2 N,), which go through the network as one batch."""

        def read(view: View, crops: Array) -> tuple[Array, Array]:
            output = self.networks.hand_landmark(crops)
            points = divide(output.landmarks, HAND_LANDMARK.size)
            depth = divide(points[:, :, 2:], HAND_DEPTH_SCALE)
            return geometry.project(namespace(points).concat([points[:, :, :2], depth], axis=2), view), sigmoid(
                output.logit
            )

        shapes = [(HAND_POINTS, 3), ()]
        points, score = self._look(images, _twice(images.size), roi, HAND_LANDMARK, read, shapes)
        return FoundPart(_where_found(score > MIN_HAND_SCORE, points), score)

    def _face_roi(self, images: Cropper, pose: Array) -> Rect:
        """Return the ROI of the face that the detector finds around the face points of the pose."""

        def read(view: View, crops: Array) -> tuple[Array]:
            boxes = self.networks.face_detection(crops)
            anchors, minimum = self.face_anchors, MIN_FACE_DETECTION_SCORE
            keypoints = best_detection(boxes.regressors, boxes.logits, anchors, FACE_DETECTION.size, minimum)
            return (geometry.project_keypoints(keypoints, view),)

        size = images.size
        points = pose[:, FACE_OF_POSE, :2]
        pixels = geometry.in_pixels(points, size)
        rotation = geometry.rotation_towards(pixels[:, RIGHT_EYE_OF_POSE, :], pixels[:, LEFT_EYE_OF_POSE, :], LEVEL)
        roi = geometry.enlarge(geometry.bounds_of_landmarks(points, rotation), size, *FACE_OF_POSE_MARGIN)
        (keypoints,) = self._look(images, size, roi, FACE_DETECTION, read, [(6, 2)])

        pixels = geometry.in_pixels(keypoints, size)
        rotation = geometry.rotation_towards(pixels[:, RIGHT_EYE, :], pixels[:, LEFT_EYE, :], LEVEL)
        return geometry.enlarge(geometry.bounds_of_keypoints(keypoints, rotation), size, *FACE_MARGIN)

    def _face(self, images: Cropper, roi: Rect) -> FoundPart:
        """Return the face within the ROI."""
        network = FACE_LANDMARK[self.networks.face_points]

        def read(view: View, crops: Array) -> tuple[Array, Array]:
            output = self.networks.face_landmark(crops)
            points = divide(output.mesh, network.size)
            if output.refinements:
                points = refine_face(points, [divide(contour, network.size) for contour in output.refinements])
            return geometry.project(points, view), sigmoid(output.logit)

        shapes = [(self.networks.face_points, 3), ()]
        points, score = self._look(images, images.size, roi, network, read, shapes)
        return FoundPart(_where_found(score > MIN_FACE_SCORE, points), score)

    @staticmethod
    def _look(
        images: Cropper,
        size: ImageSize,
        roi: Rect,
        network: NetworkSpec,
        read: Callable[[View, Array], tuple[Array, ...]],
        shapes: Sequence[tuple[int, ...]],
        worthwhile: Array | None = None,
    ) -> tuple[Array, ...]:
        """Crop the ROIs that have an area, `read` them, and return the results for all items.

        Args:
            images: Images to crop from.
            size: Image size of each item; items are the images, or (for hands) all images twice.
            roi: Normalised ROI of each item.
            network: The network that will take the crops.
            read: Takes the view and its M crops, runs the network and returns arrays with M rows.
            shapes: Shape of a row of each of these arrays.
            worthwhile: Bool array: the items to look at; all if None.

        Returns:
            The arrays of `read` with a row for each item, NaN for items that were not looked at.
        """
        xp = namespace(roi.width)
        present = roi.has_area() if worthwhile is None else roi.has_area() & worthwhile
        if shapes_are_fixed(present):
            items = indices(present.shape[0], like=present)
            stand_in = geometry.whole_image(size)
            roi = Rect(*(xp.where(present, values, others) for values, others in zip(roi, stand_in, strict=True)))
        else:
            items = xp.nonzero(present)[0]
            if items.shape[0] == 0:
                return tuple(missing((*present.shape, *shape), roi.width) for shape in shapes)
            if items.shape[0] < present.shape[0]:
                roi = Rect(*(xp.take(values, items) for values in roi))
                size = ImageSize(*(xp.take(values, items) for values in size))
        view = geometry.stretched_view(roi, size) if network.stretches else geometry.padded_view(roi, size)
        crops = images.crop(items % images.size.width.shape[0], view.crop, network)
        return tuple(scatter_rows(rows, present) for rows in read(view, crops))


def _where_found(found: Array, points: Array) -> Array:
    return namespace(points).where(found[:, None, None], points, math.nan)


def _pose_alone(pose: FoundPart, world: Array) -> HolisticLandmarks:
    nothing = FoundPart(missing((*pose.score.shape, 0, 3), pose.score), missing(pose.score.shape, pose.score))
    return HolisticLandmarks(pose, world, nothing, nothing, nothing)


def _twice(size: ImageSize) -> ImageSize:
    """Return the image sizes of left hands followed by right hands."""
    return ImageSize(*(namespace(side).concat([side, side]) for side in size))


def _halves(hands: FoundPart) -> tuple[FoundPart, FoundPart]:
    """Return left and right hands."""
    count = hands.score.shape[0] // 2
    return FoundPart(*(values[:count, ...] for values in hands)), FoundPart(*(values[count:, ...] for values in hands))
