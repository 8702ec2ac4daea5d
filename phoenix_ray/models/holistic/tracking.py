"""What Holistic carries from frame to frame in tracking mode, and how it uses it.

`pipeline.HolisticPipeline.track` calls this for a batch of videos, one frame of each. MediaPipe keeps

- the ROI of the body, from the pose of the frame before: the detector runs only where there was none;
- filters of the pose: image coordinates, world coordinates, visibility, and two auxiliary points that give the ROI;
- hands and face of the frame before, whose ROI is kept as long as it lies near the one found anew.

A frame without a pose ends all of this but two filters, which go on with the next pose: those of the world coordinates
and of visibility (MediaPipe resets a filter only where its image size arrives without landmarks).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from phoenix_ray.models.holistic import geometry
from phoenix_ray.models.holistic.arrays import Array, divide, namespace
from phoenix_ray.models.holistic.elementary import cosine_and_sine
from phoenix_ray.models.holistic.geometry import LEVEL, UPWARDS, ImageSize, Rect
from phoenix_ray.models.holistic.smoothing import FilterState, OneEuroFilter, low_pass

POSE_POINTS, AUXILIARY_POINTS, HAND_POINTS = 33, 2, 21

# MediaPipe: modules/pose_landmark/pose_landmark_filtering.pbtxt.
POSE_FILTER, AUXILIARY_FILTER, WORLD_FILTER = (
    OneEuroFilter(0.05, 80.0),
    OneEuroFilter(0.01, 10.0),
    OneEuroFilter(0.1, 40.0),
)
VISIBILITY_ALPHA = 0.1
# Sides of the body's ROI in those of the square around the body.
BODY_SCALE = 1.25
# Persons smaller than this many pixels are not smoothed (MediaPipe: `min_allowed_object_scale`).
MIN_OBJECT_SCALE = 1e-6
# MediaPipe's search for the highest coordinate starts at the smallest positive float32.
SMALLEST_POSITIVE = 2.0**-126
# Points of a hand that hardly move when the fingers do, and among them wrist and knuckles of index, middle and ring
# finger (MediaPipe: HandLandmarksToRectCalculator).
PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)
WRIST, INDEX_FINGER, MIDDLE_FINGER, RING_FINGER = 0, 5, 9, 13
# Sides of the ROI in those of the upright bounds of the palm, and how far it is moved along the hand; of the face.
PREVIOUS_HAND_SCALE, PREVIOUS_HAND_SHIFT, PREVIOUS_FACE_SCALE = 2.0, -0.1, 1.5
# Outer corners of the eyes.
RIGHT_EYE_CORNER, LEFT_EYE_CORNER = 33, 263


class Memory(NamedTuple):
    """What is carried over of N videos; NaN where there is nothing.

    Attributes:
        body_roi: Normalised ROI in which to look for the pose.
        pose, auxiliary, world: Filters of 33, 2 and 33 points.
        visibility: float32 (N, 33): smoothed visibility of the pose's points.
        left_hand, right_hand: float32 (N, 21, 2): the hands of the last frame, normalised.
        face: float32 (N, face points, 2): the face of the last frame, normalised.
    """

    body_roi: Rect
    pose: FilterState
    auxiliary: FilterState
    world: FilterState
    visibility: Array
    left_hand: Array
    right_hand: Array
    face: Array

    @staticmethod
    def numbers(face_points: int) -> int:
        """Return how many numbers are carried over of a video; with 0 face points, of the pose alone."""
        return sum(math.prod(shape) for shape in _shapes(face_points))

    @classmethod
    def from_rows(cls, rows: Array, face_points: int) -> Memory:
        """Return the memory that rows of float32 (N, `numbers`) hold."""
        shapes = _shapes(face_points)
        ends = list(accumulate(math.prod(shape) for shape in shapes))
        xp = namespace(rows)
        values = [
            xp.reshape(rows[:, end - math.prod(shape) : end], (rows.shape[0], *shape))
            for end, shape in zip(ends, shapes, strict=True)
        ]
        filters = (FilterState(*values[first : first + 4]) for first in (5, 9, 13))
        return cls(Rect(*values[:5]), *filters, *values[17:])

    def rows(self) -> Array:
        """Return the memory as rows of float32 (N, `numbers`)."""
        values = (*self.body_roi, *self.pose, *self.auxiliary, *self.world, *self[4:])
        xp = namespace(self.face)
        return xp.concat([xp.reshape(array, (array.shape[0], math.prod(array.shape[1:]))) for array in values], axis=1)


def _shapes(face_points: int) -> list[tuple[int, ...]]:
    filters = [shape for points in (POSE_POINTS, AUXILIARY_POINTS, POSE_POINTS) for shape in (*((points, 3),) * 3, ())]
    hand_points = HAND_POINTS if face_points else 0
    parts = [(POSE_POINTS,), (hand_points, 2), (hand_points, 2), (face_points, 2)]
    return [*((),) * 5, *filters, *parts]


class Body(NamedTuple):
    """The pose of N images; NaN where it is missing.

    Attributes:
        points: float32 (N, 33, 4): x, y, z normalised, visibility.
        auxiliary: float32 (N, 2, 3): the middle of the hips, and a point on the circle around the body.
        world: float32 (N, 33, 3), in metres.
    """

    points: Array
    auxiliary: Array
    world: Array


def filter_body(body: Body, memory: Memory, size: ImageSize, *, smooth: bool) -> tuple[Body, Memory]:
    """Return the pose as MediaPipe filters it, and the memory with its filters and body ROI after this frame.

    Auxiliary points are smoothed in any case, so body ROIs are the same with and without `smooth`.
    """
    xp = namespace(body.points)
    found = ~xp.isnan(body.auxiliary[:, 0, 0])
    object_scale = _object_scale(body.auxiliary, size)
    auxiliary, auxiliary_filter = _filter_pixels(body.auxiliary, memory.auxiliary, AUXILIARY_FILTER, object_scale, size)
    memory = memory._replace(body_roi=body_roi(auxiliary, size), auxiliary=auxiliary_filter.where(found, math.nan))
    if not smooth:
        points = geometry.through_pixels(body.points[:, :, :3], size)
        return Body(xp.concat([points, body.points[:, :, 3:]], axis=2), auxiliary, body.world), memory
    points, pose_filter = _filter_pixels(body.points[:, :, :3], memory.pose, POSE_FILTER, object_scale, size)
    raw = body.points[:, :, 3]
    visibility = low_pass(raw, memory.visibility, xp.full_like(raw, VISIBILITY_ALPHA))
    world, world_filter = WORLD_FILTER.smooth(body.world, memory.world)
    memory = memory._replace(
        pose=pose_filter.where(found, math.nan),
        world=_fed(found, world_filter, memory.world),
        visibility=xp.where(found[:, None], visibility, memory.visibility),
    )
    return Body(xp.concat([points, visibility[:, :, None]], axis=2), auxiliary, world), memory


def body_roi(points: Array, size: ImageSize) -> Rect:
    """Return the ROI of the body from the middle of the hips and a point on the circle around the body.

    They are the first two keypoints of the pose detector, or the auxiliary points of the frame before: (N, 2 or more, 2
    or 3), normalised. MediaPipe: pose_detection_to_roi.pbtxt, pose_landmarks_to_roi.pbtxt.
    """
    return geometry.enlarge(_body_square(points, size), size, scale=BODY_SCALE)


def _body_square(points: Array, size: ImageSize) -> Rect:
    pixels = geometry.in_pixels(points, size)
    center, edge = pixels[:, 0, :], pixels[:, 1, :]
    return geometry.square_through(center, edge, geometry.rotation_towards(center, edge, UPWARDS), size)


def _object_scale(auxiliary: Array, size: ImageSize) -> Array:
    """Return twice the distance of the auxiliary points, in pixels, float32 (N,)."""
    square = _body_square(auxiliary, size)
    return divide(square.width * size.width + square.height * size.height, 2)


def _filter_pixels(
    points: Array, last: FilterState, one_euro: OneEuroFilter, object_scale: Array, size: ImageSize
) -> tuple[Array, FilterState]:
    """Return normalised points (N, K, 3), smoothed in pixels relative to the size of the person."""
    xp = namespace(points)
    width, height = size.width[:, None, None], size.height[:, None, None]
    scale = xp.concat([width, height, width], axis=2)
    pixels = points * scale
    feeds = object_scale >= MIN_OBJECT_SCALE
    smoothed, state = one_euro.smooth(pixels, last, 1.0 / xp.where(feeds, object_scale, 1.0))
    return xp.where(feeds[:, None, None], smoothed, pixels) / scale, _fed(feeds, state, last)


def _fed(feeds: Array, state: FilterState, last: FilterState) -> FilterState:
    """Return the new state of filters that were fed; the others keep theirs, a frame older."""
    xp = namespace(state.raw)
    points = feeds[:, None, None]
    raw, smoothed, speed = (xp.where(points, new, old) for new, old in zip(state[:3], last[:3], strict=True))
    return FilterState(raw, smoothed, speed, xp.where(feeds, state.age, last.age + 1.0))


def previous_hand_roi(hand: Array, size: ImageSize) -> Rect:
    """Return the ROI (N,) of hands (N, 21, 2) of the frame before (MediaPipe: hand_landmarks_to_roi.pbtxt)."""
    xp = namespace(hand)
    middle = divide(divide(hand[:, INDEX_FINGER, :] + hand[:, RING_FINGER, :], 2) + hand[:, MIDDLE_FINGER, :], 2)
    line = geometry.in_pixels(xp.stack([hand[:, WRIST, :], middle], axis=1), size)
    rotation = geometry.rotation_towards(line[:, 0, :], line[:, 1, :], UPWARDS)

    palm = xp.stack([hand[:, point, :] for point in PALM], axis=1)
    low, high = _reach(palm)
    center = divide(high + low, 2)
    upright = geometry.in_pixels(palm - center[:, None, :], size)
    x, y = geometry.rotate(upright[:, :, 0:1], upright[:, :, 1:2], geometry.normalize_radians(-rotation))
    low, high = _reach(xp.concat([x, y], axis=2))
    offset = divide(high + low, 2)
    x, y = geometry.rotate(offset[:, 0:1, None], offset[:, 1:2, None], rotation)
    extent = high - low
    rect = Rect(
        (x[:, 0, 0] + size.width * center[:, 0]) / size.width,
        (y[:, 0, 0] + size.height * center[:, 1]) / size.height,
        extent[:, 0] / size.width,
        extent[:, 1] / size.height,
        rotation,
    )
    return geometry.enlarge(rect, size, scale=PREVIOUS_HAND_SCALE, shift_y=PREVIOUS_HAND_SHIFT)


def previous_face_roi(face: Array, size: ImageSize) -> Rect:
    """Return the ROI (N,) of faces (N, K, 2) of the frame before (MediaPipe: face_landmarks_to_roi.pbtxt)."""
    pixels = geometry.in_pixels(face, size)
    rotation = geometry.rotation_towards(pixels[:, RIGHT_EYE_CORNER, :], pixels[:, LEFT_EYE_CORNER, :], LEVEL)
    return geometry.enlarge(geometry.bounds_of_landmarks(face, rotation), size, scale=PREVIOUS_FACE_SCALE)


def _reach(points: Array) -> tuple[Array, Array]:
    """Return lowest and highest coordinates (N, 2) of points (N, K, 2); the highest are positive."""
    xp = namespace(points)
    highest = xp.max(points, axis=1)
    return xp.min(points, axis=1), xp.where(highest < SMALLEST_POSITIVE, SMALLEST_POSITIVE, highest)


@dataclass(frozen=True, slots=True)
class Nearness:
    """How near the ROI of the frame before must lie to one found anew to be kept; equal is near enough.

    Attributes:
        degrees: Difference of the rotations.
        translation: Distance of the centres along each side of the new ROI, as a share of that side.
        scale: Difference of each side, as a share of it.
        inner: The landmarks of the frame before must lie inside of this share of the new ROI.
    """

    degrees: float
    translation: float
    scale: float
    inner: float


# MediaPipe: hand_tracking.pbtxt, face_tracking.pbtxt; the last is 1 + `recrop_rect_margin`.
HAND_NEARNESS = Nearness(40.0, 0.2, 0.4, 0.9)
FACE_NEARNESS = Nearness(15.0, 0.1, 0.3, 0.8)


def choose_roi(found: Rect, previous: Rect, landmarks: Array, size: ImageSize, near: Nearness) -> Rect:
    """Return the ROI of the frame before where it lies near the one found in this frame, else the latter.

    Args:
        found: Normalised ROI found in this frame; NaN where there is none, and then there is none.
        previous: Normalised ROI from the landmarks of the frame before; NaN where there is none.
        landmarks: float32 (N, K, 2): these landmarks, normalised.
        size: Image sizes.
        near: The limits. MediaPipe: RoiTrackingCalculator.
    """
    xp = namespace(found.width)
    cosine, sine = cosine_and_sine(-found.rotation)

    def turned(x: Array, y: Array, cosine: Array, sine: Array) -> tuple[Array, Array]:
        return x * cosine - y * sine, x * sine + y * cosine

    found_x, found_y = turned(found.center_x * size.width, found.center_y * size.height, cosine, sine)
    x, y = turned(previous.center_x * size.width, previous.center_y * size.height, cosine, sine)
    found_width, found_height = found.width * size.width, found.height * size.height
    width, height = previous.width * size.width, previous.height * size.height
    turn = _degrees(previous.rotation) - _degrees(found.rotation)
    turn = xp.where(turn > 180, turn - 360, turn)
    turn = xp.where(turn < -180, turn + 360, turn)
    kept = (
        (xp.abs(turn) <= near.degrees)
        & (xp.abs(x - found_x) <= found_width * near.translation)
        & (xp.abs(y - found_y) <= found_height * near.translation)
        & (xp.abs(width - found_width) <= found_width * near.scale)
        & (xp.abs(height - found_height) <= found_height * near.scale)
    )
    pixels = geometry.in_pixels(landmarks, size)
    x, y = turned(pixels[:, :, 0], pixels[:, :, 1], cosine[:, None], sine[:, None])
    for values, center, side in ((x, found_x, found_width), (y, found_y, found_height)):
        half = side * near.inner * 0.5
        lowest, highest = xp.min(values, axis=1), xp.max(values, axis=1)
        kept = kept & (lowest > center - half) & (highest < center + half)
    return Rect(*(xp.where(kept, old, new) for old, new in zip(previous, found, strict=True)))


def _degrees(angle: Array) -> Array:
    xp = namespace(angle)
    return xp.astype(divide(xp.astype(angle, xp.float64), math.pi) * 180.0, angle.dtype)
