from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from phoenix_ray.config import DecodeSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import Video
from phoenix_ray.sources.frames import read_frames
from phoenix_ray.sources.sample import demo_videos, write_sample_dataset
from tests.sources.made_up import listed_videos

# BLAKE2b of all frames' pixels, video by video in the order of split and name.
PIXELS = "50c1a0089de09a023aab8861b6513e40"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample, written once."""
    return write_sample_dataset(tmp_path_factory.mktemp("sample"))


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def images(video: Video) -> list[NDArray[np.uint8]]:
    frames = read_frames(video, 0, video.frame_count, DecodeSettings())
    return [frame.image for frame in frames if frame.image is not None]


def test_it_is_a_phoenix_tree_of_three_splits_with_annotations(dataset: Path) -> None:
    videos = {(video.split, video.video_id): video for video in listed_videos(dataset.parent)}
    assert dataset.name == "PHOENIX-2014-T"
    assert {split for split, _ in videos} == {"train", "dev", "test"}
    assert {key: video.frame_count for key, video in videos.items()} == {
        (video.split, video.video_id): video.frame_count for video in demo_videos()
    }
    assert videos["train", "signer03-a"].annotation == {
        "signer": "Signer03",
        "gloss": "BOTH INDEX LOW RIGHT TWO-FINGERS FACE LEFT TWO-FINGERS HIGH",
        "translation": "both: index low; right: two fingers beside the face, left: two fingers high",
    }


def test_every_video_is_annotated_and_shows_one_of_several_signers(dataset: Path) -> None:
    signers = {video.annotation.get("signer") for video in listed_videos(dataset)}
    assert None not in signers
    assert len(signers) >= 4


def test_its_pixels_are_the_same_on_every_machine(dataset: Path) -> None:
    digest = hashlib.blake2b(digest_size=16)
    for video in listed_videos(dataset):
        for image in images(video):
            assert image.shape == (260, 210, 3)
            digest.update(image.tobytes())
    assert digest.hexdigest() == PIXELS


def test_its_frames_are_those_of_the_video_files(dataset: Path) -> None:
    written, (first, *_) = listed_videos(dataset)[0], demo_videos()
    assert (written.split, written.video_id) == (first.split, first.video_id)
    assert np.array_equal(images(written), images(first))


def test_it_is_the_same_every_time(dataset: Path, tmp_path: Path) -> None:
    again = write_sample_dataset(tmp_path)
    assert contents(again) == contents(dataset)
    assert [video.signature for video in listed_videos(again)] == [video.signature for video in listed_videos(dataset)]


def test_a_complete_sample_is_left_as_it_is(dataset: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    assert write_sample_dataset(dataset.parent) == dataset
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before


def test_the_sample_of_an_earlier_version_is_replaced(dataset: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "PHOENIX-2014-T"
    earlier.mkdir()
    (earlier / "sample-v1.complete").touch()
    (earlier / "picture.png").touch()
    assert contents(write_sample_dataset(tmp_path)) == contents(dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["PHOENIX-2014-T"]


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
    assert len(listed_videos(write_sample_dataset(tmp_path))) == len(demo_videos())
    assert [path.name for path in tmp_path.iterdir()] == ["PHOENIX-2014-T"]


def test_a_video_that_cannot_be_decoded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import phoenix_ray.sources.sample as sample

    video = demo_videos()[0]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(Path(video.location).read_bytes()[:20_000])
    monkeypatch.setattr(sample, "demo_videos", lambda: [replace(video, location=str(broken))])
    with pytest.raises(SourceError, match=r"broken.mp4 cannot be decoded: .* Install phoenix_ray again"):
        write_sample_dataset(tmp_path / "sample")
    assert list((tmp_path / "sample").iterdir()) == []
