from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from phoenix_ray.layouts import holistic
from phoenix_ray.viewer import overlay
from phoenix_ray.viewer.overlay import STYLES, Colour, Image, draw

LAYOUT = holistic(468)
GREY = np.full((65, 52, 3), 128, np.uint8)


def missing() -> dict[str, NDArray[np.float32]]:
    return {part.name: np.full((len(part.points), len(part.axes)), np.nan, np.float32) for part in LAYOUT.parts}


def hand_at(x: float, y: float) -> NDArray[np.float32]:
    """A hand whose fingers fan out over a tenth of the picture."""
    steps = np.linspace(0, 0.1, 21, dtype=np.float32)
    return np.stack([x + steps, y + steps[::-1], np.zeros(21, np.float32)], axis=1)


def changed(drawn: NDArray[np.uint8]) -> NDArray[np.bool_]:
    plain = draw(GREY, LAYOUT, missing(), scale=2)
    return np.asarray((drawn != plain).any(axis=2))


def test_nothing_is_drawn_for_missing_parts() -> None:
    assert (draw(GREY, LAYOUT, missing(), scale=2) == 128).all()


def test_a_frame_is_enlarged_and_left_as_it_was() -> None:
    before = GREY.copy()
    assert draw(GREY, LAYOUT, missing() | {"left_hand": hand_at(0.4, 0.4)}, scale=3).shape == (195, 156, 3)
    np.testing.assert_array_equal(GREY, before)


@pytest.mark.parametrize("part", ["left_hand", "right_hand"])
def test_a_hand_is_drawn_where_it_is_in_its_colour(part: str) -> None:
    drawn = draw(GREY, LAYOUT, missing() | {part: hand_at(0.5, 0.5)}, scale=4)
    rows, columns = np.nonzero((drawn != 128).any(axis=2))
    height, width = drawn.shape[:2]
    assert 0.45 * height < rows.min()
    assert rows.max() < 0.65 * height
    assert 0.45 * width < columns.min()
    assert columns.max() < 0.65 * width
    distance = np.abs(drawn.astype(int) - STYLES[part].colour).sum(axis=2)
    assert distance.min() < 80


def test_the_two_hands_have_colours_of_their_own() -> None:
    left = draw(GREY, LAYOUT, missing() | {"left_hand": hand_at(0.5, 0.5)})
    right = draw(GREY, LAYOUT, missing() | {"right_hand": hand_at(0.5, 0.5)})
    assert (left != right).any()


def test_landmarks_in_metres_are_not_drawn() -> None:
    points = missing()
    points["pose_world"] = np.full((33, 3), 0.5, np.float32)
    assert not changed(draw(GREY, LAYOUT, points, scale=2)).any()


def test_points_that_are_hardly_visible_are_fainter() -> None:
    def contrast(visibility: float) -> float:
        points = missing()
        points["pose"] = np.random.default_rng(0).random((33, 4), dtype=np.float32)
        points["pose"][:, 3] = visibility
        return float(np.abs(draw(GREY, LAYOUT, points, scale=2).astype(int) - 128).sum())

    assert 0 < contrast(0.1) < contrast(0.9)


@given(x=st.floats(-(2.0**100), 2.0**100, width=32), y=st.floats(-(2.0**100), 2.0**100, width=32))
def test_points_anywhere_are_drawn_or_cut_off_but_never_crash(x: float, y: float) -> None:
    assert draw(GREY, LAYOUT, missing() | {"left_hand": hand_at(x, y)}, scale=1).shape == GREY.shape


def blend_in_floats(canvas: Image, mask: Image, colour: Colour, opacity: float) -> None:
    """What `overlay` looks up in a table."""
    weight = mask[:, :, np.newaxis].astype(np.float32) * (opacity / 255)
    canvas[:] = np.rint(canvas * (1 - weight) + np.array(colour, np.float32) * weight).astype(np.uint8)


@pytest.mark.parametrize("scale", [1, 3])
def test_pixels_are_those_of_a_blend_in_floats(scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(scale)
    image = random.integers(0, 256, (65, 52, 3), dtype=np.uint8)
    points = {
        part.name: random.uniform(-0.2, 1.2, values.shape).astype(np.float32)
        for part, values in zip(LAYOUT.parts, missing().values(), strict=True)
    }
    drawn = draw(image, LAYOUT, points, scale)
    monkeypatch.setattr(overlay, "_composite", blend_in_floats)
    np.testing.assert_array_equal(drawn, draw(image, LAYOUT, points, scale))
