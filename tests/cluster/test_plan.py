from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.cluster.plan import make_plan
from phoenix_ray.cluster.shards import cut
from phoenix_ray.sources.base import LeftOut, SourceProblem, Video


def video(video_id: str, frames: int, split: str = "train") -> Video:
    return Video(split, video_id, "frame_folder", f"/data/{video_id}", frames, "signature")


def everything(one: Video) -> list[tuple[int, int]]:
    return [(0, one.frame_count)]


@given(
    first=st.integers(0, 5_000),
    length=st.integers(1, 5_000),
    shard_frames=st.integers(1, 600),
    batch=st.integers(1, 64),
)
def test_a_cut_covers_its_range_once_with_inner_cuts_at_batch_multiples(
    first: int, length: int, shard_frames: int, batch: int
) -> None:
    pieces = list(cut((first, first + length), shard_frames, batch))
    assert pieces[0][0] == first
    assert pieces[-1][1] == first + length
    assert all(left[1] == right[0] for left, right in pairwise(pieces))
    assert all(stop % batch == 0 for _, stop in pieces[:-1])
    assert all(0 < stop - start < shard_frames + batch for start, stop in pieces)


@given(length=st.integers(1, 2_000), hole=st.tuples(st.integers(0, 40), st.integers(0, 40)), batch=st.integers(1, 48))
def test_batches_of_a_resumed_video_are_batches_of_a_whole_one(length: int, hole: tuple[int, int], batch: int) -> None:
    committed_first, committed_last = sorted(min(edge * batch, length) for edge in hole)
    gaps = [(0, committed_first), (committed_last, length)]
    starts = {
        start
        for gap in gaps
        if gap[0] < gap[1]
        for piece in cut(gap, 128, batch)
        for start in range(piece[0], piece[1], batch)
    }
    assert starts <= set(range(0, length, batch))


def test_the_shortest_shard_comes_first_then_the_longest() -> None:
    plan = make_plan([video("a", 10), video("b", 30), video("c", 20)], everything, 512, 16)
    assert [shard.frames for shard in plan.shards] == [10, 30, 20]


def test_a_long_video_is_split_into_equal_ranges() -> None:
    plan = make_plan([video("long", 1_030)], everything, 512, 1)
    assert sorted(shard.frames for shard in plan.shards) == [342, 344, 344]


def test_committed_videos_are_counted_and_skipped() -> None:
    plan = make_plan(
        [video("done", 10), video("half", 10), video("new", 10, "dev")],
        lambda one: {"done": [], "half": [(5, 10)], "new": [(0, 10)]}[one.video_id],
        512,
        1,
    )
    assert [str(shard) for shard in plan.shards] == ["train/half frames 5-9", "dev/new frames 0-9"]
    assert plan.totals["train"].committed_videos == 1
    assert plan.totals["train"].committed_frames == 15
    assert plan.total.videos == 3
    assert plan.missing_frames == 15


def test_a_problem_is_kept_and_does_not_stop_the_plan() -> None:
    problem = SourceProblem("train", "gone", "no such folder")
    plan = make_plan([problem, video("a", 3)], everything, 512, 1)
    assert plan.problems == (problem,)
    assert plan.total.videos == 1


def test_notes_say_what_is_left_out_and_how_many_frame_rates_vary() -> None:
    plan = make_plan([replace(video("a", 3), fps_varies=True), video("b", 3)], everything, 512, 1)
    assert plan.notes()[0].startswith("The frame rate of 1 video varies")
    assert make_plan([video("b", 3)], everything, 512, 1).notes() == []
    left_out = (LeftOut("no video", ".txt", 2, ("a.txt", "b.txt")),)
    assert replace(plan, left_out=left_out).notes()[0] == "Left out: 2 .txt (a.txt, b.txt): no video."


@pytest.mark.parametrize("frames", [1, 511, 512])
def test_a_short_video_is_one_shard(frames: int) -> None:
    assert len(make_plan([video("a", frames)], everything, 512, 16).shards) == 1


def test_a_plan_in_a_line_counts_videos_frames_shards_and_what_cannot_be_opened() -> None:
    problem = SourceProblem("train", "broken", "cannot be opened")
    assert make_plan([video("v", 10), problem], lambda _: [(4, 10)], 5, 1).line() == (
        "1 video with 10 frames; 1 more cannot be used; 4 frames are committed already; 6 frames to compute in 2 shards"
    )


def test_notes_say_how_many_segments_end_with_their_video() -> None:
    plan = make_plan([replace(video("a", 3), is_segment=True, is_clipped=True)], everything, 512, 1)
    assert plan.notes() == ["The end of 1 segment lies after the last frame of the video, and is moved there."]
