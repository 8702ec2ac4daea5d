from __future__ import annotations

import builtins
import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from phoenix_ray.config import DecodeSettings, SourceSettings
from phoenix_ray.errors import MissingExtraError, SourceError
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.built_in import MOVES, count_frames, write_sample_dataset
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.registry import open_source
from tests.sources.made_up import listed_videos


def synthetic_videos(**settings: object) -> list[Video]:
    source = open_source(SourceSettings.model_validate({"kind": "synthetic", **settings}))
    videos = list(source.videos())
    assert all(isinstance(video, Video) for video in videos)
    return [video for video in videos if isinstance(video, Video)]


def read_pictures(video: Video, first: int, last: int) -> list[bytes]:
    images = [frame.image for frame in read_frames(video, first, last, DecodeSettings())]
    return [image.tobytes() for image in images if image is not None]


def test_it_has_as_many_videos_as_asked_for_sorted_and_the_same_every_time() -> None:
    videos = synthetic_videos(max_videos_per_split=50)
    assert len({video.video_id for video in videos}) == 50
    assert videos == sorted(videos, key=lambda video: (video.split, video.video_id))
    assert videos == synthetic_videos(max_videos_per_split=50)


def test_more_videos_begin_with_the_same_ones() -> None:
    assert synthetic_videos(max_videos_per_split=30)[:20] == synthetic_videos(max_videos_per_split=20)


def test_lengths_are_those_of_a_sign_language_corpus() -> None:
    lengths = np.array([count_frames(number) for number in range(8_257)])
    # PHOENIX-2014-T: 16 to 475 frames, 115 on average, quartiles at 81, 110 and 142.
    assert lengths.min() >= 16
    assert lengths.max() <= 475
    assert lengths.mean() == pytest.approx(115, abs=2)
    assert np.quantile(lengths, [0.25, 0.5, 0.75]) == pytest.approx([81, 110, 142], abs=5)


def test_a_frame_is_the_same_whatever_range_it_is_read_in() -> None:
    video = synthetic_videos(max_videos_per_split=1)[0]
    whole = [read_pictures(video, index, index + 1)[0] for index in range(10)]
    assert read_pictures(video, 5, 9) == whole[5:9]
    assert len(set(whole)) == 10


def test_a_limit_shortens_videos_and_changes_their_signature() -> None:
    long, short = synthetic_videos(max_videos_per_split=1)[0], synthetic_videos(limit_frames=3)[0]
    assert short.frame_count == 3
    assert short.signature != long.signature


def test_it_has_one_split() -> None:
    with pytest.raises(SourceError, match="'train'"):
        synthetic_videos(splits=["train"])


pytest.importorskip("skimage", reason="the sample dataset needs scikit-image")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, written once."""
    return write_sample_dataset(tmp_path_factory.mktemp("sample"))


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_it_is_a_phoenix_tree_of_three_splits_with_annotations(dataset: Path) -> None:
    videos = listed_videos(dataset.parent)
    assert dataset.name == "PHOENIX-2014-T"
    assert [video.split for video in videos] == ["dev", "test", "test", "train", "train", "train"]
    assert {video.video_id: video.frame_count for video in videos} == {move.name: move.frames for move in MOVES}
    assert videos[0].annotation == {
        "signer": "Astronaut",
        "gloss": "PAN AND ZOOM",
        "translation": "no signing: pan and zoom",
    }


def test_it_is_the_same_every_time(dataset: Path, tmp_path: Path) -> None:
    again = write_sample_dataset(tmp_path)
    assert contents(again) == contents(dataset)
    assert [video.signature for video in listed_videos(again)] == [video.signature for video in listed_videos(dataset)]


def test_a_complete_sample_is_left_as_it_is(dataset: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    assert write_sample_dataset(dataset.parent) == dataset
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def test_a_dataset_that_is_not_the_sample_is_never_touched(tmp_path: Path) -> None:
    mine = tmp_path / "PHOENIX-2014-T" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(SourceError, match=r"exists and is not the sample: remove it, or choose another source.path"):
        write_sample_dataset(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["PHOENIX-2014-T", "mine.txt"]


def test_writing_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(SourceError, match=r"cannot be written to .*: \[Errno 28\] No space left"):
        write_sample_dataset(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_write_at_once_both_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.rename

    def rename_after_another(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", real)
        write_sample_dataset(tmp_path)
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename_after_another)
    assert len(listed_videos(write_sample_dataset(tmp_path))) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["PHOENIX-2014-T"]


def test_without_scikit_image_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        if name == "skimage":
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'phoenix-ray\[demo\]'"):
        write_sample_dataset(tmp_path)


def images(video: Video) -> list[np.ndarray[Any, Any]]:
    frames = read_frames(video, 0, video.frame_count, DecodeSettings())
    return [frame.image for frame in frames if frame.image is not None]


def test_every_frame_is_another_picture_but_in_the_still(dataset: Path) -> None:
    for video in listed_videos(dataset):
        different = len({image.tobytes() for image in images(video)})
        assert different == (1 if video.video_id == "sample-still" else video.frame_count)


def test_a_face_is_visible_throughout(dataset: Path) -> None:
    """OpenCV's own face detector, which knows upright faces, finds one wherever the camera does not roll."""
    detector = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"))
    for video in listed_videos(dataset):
        upright = images(video)[:1] if "roll" in video.video_id else images(video)[::8]
        for image in upright:
            assert image.shape == (260, 210, 3)
            faces = detector.detectMultiScale(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1.05, 3, minSize=(30, 30))
            assert len(faces) > 0
