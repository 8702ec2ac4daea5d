"""`phoenix_ray.estimate`: a video by path or as arrays, and what it says about arrays that are not frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import phoenix_ray
from phoenix_ray.config import DecodeSettings
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ConfigError, FramesError, SourceError
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.sample import DEMO_VIDEOS, demo_videos
from phoenix_ray.video_estimation import frames_of_arrays

FRAMES = np.random.default_rng(3).integers(0, 256, (23, 26, 21, 3), np.uint8)
Mode = Literal["static", "tracking"]
MODES: tuple[Mode, ...] = ("static", "tracking")


def estimate(video: Any, mode: Mode = "static", **words: Any) -> VideoLandmarks:
    return phoenix_ray.estimate(video, model="synthetic", mode=mode, **words)


def assert_same(found: VideoLandmarks, expected: VideoLandmarks) -> None:
    assert found.status == expected.status
    for part, points in expected.points.items():
        np.testing.assert_array_equal(found.points[part], points)
    for part, scores in expected.scores.items():
        np.testing.assert_array_equal(found.scores[part], scores)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos") / "clip"
    folder.mkdir()
    for index, frame in enumerate(FRAMES):
        cv2.imwrite(str(folder / f"{index}.png"), frame[..., ::-1])
    return folder


@pytest.mark.parametrize("mode", MODES)
def test_a_folder_and_its_frames_give_the_same_bits(folder: Path, mode: Mode) -> None:
    found = estimate(folder, mode)
    assert (found.split, found.video_id, len(found)) == ("all", "clip", 23)
    assert found.sizes.tolist() == [[21, 26]] * 23
    for frames in (FRAMES, list(FRAMES), iter(FRAMES)):
        assert_same(estimate(frames, mode), found)


@pytest.mark.parametrize("mode", MODES)
@given(block=st.integers(1, 30), batch=st.integers(1, 9))
def test_blocks_and_batches_change_no_bit(mode: Mode, block: int, batch: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phoenix_ray.video_estimation._BLOCK_FRAMES", block)
        found = estimate(FRAMES, mode, settings={"model.batch_size": batch})
    assert_same(found, estimate(FRAMES, mode))


def test_a_video_file_has_its_own_clock() -> None:
    video = demo_videos()[0]
    found = estimate(str(video.location), limit_frames=5)
    assert len(found) == 5
    assert found.fps == video.fps
    assert np.isfinite(found.timestamps).all()
    frames = [frame.image for frame in read_frames(video, 0, 5, DecodeSettings())]
    assert_same(estimate(frames), found)
    with pytest.raises(ConfigError, match="leave fps out"):
        estimate(video.location, fps=25)


def test_frames_have_times_where_fps_is_given(folder: Path) -> None:
    for video in (FRAMES, folder):
        found = estimate(video, fps=50)
        assert found.fps == 50
        np.testing.assert_allclose(found.timestamps, np.arange(23) / 50)
        assert np.isnan(estimate(video).timestamps).all()
    with pytest.raises(ConfigError, match="fps=0"):
        estimate(FRAMES, fps=0)


def test_limit_frames_takes_the_first() -> None:
    def endless() -> Any:
        while True:
            yield FRAMES[0]

    assert len(estimate(endless(), limit_frames=7)) == 7


def test_an_unreadable_picture_is_a_row_that_says_so(folder: Path, tmp_path: Path) -> None:
    for index in (0, 1, 2):
        (tmp_path / f"{index}.png").write_bytes((folder / f"{index}.png").read_bytes()[: 40 if index == 1 else None])
    assert estimate(tmp_path).status[1] == "unreadable"


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "floats from 0 to 1": (lambda: FRAMES / 255.0, r"float64 up to 1.*\(array \* 255\)\.round\(\)\.astype"),
    "floats to 255": (lambda: FRAMES.astype(np.float32), r"float32 up to 255.*array\.round\(\)\.astype"),
    "int64": (lambda: FRAMES.astype(np.int64), r"int64, not uint8.*astype\(numpy\.uint8\)"),
    "grey": (lambda: FRAMES[..., 0], r"grey frames.*numpy\.repeat\(array\[\.\.\., None\], 3, axis=-1\)"),
    "a grey channel": (lambda: FRAMES[..., :1], r"one channel: numpy\.repeat"),
    "a single picture": (lambda: FRAMES[0], r"single picture: give array\[None\]"),
    "transparency": (lambda: np.repeat(FRAMES, 2, -1)[..., :4], r"four channels.*array\[\.\.\., :3\]"),
    "channels first": (lambda: np.moveaxis(FRAMES, -1, 1), r"channels first: numpy\.moveaxis\(array, -3, -1\)"),
    "two axes": (lambda: FRAMES[0, 0], "is not a video"),
    "no frames": (lambda: FRAMES[:0], "There are no frames"),
    "an empty list": (list, "There are no frames"),
    "no pixels": (lambda: FRAMES[:, :0], "there are no pixels"),
    "a list of grey frames": (lambda: [FRAMES[0], FRAMES[1, ..., 0]], "Frame 1 has the shape .* it is grey"),
    "a list of floats": (lambda: [FRAMES[0] / 255], r"Frame 0 holds float64.*\(frame \* 255\)"),
    "a list of paths": (lambda: ["a.png"], "Frame 0 is a path.*give the folder"),
    "a list of numbers": (lambda: [1, 2], "Frame 0 has the shape"),
    "None": (lambda: None, "cannot be a NoneType.*or the path of a video"),
    "bytes": (lambda: b"mp4", "cannot be a bytes"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_frames_is_refused_with_the_way_out(wrong: str) -> None:
    make, message = WRONG[wrong]
    with pytest.raises(FramesError, match=message):
        estimate(make())


def test_the_conversions_that_messages_propose_are_taken() -> None:
    expected = estimate(FRAMES)
    assert_same(estimate((FRAMES / 255.0 * 255).round().astype(np.uint8)), expected)
    assert_same(estimate(np.moveaxis(np.moveaxis(FRAMES, -1, 1), -3, -1)), expected)
    grey: NDArray[np.uint8] = np.repeat(FRAMES[..., 0][..., None], 3, axis=-1)
    assert len(estimate(grey)) == 23


def test_a_missing_file_is_named_with_what_is_there(folder: Path) -> None:
    with pytest.raises(SourceError, match=r"There is no .*clap.*Did you mean 'clip'"):
        estimate(folder.with_name("clap"))


def test_a_folder_of_several_videos_is_refused() -> None:
    with pytest.raises(SourceError, match=r"several videos.*phoenix_ray.extract"):
        estimate(DEMO_VIDEOS)


def test_a_setting_that_does_not_exist_is_named_in_the_words_of_a_call() -> None:
    with pytest.raises(ConfigError, match=r"Unknown setting 'model.moed' in the call. Did you mean 'model.mode'"):
        estimate(FRAMES, settings={"model.moed": "static"})
    with pytest.raises(ConfigError, match=r"'model\.mode' is given twice"):
        estimate(FRAMES, settings={"model.mode": "static"})
    with pytest.raises(ConfigError, match=r"'model.threads'"):
        estimate(FRAMES, settings={"model": {"threads": 2}})


def test_frames_in_a_buffer_are_frames() -> None:
    pictures = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    (first, second) = frames_of_arrays(pictures.data, fps=None)
    assert first.image is not None
    assert second.image is not None
    assert np.array_equal([first.image, second.image], pictures)
