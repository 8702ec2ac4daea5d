from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks import gpu_frames
from benchmarks.gpu_cases import CASES, cases_named, landmarks_of, store_landmarks, stored_landmarks
from benchmarks.gpu_frames import GpuFrames, fair_share, load, read_frames
from phoenix_ray.errors import ModelError, SourceError
from phoenix_ray.models.base import LandmarkBatch


class Counting:
    """A tracking model whose landmark says how many frames of its video came before, and which frame it is."""

    layout: Any = None
    state_size = 1

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def estimate(self, images: Sequence[NDArray[np.uint8]]) -> LandmarkBatch:
        raise AssertionError("it tracks")

    def track(
        self, images: Sequence[NDArray[np.uint8]], states: NDArray[np.float32]
    ) -> tuple[LandmarkBatch, NDArray[np.float32]]:
        assert 0 < len(images) == len(states) <= self.batch_size
        seen = np.nan_to_num(states[:, 0])
        shown = np.array([image[0, 0, 0] for image in images], np.float32)
        points = np.stack([seen, shown], axis=1)[:, None]
        return LandmarkBatch({"pose": points}, {"pose": seen}), (seen + 1)[:, None].astype(np.float32)

    def close(self) -> None: ...


def make_frames(lengths: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> GpuFrames:
    ends = np.cumsum(lengths)
    videos = tuple(range(end - length, end) for length, end in zip(lengths, map(int, ends), strict=True))
    monkeypatch.setattr(gpu_frames, "decode", lambda picture: np.full((2, 3, 3), picture[0], np.uint8))
    return GpuFrames(tuple(bytes([number]) for number in range(sum(lengths))), videos)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.integers(1, 7))
def test_each_video_is_followed_from_its_first_frame_whatever_is_beside_it(lengths: list[int], together: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        frames = make_frames(lengths, patch)
        found = landmarks_of(Counting(together), frames)
    places = [place for length in lengths for place in range(length)]
    np.testing.assert_array_equal(found.points["pose"][:, 0, 0], places)
    np.testing.assert_array_equal(found.points["pose"][:, 0, 1], np.arange(sum(lengths)))
    np.testing.assert_array_equal(found.scores["pose"], places)


def test_stored_landmarks_come_back_and_fit_their_frames_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = make_frames((2, 1), monkeypatch)
    points = np.random.default_rng(0).random((3, 4, 2)).astype(np.float32)
    points[1] = np.nan
    store_landmarks(tmp_path / "a.npz", frames, LandmarkBatch({"pose": points}, {"pose": points[:, 0, 0]}))
    found = stored_landmarks(tmp_path / "a.npz", frames)
    np.testing.assert_array_equal(found.points["pose"].view(np.uint32), points.view(np.uint32))
    np.testing.assert_array_equal(found.scores["pose"], points[:, 0, 0])
    # The same pictures, cut into videos in another way, are other frames for tracking.
    with pytest.raises(ModelError, match="landmarks of other frames"):
        stored_landmarks(tmp_path / "a.npz", make_frames((1, 2), monkeypatch))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 40))
def test_a_limit_takes_first_frames_of_all_videos(lengths: list[int], limit: int) -> None:
    paths = [Path(f"{video}", f"{number}.png") for video, length in enumerate(lengths) for number in range(length)]
    taken = fair_share(paths, limit)
    assert len(taken) == min(limit, len(paths))
    counts = [sum(path.parent == Path(f"{video}") for path in taken) for video in range(len(lengths))]
    assert taken == [path for path in paths if int(path.stem) < counts[int(path.parent.name)]]
    short = [count for count, length in zip(counts, lengths, strict=True) if count < length]
    assert not short or max(counts) - min(short) <= 1


def test_pictures_of_a_folder_are_a_video(tmp_path: Path) -> None:
    for name in ("b/1.png", "a/deep/2.JPG", "a/deep/1.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    frames = read_frames(tmp_path, 9)
    assert frames.pictures == (b"a/deep/1.png", b"a/deep/2.JPG", b"b/1.png")
    assert frames.videos == (range(2), range(2, 3))
    assert load([tmp_path / "b/1.png"]).digest != frames.digest
    with pytest.raises(SourceError, match="no picture"):
        read_frames(tmp_path / "a" / "none", 9)


def test_cases_need_the_weights_of_their_networks() -> None:
    files = {case.name: {weight.name for weight in case.weights()} for case in CASES}
    assert files["static-468"] == files["tracking-468"]
    assert files["static-478"] ^ files["static-468"] == {"face_landmark", "face_landmark_with_attention"}
    assert files["static-468-heavy"] - files["static-468"] == {"pose_landmark_heavy"}
    assert [case.name for case in cases_named(["static-478", "static-468"])] == ["static-468", "static-478"]
    assert cases_named([]) == CASES


def test_a_picture_that_cannot_be_decoded_is_named_by_its_place() -> None:
    with pytest.raises(SourceError, match="Picture 1, in the order of their paths, cannot be decoded"):
        _ = GpuFrames((b"not a picture",), (range(1),)).images
