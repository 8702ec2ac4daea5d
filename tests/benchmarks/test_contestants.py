from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from benchmarks import contestants, mediapipe_practice
from benchmarks.frames import BenchmarkFrames
from phoenix_ray.config import Settings, SourceSettings
from phoenix_ray.errors import PhoenixRayError
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.registry import open_source


def test_our_settings_are_settings() -> None:
    settings = Settings.model_validate(contestants.our_settings(Path("/data/a: b # c.csv"), workers=3))
    assert (settings.source.path, settings.cluster.num_workers) == ("/data/a: b # c.csv", 3)


def test_each_pass_over_a_video_is_a_video_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "1.png").touch()
    video = Video("dev", "clip, 1", "frame_folder", str(tmp_path / "clip"), 1, "signature")
    table = contestants.write_table(BenchmarkFrames("/data", (video,), (), ()), 3, tmp_path / "videos.csv")
    videos = list(open_source(SourceSettings(path=str(table))).videos())
    assert [one.video_id for one in videos] == ["0/clip, 1", "1/clip, 1", "2/clip, 1"]


def test_a_mediapipe_that_cannot_start_ends_with_its_own_words(tmp_path: Path) -> None:
    """Here the reference Python is one without MediaPipe, or the picture is none: neither may hang the benchmark."""
    (tmp_path / "empty.png").touch()
    with pytest.raises(PhoenixRayError, match=r"exit code 1(.|\n)*(mediapipe|empty\.png)"):
        contestants.run_mediapipe(
            Path(sys.executable), [str(tmp_path / "empty.png")] * 2, workers=2, scratch=tmp_path, stateless=False
        )


def test_our_side_fails_with_the_runs_own_words(tmp_path: Path) -> None:
    with pytest.raises(PhoenixRayError, match=r"exit code 4(.|\n)*videos\.csv"):
        contestants.run_ours(BenchmarkFrames("/data", (), (), ()), workers=1, passes=1, scratch=tmp_path)


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_pictures_are_dealt_evenly_and_in_order(workers: int) -> None:
    pictures = [f"{index}.png" for index in range(10)]
    shares = mediapipe_practice.share_out(pictures, workers)
    assert [picture for share in shares for picture in share] == pictures
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_video_file_holds_the_same_pixels_as_the_frames(tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    frames = [np.random.default_rng(index).integers(0, 256, (26, 20, 3), np.uint8) for index in range(3)]
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{index}.png")
    video = Video("dev", "a/clip", "frame_folder", str(folder), 3, "signature")
    written = contestants.write_videos(BenchmarkFrames("/data", (video,), (), ()), 2, tmp_path / "videos")
    assert sorted(path.name for path in written.iterdir()) == ["0-a-clip.mov", "1-a-clip.mov"]
    with av.open(str(written / "1-a-clip.mov")) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    np.testing.assert_array_equal(decoded, frames)
