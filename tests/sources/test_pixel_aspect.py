from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from phoenix_ray.cluster.plan import make_plan
from phoenix_ray.config import DecodeSettings
from phoenix_ray.sources.base import Frame, Video
from phoenix_ray.sources.decode import UnreadableFrameError
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.pixel_aspect import with_square_pixels
from tests.sources.made_up import listed_videos, picture, write_frames, write_video


def write_stretched(path: Path, ratio: Fraction, frames: int = 3) -> Path:
    """Write a video of 48x64 pixels of which each is `ratio` as wide as high."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = ratio
        for index in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def frames_of(video: Video, **settings: int) -> list[Frame]:
    return list(read_frames(video, 0, video.frame_count, DecodeSettings(**settings)))


def sizes(video: Video) -> set[tuple[int, ...]]:
    return {frame.image.shape for frame in frames_of(video) if frame.image is not None}


def notes(video: Video) -> list[str]:
    return make_plan([video], lambda video: [(0, video.frame_count)], 512, 1).notes()


@pytest.mark.parametrize(("ratio", "size"), [(Fraction(4, 3), (64, 64, 3)), (Fraction(2, 3), (96, 48, 3))])
def test_a_file_s_ratio_is_recorded_and_corrected_on_request(
    tmp_path: Path, ratio: Fraction, size: tuple[int, int, int]
) -> None:
    path = write_stretched(tmp_path / "clip.mp4", ratio)
    (as_it_is,) = listed_videos(path)
    assert as_it_is.pixel_aspect_ratio == pytest.approx(float(ratio))
    assert sizes(as_it_is) == {(64, 48, 3)}
    (note,) = notes(as_it_is)
    assert note.startswith("The pixels of 1 video are not square")
    assert "source.square_pixels=true" in note
    (corrected,) = listed_videos(path, square_pixels=True)
    assert sizes(corrected) == {size}
    assert notes(corrected) == []
    assert corrected.signature != as_it_is.signature


def test_square_pixels_and_unknown_ones_stay_as_they_are(tmp_path: Path) -> None:
    (square,) = listed_videos(write_stretched(tmp_path / "square.mp4", Fraction(1)))
    (unknown,) = listed_videos(write_video(tmp_path / "unknown.mkv", 3, "mjpeg", "yuvj420p"))
    assert (square.pixel_aspect_ratio, unknown.pixel_aspect_ratio) == (1.0, None)
    assert notes(square) == notes(unknown) == []
    for video in (square, unknown):
        (corrected,) = listed_videos(Path(video.location), square_pixels=True)
        assert corrected.signature == video.signature
        assert [note.startswith("source.square_pixels leaves 1 video") for note in notes(corrected)] == (
            [] if video is square else [True]
        )
        for frame, other in zip(frames_of(corrected), frames_of(video), strict=True):
            np.testing.assert_array_equal(frame.image, other.image)


def test_the_ratio_of_a_frame_folder_comes_from_a_setting(tmp_path: Path) -> None:
    write_frames(tmp_path / "source" / "clip", 2)
    (stretched,) = listed_videos(tmp_path / "source", pixel_aspect_ratio=1.5)
    assert (sizes(stretched), stretched.is_stretched) == ({(64, 48, 3)}, True)
    (corrected,) = listed_videos(tmp_path / "source", pixel_aspect_ratio=1.5, square_pixels=True)
    assert (sizes(corrected), corrected.is_stretched) == ({(64, 72, 3)}, False)


def test_a_file_that_says_its_ratio_ignores_the_setting(tmp_path: Path) -> None:
    path = write_stretched(tmp_path / "clip.mp4", Fraction(4, 3))
    (video,) = listed_videos(path, pixel_aspect_ratio=1.5)
    assert video.pixel_aspect_ratio == pytest.approx(4 / 3)


def test_interpolation_is_linear_and_exact() -> None:
    image = np.array([[[0, 0, 0], [100, 200, 40]]], np.uint8)
    found = with_square_pixels(image, 2.0, 100)
    np.testing.assert_array_equal(found[0, :, 0], [0, 25, 75, 100])
    assert found.shape == (1, 4, 3)


def test_a_correction_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFrameError, match=r"more than decode\.max_pixels"):
        with_square_pixels(np.zeros((10, 10, 3), np.uint8), 19.0, 1_000)
    (video,) = listed_videos(write_stretched(tmp_path / "clip.mp4", Fraction(4, 1)), square_pixels=True)
    errors = [frame.error for frame in frames_of(video, max_pixels=48 * 64)]
    assert errors == ["192x64 is 12,288 pixels, more than decode.max_pixels=3,072"] * 3
