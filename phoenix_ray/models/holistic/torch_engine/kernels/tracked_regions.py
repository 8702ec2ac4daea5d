"""`tracking` of ROIs in kernels: those of the frame before, the choice between them and new ones, and what is kept.

States are rows of `tracking.Memory.rows`. ROIs travel between stages as `regions` says; those of hands are 2 N: of all
left hands of N videos, then of all right hands.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from phoenix_ray.models.holistic import tracking
from phoenix_ray.models.holistic.torch_engine.kernels.elementary import cosine_and_sine
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch
from phoenix_ray.models.holistic.torch_engine.kernels.rectangles import (
    HALF_TURN,
    LEVEL,
    UPWARDS,
    bounds_of_landmarks,
    enlarge,
    highest,
    in_pixels,
    lowest,
    normalize_radians,
    rotate,
    rotation_towards,
)
from phoenix_ray.models.holistic.torch_engine.kernels.regions import load_size
from phoenix_ray.models.holistic.torch_engine.kernels.tracked_pose import FACE_STATE, HANDS_STATE
from phoenix_ray.models.holistic.torch_engine.uploading import DeviceFrames
from phoenix_ray.models.holistic.tracking import FACE_NEARNESS, HAND_NEARNESS, Nearness

HAND_POINTS = tl.constexpr(tracking.HAND_POINTS)
PALM, PALM_POINTS = tl.constexpr(tracking.PALM), tl.constexpr(len(tracking.PALM))
WRIST, INDEX_FINGER = tl.constexpr(tracking.WRIST), tl.constexpr(tracking.INDEX_FINGER)
MIDDLE_FINGER, RING_FINGER = tl.constexpr(tracking.MIDDLE_FINGER), tl.constexpr(tracking.RING_FINGER)
RIGHT_EYE_CORNER, LEFT_EYE_CORNER = tl.constexpr(tracking.RIGHT_EYE_CORNER), tl.constexpr(tracking.LEFT_EYE_CORNER)
HAND_SCALE, HAND_SHIFT = tl.constexpr(tracking.PREVIOUS_HAND_SCALE), tl.constexpr(tracking.PREVIOUS_HAND_SHIFT)
FACE_SCALE = tl.constexpr(tracking.PREVIOUS_FACE_SCALE)
SMALLEST_POSITIVE = tl.constexpr(tracking.SMALLEST_POSITIVE)
# Videos of a program of `choose_bodies`, and numbers that one of `remember` copies.
VIDEOS_TOGETHER, NUMBERS_TOGETHER = 128, 1024


def tracked_body_rois(states: torch.Tensor, found: torch.Tensor | None) -> torch.Tensor:
    """Return the ROIs in which to look for poses, float32 (5, N): that of a state, where it has one, else a found one.

    Args:
        states: float32 (N, state size).
        found: float32 (5, N): ROIs that the detector found; None if it did not look.
    """
    count, state_size = states.shape
    chosen = torch.empty((5, count), dtype=torch.float32, device=states.device)
    arguments = {
        "states": states,
        "found": chosen if found is None else found,
        "chosen": chosen,
        "count": count,
        "state_size": state_size,
    }
    constants = {"detects": found is not None, "block": VIDEOS_TOGETHER}
    launch(choose_bodies, (triton.cdiv(count, VIDEOS_TOGETHER),), arguments, constants, bytes_moved=60 * count)
    return chosen


@triton.jit(do_not_specialize=["count"])
def choose_bodies(states, found, chosen, count, state_size, detects: tl.constexpr, block: tl.constexpr):
    video = tl.program_id(0) * block + tl.arange(0, block)
    exists = video < count
    state = states + video.to(tl.int64) * state_size
    width, height = tl.load(state + 2, mask=exists, other=0.0), tl.load(state + 3, mask=exists, other=0.0)
    is_tracked = (width > 0) & (height > 0)
    for field in tl.static_range(5):
        value = tl.load(state + field, mask=exists, other=0.0)
        if detects:
            value = tl.where(is_tracked, value, tl.load(found + field * count + video, mask=exists, other=0.0))
        tl.store(chosen + field * count + video, value, mask=exists)


def tracked_hand_rois(frames: DeviceFrames, states: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """Return the ROIs of hands, float32 (5, 2 N): those of the frame before, where they lie near the found ones.

    Args:
        frames: N frames.
        states: float32 (N, state size).
        found: float32 (5, 2 N).
    """
    return _choose(frames, states, found, HANDS_STATE.value, HAND_POINTS.value, HAND_NEARNESS, of_face=False)


def tracked_face_rois(
    frames: DeviceFrames, states: torch.Tensor, found: torch.Tensor, face_points: int
) -> torch.Tensor:
    """Return the ROIs of faces, float32 (5, N): those of the frame before, where they lie near the found ones.

    Args:
        frames: N frames.
        states: float32 (N, state size).
        found: float32 (5, N).
        face_points: 468 or 478.
    """
    return _choose(frames, states, found, FACE_STATE.value, face_points, FACE_NEARNESS, of_face=True)


def _choose(
    frames: DeviceFrames,
    states: torch.Tensor,
    found: torch.Tensor,
    column: int,
    points: int,
    near: Nearness,
    *,
    of_face: bool,
) -> torch.Tensor:
    chosen, regions = torch.empty(found.shape, dtype=found.dtype, device=found.device), found.shape[1]
    arguments = {
        "states": states,
        "found": found,
        "table": frames.table,
        "chosen": chosen,
        "count": states.shape[0],
        "regions": regions,
        "state_size": states.shape[1],
    }
    constants = {
        "column": column,
        "points": points,
        "degrees": near.degrees,
        "translation": near.translation,
        "scale": near.scale,
        "inner": near.inner,
        "of_face": of_face,
        "block": triton.next_power_of_2(points),
    }
    moved = regions * (8 * points + 40)
    launch(choose_rois, (regions,), arguments, constants, warps=4 if of_face else 1, bytes_moved=moved)
    return chosen


@triton.jit(do_not_specialize=["count", "regions"])
def choose_rois(
    states,
    found,
    table,
    chosen,
    count,
    regions,
    state_size,
    column: tl.constexpr,
    points: tl.constexpr,
    degrees: tl.constexpr,
    translation: tl.constexpr,
    scale: tl.constexpr,
    inner: tl.constexpr,
    of_face: tl.constexpr,
    block: tl.constexpr,
):
    region = tl.program_id(0)
    video = region % count
    size = load_size(table, video, count)
    landmarks = states + video.to(tl.int64) * state_size + column + region // count * (2 * points)
    point = tl.arange(0, block)
    exists = point < points
    x = tl.load(landmarks + 2 * point, mask=exists, other=0.0)
    y = tl.load(landmarks + 2 * point + 1, mask=exists, other=0.0)
    if of_face:
        previous = previous_face_roi(landmarks, x, y, exists, size)
    else:
        previous = previous_hand_roi(landmarks, x, y, point, size)

    found += region
    new_rotation = tl.load(found + 4 * regions)
    new_x, new_y = in_pixels(tl.load(found), tl.load(found + regions), size)
    new_width, new_height = in_pixels(tl.load(found + 2 * regions), tl.load(found + 3 * regions), size)
    old_x, old_y = in_pixels(previous[0], previous[1], size)
    old_width, old_height = in_pixels(previous[2], previous[3], size)
    cosine, sine = cosine_and_sine(-1.0 * new_rotation)
    new_x, new_y = turned(new_x, new_y, cosine, sine)
    old_x, old_y = turned(old_x, old_y, cosine, sine)
    turn = in_degrees(previous[4]) - in_degrees(new_rotation)
    turn = tl.where(turn > 180, turn - 360, turn)
    turn = tl.where(turn < -180, turn + 360, turn)
    kept = (
        (tl.abs(turn) <= degrees)
        & (tl.abs(old_x - new_x) <= new_width * translation)
        & (tl.abs(old_y - new_y) <= new_height * translation)
        & (tl.abs(old_width - new_width) <= new_width * scale)
        & (tl.abs(old_height - new_height) <= new_height * scale)
    )
    x, y = in_pixels(x, y, size)
    x, y = turned(x, y, cosine, sine)
    kept = kept & lies_within(x, exists, new_x, new_width * inner * 0.5)
    kept = kept & lies_within(y, exists, new_y, new_height * inner * 0.5)
    for field in tl.static_range(5):
        tl.store(chosen + field * regions + region, tl.where(kept, previous[field], tl.load(found + field * regions)))


@triton.jit
def turned(x, y, cosine, sine):
    return x * cosine - y * sine, x * sine + y * cosine


@triton.jit
def in_degrees(angle):
    return (angle.to(tl.float64) / HALF_TURN * 180.0).to(tl.float32)


@triton.jit
def lies_within(values, exists, center, half):
    """Return whether all values that exist lie less than `half` from the centre."""
    return (lowest(values, exists) > center - half) & (highest(values, exists) < center + half)


@triton.jit
def previous_hand_roi(hand, x, y, point, size):
    """`hand` points to the hand's first number; `x` and `y` are those of its points."""
    width, height = size
    middle_x = 0.5 * (0.5 * (load_x(hand, INDEX_FINGER) + load_x(hand, RING_FINGER)) + load_x(hand, MIDDLE_FINGER))
    middle_y = 0.5 * (0.5 * (load_y(hand, INDEX_FINGER) + load_y(hand, RING_FINGER)) + load_y(hand, MIDDLE_FINGER))
    middle_x, middle_y = in_pixels(middle_x, middle_y, size)
    wrist_x, wrist_y = in_pixels(load_x(hand, WRIST), load_y(hand, WRIST), size)
    rotation = rotation_towards(wrist_x, wrist_y, middle_x, middle_y, UPWARDS)

    in_palm = point < 0
    for number in tl.static_range(PALM_POINTS):
        in_palm = in_palm | (point == PALM[number])
    center_x = 0.5 * (reach(x, in_palm) + lowest(x, in_palm))
    center_y = 0.5 * (reach(y, in_palm) + lowest(y, in_palm))
    x, y = in_pixels(x - center_x, y - center_y, size)
    x, y = rotate(x, y, normalize_radians(-1.0 * rotation))
    low_x, high_x, low_y, high_y = lowest(x, in_palm), reach(x, in_palm), lowest(y, in_palm), reach(y, in_palm)
    offset_x, offset_y = rotate(0.5 * (high_x + low_x), 0.5 * (high_y + low_y), rotation)
    rect = (
        tl.div_rn(offset_x + width * center_x, width),
        tl.div_rn(offset_y + height * center_y, height),
        tl.div_rn(high_x - low_x, width),
        tl.div_rn(high_y - low_y, height),
        rotation,
    )
    return enlarge(rect, size, HAND_SCALE, HAND_SHIFT)


@triton.jit
def previous_face_roi(face, x, y, exists, size):
    """`face` points to the face's first number; `x` and `y` are those of its points."""
    right_x, right_y = in_pixels(load_x(face, RIGHT_EYE_CORNER), load_y(face, RIGHT_EYE_CORNER), size)
    left_x, left_y = in_pixels(load_x(face, LEFT_EYE_CORNER), load_y(face, LEFT_EYE_CORNER), size)
    rotation = rotation_towards(right_x, right_y, left_x, left_y, LEVEL)
    bounds = bounds_of_landmarks(lowest(x, exists), lowest(y, exists), highest(x, exists), highest(y, exists), rotation)
    return enlarge(bounds, size, FACE_SCALE, 0.0)


@triton.jit
def load_x(points, point: tl.constexpr):
    return tl.load(points + 2 * point)


@triton.jit
def load_y(points, point: tl.constexpr):
    return tl.load(points + (2 * point + 1))


@triton.jit
def reach(values, exists):
    """Return the highest of the values that exist; it is positive."""
    highest_value = highest(values, exists)
    return tl.where(highest_value < SMALLEST_POSITIVE, SMALLEST_POSITIVE, highest_value)


def remember(rows: torch.Tensor, column: int, state_size: int, face_points: int) -> None:
    """Write x and y of hands and face into the states.

    Args:
        rows: float32 (N, columns of landmarks and then of states).
        column: Column of the left hand's first number; the right hand and the face follow.
        state_size: Numbers of a state.
        face_points: 468 or 478.
    """
    count = rows.shape[0]
    numbers = 2 * (2 * HAND_POINTS.value + face_points)
    arguments = {
        "rows": rows,
        "row_size": rows.stride(0),
        "source": column,
        "target": rows.shape[1] - state_size + HANDS_STATE.value,
        "numbers": numbers,
    }
    grid = (count, triton.cdiv(numbers, NUMBERS_TOGETHER))
    launch(copy_parts, grid, arguments, {"block": NUMBERS_TOGETHER}, bytes_moved=count * numbers * 10)


@triton.jit
def copy_parts(rows, row_size, source, target, numbers, block: tl.constexpr):
    rows += tl.program_id(0).to(tl.int64) * row_size
    number = tl.program_id(1) * block + tl.arange(0, block)
    exists = number < numbers
    # Three numbers a point in the landmarks, two in the state.
    value = tl.load(rows + source + number // 2 * 3 + number % 2, mask=exists)
    tl.store(rows + target + number, value, mask=exists)
