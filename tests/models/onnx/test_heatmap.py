from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from phoenix_ray.models.onnx.decoders import heatmap
from phoenix_ray.models.onnx.decoders.heatmap import decode_heatmaps, logarithm
from phoenix_ray.models.onnx.manifest import HeatmapDecoder

WIDTH, HEIGHT = 8, 9
KERNEL = 5
Map = list[list[float]]


def decoder(refine: str, udp: bool = False) -> HeatmapDecoder:
    return HeatmapDecoder.model_validate({"kind": "heatmap", "refine": refine, "blur_kernel": KERNEL, "udp": udp})


def bumps(places: list[tuple[float, float]]) -> NDArray[np.float32]:
    """Return a map for each place with a bump around it, float32 (1, points, HEIGHT, WIDTH)."""
    x, y = np.arange(WIDTH), np.arange(HEIGHT)[:, np.newaxis]
    maps = [0.9 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 4) for at in places]
    return np.stack(maps).astype(np.float32)[np.newaxis]


def highest(cells: Map) -> tuple[int, int, float]:
    place = (0, 0)
    for y in range(HEIGHT):
        for x in range(WIDTH):
            if cells[y][x] > cells[place[1]][place[0]]:
                place = (x, y)
    return place[0], place[1], cells[place[1]][place[0]]


def blurred(cells: Map) -> Map:
    """MMPose's gaussian_blur: a Gaussian window, zeros around the map, and the old maximum."""
    sigma = 0.3 * ((KERNEL - 1) * 0.5 - 1) + 0.8
    weights = [math.exp(-((step - KERNEL // 2) ** 2) / (2 * sigma**2)) for step in range(KERNEL)]
    # OpenCV's window of five cells is a table of sixteenths.
    weights = [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16] if KERNEL == 5 else [w / sum(weights) for w in weights]

    def at(x: int, y: int) -> float:
        return cells[y][x] if 0 <= x < WIDTH and 0 <= y < HEIGHT else 0.0

    reach = KERNEL // 2
    result = [
        [
            sum(
                weights[i + reach] * weights[j + reach] * at(x + i, y + j)
                for i in range(-reach, reach + 1)
                for j in range(-reach, reach + 1)
            )
            for x in range(WIDTH)
        ]
        for y in range(HEIGHT)
    ]
    top, old = max(map(max, result)), max(map(max, cells))
    return [[value * old / top for value in row] for row in result]


def reference(cells: Map, refine: str) -> tuple[float, float]:
    """Return the point as MMPose's functions find it, written down again in loops."""
    x, y, _ = highest(cells)
    if refine == "none":
        return x, y
    if refine == "quarter":
        dx = cells[y][x + 1] - cells[y][x - 1] if 1 < x < WIDTH - 1 and 0 < y < HEIGHT else 0
        dy = cells[y + 1][x] - cells[y - 1][x] if 1 < y < HEIGHT - 1 and 0 < x < WIDTH else 0
        return x + 0.25 * ((dx > 0) - (dx < 0)), y + 0.25 * ((dy > 0) - (dy < 0))
    low, high = (1e-10, math.inf) if refine == "dark" else (1e-3, 50)
    logs = [[math.log(min(max(value, low), high)) for value in row] for row in blurred(cells)]
    if refine == "dark":
        if not (1 < x < WIDTH - 2 and 1 < y < HEIGHT - 2):
            return x, y
        dx, dy = (logs[y][x + 1] - logs[y][x - 1]) / 2, (logs[y + 1][x] - logs[y - 1][x]) / 2
        dxx = (logs[y][x + 2] - 2 * logs[y][x] + logs[y][x - 2]) / 4
        dyy = (logs[y + 2][x] - 2 * logs[y][x] + logs[y - 2][x]) / 4
        dxy = (logs[y + 1][x + 1] - logs[y - 1][x + 1] - logs[y + 1][x - 1] + logs[y - 1][x - 1]) / 4
    else:

        def at(column: int, row: int) -> float:
            return logs[min(max(row, 0), HEIGHT - 1)][min(max(column, 0), WIDTH - 1)]

        dx, dy = (at(x + 1, y) - at(x - 1, y)) / 2, (at(x, y + 1) - at(x, y - 1)) / 2
        dxx = at(x + 1, y) - 2 * at(x, y) + at(x - 1, y)
        dyy = at(x, y + 1) - 2 * at(x, y) + at(x, y - 1)
        crossed = at(x + 1, y + 1) - at(x + 1, y) - at(x, y + 1) + 2 * at(x, y) - at(x - 1, y) - at(x, y - 1)
        dxy = (crossed + at(x - 1, y - 1)) / 2
        dxx, dyy = dxx + 2**-23, dyy + 2**-23
    determinant = dxx * dyy - dxy * dxy
    return x - (dyy * dx - dxy * dy) / determinant, y - (dxx * dy - dxy * dx) / determinant


@pytest.mark.parametrize("refine", ["none", "quarter", "dark", "udp"])
@settings(max_examples=50)
@given(
    places=st.lists(st.tuples(st.floats(0, WIDTH - 1), st.floats(0, HEIGHT - 1)), min_size=2, max_size=2),
    seed=st.integers(0, 1000),
)
def test_points_are_those_of_mmpose_in_plain_loops(refine: str, places: list[tuple[float, float]], seed: int) -> None:
    maps = bumps(places)
    maps += np.random.default_rng(seed).normal(0, 1e-3, maps.shape).astype(np.float32)
    found = decode_heatmaps(maps, decoder(refine), (WIDTH * 4, HEIGHT * 4))
    for point in range(2):
        cells = [[float(value) for value in row] for row in maps[0, point]]
        expected = np.array(reference(cells, refine)) * 4
        # Refined points hang on differences of float32 numbers.
        assert np.allclose(found.xy[0, point], expected, atol=2e-3, rtol=1e-4)
        assert found.scores[0, point] == np.float32(highest(cells)[2])


@given(arrays.arrays(np.float32, (1, 2, HEIGHT, WIDTH), elements=st.integers(-3, 2).map(float)))
def test_a_map_without_anything_above_zero_has_no_point(maps: NDArray[np.float32]) -> None:
    found = decode_heatmaps(maps, decoder("quarter"), (WIDTH, HEIGHT))
    for point in range(2):
        x, y, score = highest([[float(value) for value in row] for row in maps[0, point]])
        assert found.scores[0, point] == score
        if score > 0:
            assert np.abs(found.xy[0, point] - (x, y)).max() <= 0.25
        else:
            assert np.isnan(found.xy[0, point]).all()


def test_dark_finds_a_bump_between_cells() -> None:
    places = [(3.3, 4.4), (2.6, 5.1)]
    found = decode_heatmaps(bumps(places), decoder("dark"), (WIDTH, HEIGHT))
    assert np.allclose(found.xy[0], places, atol=0.1)


def test_with_udp_the_outermost_cells_are_the_outermost_pixels() -> None:
    maps = np.zeros((1, 2, HEIGHT, WIDTH), np.float32)
    maps[0, 0, HEIGHT - 1, WIDTH - 1] = maps[0, 1, 4, 2] = 1
    biased = decode_heatmaps(maps, decoder("none"), (32, 36)).xy[0]
    unbiased = decode_heatmaps(maps, decoder("none", udp=True), (32, 36)).xy[0]
    assert biased.tolist() == [[28, 32], [8, 16]]
    assert np.allclose(unbiased, np.array([[31, 35], [2 * 31 / 7, 4 * 35 / 8]]))


@pytest.mark.parametrize("refine", ["quarter", "dark", "udp"])
def test_a_frame_does_not_depend_on_others_nor_maps_on_their_groups(
    refine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = np.random.default_rng(2).random((3, 5, HEIGHT, WIDTH), np.float32)
    together = decode_heatmaps(maps, decoder(refine), (32, 36)).xy
    monkeypatch.setattr(heatmap, "CELLS_TOGETHER", 2 * HEIGHT * WIDTH)
    for frame in range(3):
        alone = decode_heatmaps(maps[frame : frame + 1], decoder(refine), (32, 36)).xy
        assert np.array_equal(alone[0], together[frame])


@given(st.floats(1e-10, 50))
def test_the_logarithm_is_exact_to_the_last_digits(value: float) -> None:
    assert math.isclose(float(logarithm(np.array([value]))[0]), math.log(value), rel_tol=4e-16, abs_tol=2e-16)
