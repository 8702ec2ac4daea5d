from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

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
    model = {"mode": "tracking", "complexity": 2}
    settings = Settings.model_validate(contestants.our_settings(Path("/data/a: b # c.csv"), 3, model))
    assert (settings.source.path, settings.cluster.num_workers) == ("/data/a: b # c.csv", 3)
    assert (settings.model.engine, settings.model.mode, settings.model.complexity) == ("litert", "tracking", 2)


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


def test_a_mediapipe_that_tracks_gets_whole_videos_the_longest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[dict[str, object]] = []

    def run_script(_: Path, script: str, request: dict[str, object], scratch: Path) -> tuple[dict[str, object], float]:
        requests.append(request)
        return {"frames": 3, "steady_seconds": 1, "peak_memory_mb": 1, "found": {}, "versions": {}}, 2.0

    monkeypatch.setattr(contestants, "run_script", run_script)
    for heavy in (None, tmp_path / "heavy.tflite"):
        contestants.run_mediapipe_tracking(Path("python"), [["a0"], ["b0", "b1"]], 2, tmp_path, heavy=heavy)
    default, heavier = requests
    assert default["tasks"] == [["b0", "b1"], ["a0"]]
    assert (default["options"], default["reset"]) == ({"static_image_mode": False, "model_complexity": 1}, "task")
    assert "heavy" not in default
    assert heavier["options"] == {"static_image_mode": False, "model_complexity": 2}
    assert heavier["heavy"] == str(tmp_path / "heavy.tflite")


def test_the_heavy_network_is_put_where_mediapipe_looks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("mediapipe")
    package.__file__ = str(tmp_path / "mediapipe" / "__init__.py")
    monkeypatch.setitem(sys.modules, "mediapipe", package)
    place = tmp_path / "mediapipe" / "modules" / "pose_landmark"
    place.mkdir(parents=True)
    (tmp_path / "heavy.tflite").write_bytes(b"network")
    mediapipe_practice.place_heavy_network(tmp_path / "heavy.tflite")
    assert (place / "pose_landmark_heavy.tflite").read_bytes() == b"network"


def test_a_process_forgets_a_video_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[str] = []
    monkeypatch.setattr(mediapipe_practice, "_holistic", SimpleNamespace(reset=lambda: resets.append("reset")))
    monkeypatch.setattr(mediapipe_practice, "find_landmarks", lambda pictures, stateless: [])
    mediapipe_practice.measure([], "task")
    mediapipe_practice.measure([], "never")
    assert resets == ["reset"]


@pytest.mark.parametrize(("static", "words"), [(True, ["--additional-config", "static_image_mode=true"]), (False, [])])
def test_pose_format_runs_statically_or_with_its_defaults(static: bool, words: list[str]) -> None:
    command = contestants.pose_format_command(Path("/bin/python"), Path("/videos"), 2, static=static)
    assert command == ["/bin/videos_to_poses", "--directory", "/videos", "--num-workers", "2", *words]


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
