from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Picture

import phoenix_ray
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import SourceError
from phoenix_ray.layouts import BLAZEPOSE, holistic
from phoenix_ray.sources import registry
from phoenix_ray.viewer.overlay import draw
from phoenix_ray.viewer.tiling import RULE, TILE_BACKGROUND
from tests.dataset.made_up import LAYOUT as MADE_UP
from tests.prepare.made_up import make_video
from tests.sources.made_up import write_video
from tests.viewer.made_up import HEIGHT, VIDEOS, WIDTH, picture

STREET = ("train", "Straße 手")


@pytest.fixture(scope="module")
def video(dataset: Path) -> VideoLandmarks:
    return phoenix_ray.open(dataset)[STREET]


def points_of(video: VideoLandmarks, row: int) -> dict[str, np.ndarray]:
    return {part: values[row] for part, values in video.points.items()}


def frame_of(key: tuple[str, str], index: int) -> np.ndarray:
    return picture(list(VIDEOS).index(key), index)[:, :, ::-1]


def test_a_row_is_drawn_as_its_skeleton_alone(video: VideoLandmarks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "open_source", None)
    shown = video.draw(5)
    assert isinstance(shown, Picture.Image)
    assert (shown.mode, shown.size) == ("RGB", (10 * WIDTH, 10 * HEIGHT))
    pixels = np.asarray(shown)
    assert pixels.dtype == np.uint8
    ground = np.full_like(pixels, TILE_BACKGROUND)
    np.testing.assert_array_equal(pixels, draw(ground, video.layout, points_of(video, 5), 1))
    assert (pixels != ground).any()
    np.testing.assert_array_equal(np.asarray(video.draw(-35)), pixels)


@pytest.mark.parametrize("key", [STREET, ("dev", "b")])
def test_a_frame_of_the_source_lies_beneath_where_it_is_asked_for(
    source: Path, dataset: Path, key: tuple[str, str]
) -> None:
    video = phoenix_ray.open(dataset)[key]
    expected = draw(np.ascontiguousarray(frame_of(key, 7)), video.layout, points_of(video, 7), 10)
    for place in (source, str(source), source / key[0] / key[1]):
        np.testing.assert_array_equal(np.asarray(video.draw(7, source=place)), expected)
    image = np.ascontiguousarray(frame_of(key, 7))
    np.testing.assert_array_equal(np.asarray(video.draw(7, image=image)), expected)
    np.testing.assert_array_equal(np.asarray(video.draw(7, image=Picture.fromarray(image))), expected)


def test_a_frame_of_a_video_file_lies_beneath(tmp_path: Path) -> None:
    write_video(tmp_path / "other name.mp4", frames=8)
    shown = np.asarray(make_video(8).draw(6, source=tmp_path / "other name.mp4"))
    assert (shown != TILE_BACKGROUND).all(axis=2).mean() > 0.9


def test_an_unreadable_frame_is_crossed_out(source: Path, dataset: Path) -> None:
    video = phoenix_ray.open(dataset)["dev", "b"]
    assert video.status[3] == "unreadable"
    for shown in (video.draw(3), video.draw(3, source=source)):
        assert shown.size == (10 * WIDTH, 10 * HEIGHT)
        assert {tuple(colour) for colour in np.asarray(shown).reshape(-1, 3)[:1].tolist()} == {RULE}


@pytest.mark.parametrize("layout", [holistic(468), holistic(478), BLAZEPOSE, MADE_UP])
def test_every_layout_is_drawn(layout: object) -> None:
    video = make_video(2, layout=layout)  # type: ignore[arg-type]
    assert (np.asarray(video.draw(1)) != TILE_BACKGROUND).any()


@pytest.mark.parametrize("size", [(0, 0), (1, 1), (30_000, 1), (1, 30_000), (32_767, 32_767)])
def test_a_picture_of_any_size_is_bounded(size: tuple[int, int]) -> None:
    width, height = make_video(2, size=size).draw(0).size
    assert 0 < width <= 1920
    assert 0 < height <= 1080


def test_a_frame_of_unknown_size_has_that_of_the_others() -> None:
    video = make_video(5)
    sizes = video.sizes.copy()
    sizes[2] = 0
    assert replace(video, sizes=sizes).draw(2).size == video.draw(1).size == (420, 520)


@given(st.integers(1, 900))
def test_the_height_of_a_picture_can_be_chosen(height: int) -> None:
    shown = make_video(1).draw(0, height=height)
    assert shown.height == height
    assert shown.width == max(1, round(height * 210 / 260))


def test_what_cannot_be_drawn_is_refused(video: VideoLandmarks, source: Path, tmp_path: Path) -> None:
    for row in (40, -41):
        with pytest.raises(IndexError, match=f"no row {row}: the video has 40 rows"):
            video.draw(row)
    for height in (0, -3, 100_000):
        with pytest.raises(ValueError, match=f"height={height}"):
            video.draw(0, height=height)
    for image in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="give RGB as uint8"):
            video.draw(0, image=image)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not both"):
        video.draw(0, source=source, image=np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(SourceError, match="There is no"):
        video.draw(0, source=tmp_path / "nowhere")


def test_a_source_of_other_videos_is_refused(source: Path) -> None:
    with pytest.raises(SourceError, match=r"has no video train/video-0\. Give the source"):
        make_video(8).draw(0, source=source)
    with pytest.raises(SourceError, match="it is another video"):
        make_video(16).draw(0, source=source / "dev")
