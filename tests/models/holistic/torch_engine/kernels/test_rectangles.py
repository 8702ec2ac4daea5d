"""Functions of rectangles inside of kernels: the bits of the array code."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from phoenix_ray.models.holistic import geometry, tracking
from phoenix_ray.models.holistic.geometry import DOWNWARDS, LEVEL, UPWARDS, ImageSize, Letterbox, Rect, View
from phoenix_ray.models.holistic.torch_engine.kernels import rectangles
from phoenix_ray.models.holistic.torch_engine.kernels.launching import launch

COUNT = 1024
Values = NDArray[np.float32]


@triton.jit
def pair(values, row: tl.constexpr, count: tl.constexpr):
    place = row * count + tl.arange(0, count)
    return tl.load(values + place), tl.load(values + count + place)


@triton.jit
def five(values, row: tl.constexpr, count: tl.constexpr):
    x, y = pair(values, row, count)
    width, height = pair(values, row + 2, count)
    return x, y, width, height, tl.load(values + (row + 4) * count + tl.arange(0, count))


@triton.jit
def store(found, values, rows: tl.constexpr, count: tl.constexpr):
    place = tl.arange(0, count)
    for row in tl.static_range(rows):
        tl.store(found + row * count + place, values[row])


@triton.jit
def square_through(values, found, count: tl.constexpr):
    place = tl.arange(0, count)
    center_x, center_y = pair(values, 0, count)
    edge_x, edge_y = pair(values, 2, count)
    rotation, size = tl.load(values + 4 * count + place), pair(values, 5, count)
    store(found, rectangles.square_through(center_x, center_y, edge_x, edge_y, rotation, size), 5, count)


@triton.jit
def rotation_towards(values, found, count: tl.constexpr):
    start_x, start_y = pair(values, 0, count)
    end_x, end_y = pair(values, 2, count)
    up = rectangles.rotation_towards(start_x, start_y, end_x, end_y, rectangles.UPWARDS)
    level = rectangles.rotation_towards(start_x, start_y, end_x, end_y, rectangles.LEVEL)
    down = rectangles.rotation_towards(start_x, start_y, end_x, end_y, rectangles.DOWNWARDS)
    store(found, (up, level, down), 3, count)


@triton.jit
def normalize_radians(values, found, count: tl.constexpr):
    place = tl.arange(0, count)
    tl.store(found + place, rectangles.normalize_radians(tl.load(values + place)))


@triton.jit
def enlarge(values, found, count: tl.constexpr):
    rect, size = five(values, 0, count), pair(values, 5, count)
    store(found, rectangles.enlarge(rectangles.enlarge(rect, size, 2.7, -0.1), size, 1.25, 0.0), 5, count)


@triton.jit
def body_roi(values, found, count: tl.constexpr):
    center_x, center_y = pair(values, 0, count)
    edge_x, edge_y = pair(values, 2, count)
    store(found, rectangles.body_roi(center_x, center_y, edge_x, edge_y, pair(values, 4, count)), 5, count)


@triton.jit
def bounds_of_keypoints(values, found, count: tl.constexpr):
    left, top, right, bottom, rotation = five(values, 0, count)
    store(found, rectangles.bounds_of_keypoints(left, top, right, bottom, rotation), 5, count)


@triton.jit
def bounds_of_landmarks(values, found, count: tl.constexpr):
    left, top, right, bottom, rotation = five(values, 0, count)
    store(found, rectangles.bounds_of_landmarks(left, top, right, bottom, rotation), 5, count)


@triton.jit
def remove_letterbox(values, found, count: tl.constexpr):
    x, y = pair(values, 0, count)
    store(found, rectangles.remove_letterbox(x, y, pair(values, 2, count)), 2, count)


@triton.jit
def project(values, found, count: tl.constexpr):
    x, y, z, left, top = five(values, 0, count)
    store(found, rectangles.project(x, y, z, five(values, 5, count), (left, top)), 3, count)


@triton.jit
def project_keypoints(values, found, count: tl.constexpr):
    x, y = pair(values, 0, count)
    store(found, rectangles.project_keypoints(x, y, five(values, 2, count), pair(values, 7, count)), 2, count)


@triton.jit
def through_pixels(values, found, count: tl.constexpr):
    x, y, z, width, height = five(values, 0, count)
    store(found, rectangles.through_pixels(x, y, z, (width, height)), 3, count)


@triton.jit
def rotate(values, found, count: tl.constexpr):
    place = tl.arange(0, count)
    x, y = pair(values, 0, count)
    store(found, rectangles.rotate(x, y, tl.load(values + 2 * count + place)), 2, count)


@triton.jit
def reach(values, found, count: tl.constexpr):
    """Store the lowest and the highest of all values."""
    block = tl.load(values + tl.arange(0, count))
    tl.store(found, tl.reduce(block, 0, rectangles.smaller))
    tl.store(found + 1, tl.reduce(block, 0, rectangles.larger))


def points(*axes: Values) -> Values:
    """Return points (N, 1, axes) of their coordinates."""
    return np.stack(axes, axis=1)[:, None, :]


def of_points(result: Values) -> list[Values]:
    return [result[:, 0, axis] for axis in range(result.shape[2])]


def rotations_towards(values: Sequence[Values]) -> list[Values]:
    start, end = np.stack(values[:2], axis=1), np.stack(values[2:], axis=1)
    return [geometry.rotation_towards(start, end, target) for target in (UPWARDS, LEVEL, DOWNWARDS)]


def rotated(values: Sequence[Values]) -> list[Values]:
    x, y = (coordinate[:, None, None] for coordinate in values[:2])
    return [turned[:, 0, 0] for turned in geometry.rotate(x, y, values[2])]


def view(roi: Sequence[Values], crop: Sequence[Values], letterbox: Sequence[Values], size: Sequence[Values]) -> View:
    return View(Rect(*roi), Rect(*crop), Letterbox(*letterbox), ImageSize(*size))


def bounds(formula: Callable[[Values, Values], Rect]) -> Callable[[Sequence[Values]], Sequence[Values]]:
    """Return the bounds of two points of which the first is left of and above the second."""
    return lambda v: formula(np.stack([np.stack(v[:2], axis=1), np.stack(v[2:4], axis=1)], axis=1), v[4])


Formula = Callable[[Sequence[Values]], Sequence[Values]]
# Name → the kernel, what each row of its values is, rows of its result, and the array code.
CASES: dict[str, tuple[Any, str, Formula]] = {
    "square_through": (
        square_through,
        "pppprss",
        lambda v: geometry.square_through(np.stack(v[:2], 1), np.stack(v[2:4], 1), v[4], ImageSize(*v[5:])),
    ),
    "rotation_towards": (rotation_towards, "pppp", rotations_towards),
    "normalize_radians": (normalize_radians, "r", lambda v: [geometry.normalize_radians(v[0])]),
    "enlarge": (
        enlarge,
        "nnnnrss",
        lambda v: geometry.enlarge(
            geometry.enlarge(Rect(*v[:5]), ImageSize(*v[5:]), 2.7, -0.1), ImageSize(*v[5:]), 1.25
        ),
    ),
    "body_roi": (
        body_roi,
        "nnnnss",
        lambda v: tracking.body_roi(np.stack([np.stack(v[:2], 1), np.stack(v[2:4], 1)], 1), ImageSize(*v[4:])),
    ),
    "bounds_of_keypoints": (bounds_of_keypoints, "llhhr", bounds(geometry.bounds_of_keypoints)),
    "bounds_of_landmarks": (bounds_of_landmarks, "llhhr", bounds(geometry.bounds_of_landmarks)),
    "remove_letterbox": (
        remove_letterbox,
        "nnbb",
        lambda v: of_points(geometry.remove_letterbox(points(*v[:2]), view([*v, v[0]], [*v, v[0]], v[2:], v[:2]))),
    ),
    "project": (
        project,
        "nnnbbnnnnr",
        lambda v: of_points(geometry.project(points(*v[:3]), view(v[5:], v[5:], v[3:5], v[:2]))),
    ),
    "project_keypoints": (
        project_keypoints,
        "nnpppprss",
        lambda v: of_points(geometry.project_keypoints(points(*v[:2]), view(v[2:7], v[2:7], v[:2], v[7:]))),
    ),
    "through_pixels": (
        through_pixels,
        "nnnss",
        lambda v: of_points(geometry.through_pixels(points(*v[:3]), ImageSize(*v[3:]))),
    ),
    "rotate": (rotate, "nnr", rotated),
}
# Ranges of values: pixels, normalised coordinates, lowest ones and how far the highest are from them two rows before,
# rotations, sizes, letterboxes.
RANGES = {"p": (-500, 3000), "n": (-1, 2), "l": (-2, 1), "h": (0, 2), "r": (-7, 7), "s": (1, 4000), "b": (0, 0.4)}
SPECIAL = (0.0, -0.0, 1.0, math.nan)


def run(kernel: Any, values: Values, rows: int, device_name: str) -> Values:
    found = torch.full((rows, values.shape[1]), 7.0, device=device_name)
    launch(
        kernel,
        (1,),
        {"values": torch.from_numpy(values).to(device_name), "found": found},
        {"count": values.shape[1]},
    )
    result: Values = found.cpu().numpy()
    return result


def values_of(kinds: str, seed: int, count: int = COUNT) -> Values:
    random = np.random.default_rng(seed)
    values = np.stack([random.uniform(*RANGES[kind], count) for kind in kinds]).astype(np.float32)
    for row, kind in enumerate(kinds):
        if kind == "s":
            values[row] = np.round(values[row])
        elif kind == "h":
            values[row] += values[row - 2]
        else:
            some = random.integers(0, count, count // 16)
            values[row, some] = math.nan if kind == "l" else random.choice(SPECIAL, count // 16)
    if kinds.startswith("pppp"):
        # Lines without length, level and upright ones.
        values[2:4, :8] = values[:2, :8]
        values[2, 8:16], values[3, 16:24] = values[0, 8:16], values[1, 16:24]
    return values


def assert_same_bits(expected: Values, found: Values) -> None:
    same = (expected.view(np.uint32) == found.view(np.uint32)) | (np.isnan(expected) & np.isnan(found))
    assert same.all(), f"{np.count_nonzero(~same)} of {same.size} differ: {expected[~same][:3]}, {found[~same][:3]}"


@pytest.mark.parametrize("name", CASES)
def test_a_kernels_function_gives_the_bits_of_the_array_code(name: str, device_name: str) -> None:
    kernel, kinds, formula = CASES[name]
    values = values_of(kinds, seed=len(name))
    expected = np.stack(formula(list(values)))
    assert np.isfinite(expected).mean() > 0.5
    assert_same_bits(expected, run(kernel, values, len(expected), device_name))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=arrays(np.float32, 8, elements=st.floats(width=32)))
def test_the_lowest_and_highest_of_a_block_are_nan_where_a_number_is(values: Values, device_name: str) -> None:
    lowest, highest = run(reach, values[None], 1, device_name)[0, :2]
    np.testing.assert_array_equal([lowest, highest], [values.min(), values.max()])
