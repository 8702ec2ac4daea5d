from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

import phoenix_ray
from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import ConfigError, SourceError
from phoenix_ray.sources import registry
from phoenix_ray.viewer import player
from phoenix_ray.viewer.player import VideoPlayer
from phoenix_ray.viewer.tiling import TILE_BACKGROUND
from tests.prepare.made_up import make_video
from tests.viewer.made_up import HOSTILE

STREET = ("train", "Straße 手")


@pytest.fixture(scope="module")
def video(dataset: Path) -> VideoLandmarks:
    return phoenix_ray.open(dataset)[STREET]


def decode(content: bytes, folder: Path) -> list[np.ndarray]:
    file = folder / "shown.mp4"
    file.write_bytes(content)
    with av.open(str(file)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def shown_by(played: VideoPlayer, folder: Path) -> list[np.ndarray]:
    found = re.search(r'src="data:video/mp4;base64,([A-Za-z0-9+/=]+)"', played._repr_html_())
    assert found
    return decode(base64.b64decode(found[1]), folder)


def test_a_notebook_shows_a_picture_for_each_row(
    video: VideoLandmarks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "open_source", None)
    played = video.play()
    pictures = shown_by(played, tmp_path)
    assert len(pictures) == len(video) == 40
    # A skeleton only: the ground is even at the corner, where a frame would be.
    assert all(np.abs(picture[2, 2].astype(int) - TILE_BACKGROUND).max() < 12 for picture in pictures)
    assert repr(played) == "<VideoPlayer train/Straße 手: 40 frames, skeleton; save('video.mp4') writes it>"


def test_frames_are_shown_where_they_are_asked_for(video: VideoLandmarks, source: Path, tmp_path: Path) -> None:
    skeleton = np.stack(shown_by(video.play(end=5), tmp_path))
    overlay = np.stack(shown_by(video.play(source=source, end=5), tmp_path))
    beside = np.stack(shown_by(video.play(source=source, end=5, side_by_side=True), tmp_path))
    assert skeleton.shape == overlay.shape
    assert beside.shape[2] > 1.5 * overlay.shape[2]
    assert np.abs(skeleton.astype(int) - overlay).mean() > 20


def test_a_part_of_a_video_is_played(video: VideoLandmarks, tmp_path: Path) -> None:
    assert len(shown_by(video.play(first=10, end=15), tmp_path)) == 5
    assert len(shown_by(video.play(first=38), tmp_path)) == 2
    for first, end in ((3, 3), (-1, None), (5, 2)):
        with pytest.raises(ValueError, match=f"no frame from {first} to {end}"):
            video.play(first=first, end=end)


def test_a_long_video_is_cut_in_a_notebook_and_saved_whole(
    video: VideoLandmarks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(player, "MOST_FRAMES_SHOWN", 12)
    played = video.play(first=4)
    assert len(shown_by(played, tmp_path)) == 12
    assert "The first 12 of 36 frames." in played._repr_html_()
    assert len(decode(played.save(tmp_path / "all.mp4").read_bytes(), tmp_path)) == 36


@pytest.mark.parametrize("name", ["video.mp4", "video.gif", "video.html", "VIDEO.MP4", "new/folder/video.htm"])
def test_a_script_saves_a_file(video: VideoLandmarks, tmp_path: Path, name: str) -> None:
    written = video.play(end=6).save(str(tmp_path / name))
    assert written == tmp_path / name
    assert written.stat().st_size > 1_000


def test_a_saved_page_holds_the_video_and_nothing_that_its_names_could_run(dataset: Path, tmp_path: Path) -> None:
    video = phoenix_ray.open(dataset)["train", HOSTILE]
    page = video.play().save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<script type="text/plain" id="landmarks-0">' in page
    assert 'id="frames-0"' not in page
    assert HOSTILE not in page
    assert HOSTILE.replace("<", "\\u003c").encode("unicode_escape").decode().replace("\\\\", "\\") in page


def test_a_saved_page_has_frames_where_they_are_asked_for(video: VideoLandmarks, source: Path, tmp_path: Path) -> None:
    page = video.play(source=source).save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert 'id="frames-0"' in page


def test_a_video_without_a_clock_or_with_missing_frames_is_played(tmp_path: Path) -> None:
    video = make_video(6, fps=None)
    assert len(shown_by(video.play(), tmp_path)) == 6
    gaps = replace(video, frame_index=np.array([0, 1, 5, 6, 7, 20], np.int32))
    assert len(shown_by(gaps.play(), tmp_path)) == 6
    assert gaps.play().save(tmp_path / "gaps.html").exists()


def test_a_video_without_frames_says_so(tmp_path: Path) -> None:
    video = replace(
        make_video(1),
        frame_index=np.empty(0, np.int32),
        frame_names=(),
        timestamps=np.empty(0),
        sizes=np.empty((0, 2), np.int32),
        status=(),
        points={part: values[:0] for part, values in make_video(1).points.items()},
        scores={part: values[:0] for part, values in make_video(1).scores.items()},
        video_id="<b>",
    )
    assert "has no frame to show" in video.play()._repr_html_()
    assert "<b>" not in video.play()._repr_html_()
    with pytest.raises(ConfigError, match="has no row yet: there is nothing to save"):
        video.play().save(tmp_path / "a.mp4")
    assert video.play().save(tmp_path / "a.html").exists()


def test_what_cannot_be_played_is_refused(video: VideoLandmarks, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends with '\.avi': give a name that ends with \.mp4, \.gif or \.html"):
        video.play().save(tmp_path / "a.avi")
    with pytest.raises(ValueError, match="give source="):
        video.play(side_by_side=True)
    with pytest.raises(SourceError):
        video.play(source=tmp_path / "nowhere")
