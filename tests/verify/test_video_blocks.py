from __future__ import annotations

from phoenix_ray.dataset.video_landmarks import VideoLandmarks
from phoenix_ray.errors import OutputError
from phoenix_ray.verify.comparison import compare_collections
from phoenix_ray.verify.tolerance import BITS
from tests.verify.made_up import InMemory, make_video

A, B, C = (make_video(video_id=name) for name in "abc")


def reported(reference: InMemory, candidate: InMemory, agreed: dict[tuple[str, str], int] | None = None) -> list[str]:
    keys = sorted({*reference.keys(), *candidate.keys()})
    compared = compare_collections(reference, candidate, keys, BITS, agreed=agreed or {}, statuses=True)
    return [f"{video.video_id}: {one.message}" for video in compared for one in video.differences]


def test_missing_and_extra_videos_are_named_and_the_others_compared() -> None:
    assert reported(InMemory(A, B), InMemory(B, C)) == ["a: the video is missing", "c: the video is extra"]


def test_videos_known_to_be_the_same_are_not_loaded() -> None:
    reference, candidate = InMemory(A, B), InMemory(A, B)
    assert reported(reference, candidate, agreed={("train", "a"): 12}) == []
    assert reference.loaded == candidate.loaded == [("train", "b")]


def test_a_video_that_cannot_be_read_is_reported_and_the_others_compared() -> None:
    class Damaged(InMemory):
        def load(self, split: str, video_id: str) -> VideoLandmarks:
            if video_id == "a":
                raise OutputError("data/x.parquet is damaged")
            return super().load(split, video_id)

    assert reported(InMemory(A, B), Damaged(A, B)) == ["a: the candidate cannot be read: data/x.parquet is damaged"]
    assert reported(Damaged(A, B), InMemory(A, B)) == ["a: the reference cannot be read: data/x.parquet is damaged"]
