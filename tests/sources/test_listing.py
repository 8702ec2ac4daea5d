from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.config import SourceSettings
from phoenix_ray.errors import SourceError
from phoenix_ray.sources.base import SourceProblem, Video
from phoenix_ray.sources.listing import Candidate, check_splits, list_videos
from tests.sources.made_up import no_thread_left, write_frames, write_video


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of two frames, which any number of candidates may share."""
    return str(write_frames(tmp_path_factory.mktemp("listing") / "frames", 2))


def candidates(location: str, *names: str) -> list[Candidate]:
    """Return candidates from names `split/ID`."""
    parts = (name.split("/", 1) for name in names)
    return [Candidate(split, video_id, location, named_by="the test") for split, video_id in parts]


def found(listing: list[Candidate], **settings: object) -> list[str]:
    listed = list(list_videos(listing, SourceSettings.model_validate(settings)))
    assert not [video for video in listed if isinstance(video, SourceProblem)]
    return [f"{video.split}/{video.video_id}" for video in listed]


@given(names=st.permutations(["dev/b", "dev/a/1", "test/a", "train/10", "train/2", "train/ü"]))
def test_the_order_is_that_of_split_and_id(location: str, names: list[str]) -> None:
    assert found(candidates(location, *names)) == ["dev/a/1", "dev/b", "test/a", "train/10", "train/2", "train/ü"]


def test_the_first_videos_of_each_split_are_those_of_the_sorted_listing(location: str) -> None:
    listing = candidates(location, "train/c", "dev/z", "train/a", "train/b", "dev/y")
    assert found(listing, max_videos_per_split=1) == ["dev/y", "train/a"]
    assert found(listing, max_videos_per_split=2) == ["dev/y", "dev/z", "train/a", "train/b"]
    assert found(listing, max_videos_per_split=9) == found(listing)


def test_a_larger_number_of_videos_adds_to_a_smaller_one(location: str) -> None:
    listing = candidates(location, *(f"train/{number}" for number in range(20)))
    assert found(listing, max_videos_per_split=5) == found(listing, max_videos_per_split=12)[:5]


def test_only_the_wanted_splits_are_listed(location: str) -> None:
    listing = candidates(location, "train/a", "dev/b", "test/c")
    assert found(listing, splits=("test", "train")) == ["test/c", "train/a"]


def test_what_is_not_selected_is_not_looked_at(location: str) -> None:
    listing = [*candidates(location, "train/a"), *candidates("/nowhere", "train/b", "dev/c")]
    assert found(listing, splits=("train",), max_videos_per_split=1) == ["train/a"]


def test_frames_beyond_the_limit_do_not_count(location: str) -> None:
    (video,) = list_videos(candidates(location, "train/a"), SourceSettings(limit_frames=1))
    assert isinstance(video, Video)
    assert video.frame_count == 1


@pytest.mark.parametrize("signature", ["sizes", "names"])
def test_the_signature_says_what_it_covers(location: str, signature: str) -> None:
    settings = SourceSettings.model_validate({"signature": signature})
    (video,) = list_videos(candidates(location, "train/a"), settings)
    assert isinstance(video, Video)
    assert video.signature.startswith(f"{signature}:")


def test_a_video_file_is_distinguished_from_a_frame_folder(tmp_path: Path, location: str) -> None:
    clip = write_video(tmp_path / "clip.mp4", 3)
    listing = [*candidates(location, "train/a"), *candidates(str(clip), "train/b")]
    kinds = [video.kind for video in list_videos(listing, SourceSettings()) if isinstance(video, Video)]
    assert kinds == ["frame_folder", "video_file"]


def test_a_bad_video_is_a_problem_in_its_place(tmp_path: Path, location: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no video")
    listing = [
        *candidates(location, "train/a", "train/e"),
        *candidates(str(tmp_path / "gone"), "train/b"),
        *candidates(str(tmp_path / "empty"), "train/c"),
        *candidates(str(tmp_path / "text"), "train/d"),
    ]
    listed = list(list_videos(listing, SourceSettings()))
    assert [video.video_id for video in listed] == ["a", "b", "c", "d", "e"]
    messages = [video.message for video in listed if isinstance(video, SourceProblem)]
    reasons = ["which does not exist", "holds no frames", "cannot be opened as a video"]
    assert len(messages) == 3
    assert all(reason in message for reason, message in zip(reasons, messages, strict=True))


def test_a_file_system_that_fails_is_a_problem_of_the_video(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: str) -> None:
        raise OSError(5, "Input/output error", path)

    monkeypatch.setattr(os, "scandir", scandir)
    (listed,) = list_videos(candidates(location, "train/a"), SourceSettings())
    assert isinstance(listed, SourceProblem)
    assert "cannot be read: [Errno 5] Input/output error" in listed.message


def test_a_candidate_without_an_id_is_a_problem(location: str) -> None:
    (listed,) = list_videos(candidates(location, "train/"), SourceSettings())
    assert listed == SourceProblem("train", "", "the test gives no video ID.")


def test_stopping_early_leaves_no_thread(location: str) -> None:
    with no_thread_left():
        listing = list_videos(candidates(location, *(f"train/{number}" for number in range(600))), SourceSettings())
        next(listing)
        del listing


def test_the_error_for_an_unknown_split_names_the_nearest_and_all() -> None:
    with pytest.raises(SourceError) as error:
        check_splits(("dve",), {"train", "dev"})
    assert str(error.value) == (
        "There is no video in split 'dve' (source.splits). Did you mean 'dev'? Splits with videos: dev, train."
    )
