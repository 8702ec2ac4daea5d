from __future__ import annotations

import pytest

from phoenix_ray.cluster import summary
from phoenix_ray.cluster.array import ArrayState
from phoenix_ray.cluster.plan import Plan, make_plan
from phoenix_ray.cluster.summary import Remainder, RunOutcome, count_remainder
from phoenix_ray.dataset.shards import CommittedFrames, PartitionRange, Version
from phoenix_ray.dataset.share import Share
from phoenix_ray.dataset.snapshot import UnreadableVideo
from phoenix_ray.sources.base import SourceProblem, Video

WORDS = ("run", "my videos", "out", "--force")
VIDEOS = [Video("train", f"v{number}", "frame_folder", "/data", 10, "signature") for number in range(4)]


def held(video: Video, first: int, last: int) -> tuple[str, str, PartitionRange]:
    version = Version(video.signature, video.frame_count)
    return video.split, video.video_id, PartitionRange(version, first, last, 0.0)


def plan_of(committed: CommittedFrames) -> Plan:
    problem = SourceProblem("train", "broken", "cannot be opened")
    return make_plan([*VIDEOS, problem], committed.missing_ranges, shard_frames=5, batch_size=1)


def test_what_is_left_are_the_frames_and_videos_that_no_run_committed() -> None:
    plan = plan_of(CommittedFrames((), [held(VIDEOS[0], 0, 10)]))
    assert plan.missing_frames == 30
    now = CommittedFrames((), [held(VIDEOS[0], 0, 10), held(VIDEOS[1], 0, 10), held(VIDEOS[2], 5, 10)])
    left = count_remainder(plan, now, frames_done=15)
    assert left == Remainder(15, 40, 2, 4, 1)
    assert str(left) == "15 of 40 frames, in 2 of 4 videos and 1 video that cannot be used"


def test_videos_of_a_large_plan_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "COUNTED_SHARDS", 3)
    nothing = CommittedFrames((), ())
    assert count_remainder(plan_of(nothing), nothing, frames_done=10).videos is None
    assert str(Remainder(30, 40, None, 4, 0)) == "30 of 40 frames"


def test_nothing_is_left_of_a_plan_that_was_done() -> None:
    assert str(Remainder(0, 40, 0, 4, 0)) == "nothing"


@pytest.mark.parametrize(
    ("state", "first", "last"),
    [
        ("finished", "Finished: every frame", "phoenix-ray view '/data/my output'"),
        ("incomplete", "Finished, but 2 failures", "phoenix-ray run 'my videos' out   # tries them again"),
        ("stopped", "Stopped before the end", "phoenix-ray run 'my videos' out   # goes on from here"),
        ("failed", "Failed", "run 'my videos' out   # goes on, once the cause of the error is fixed"),
    ],
)
def test_every_ending_says_the_state_the_output_and_what_to_type_next(state: str, first: str, last: str) -> None:
    lines = RunOutcome(state, "/data/my output", Remainder(15, 40, 2, 4, 0), 2, (), WORDS).lines()
    assert lines[0].startswith(first)
    assert "Output: /data/my output" in lines
    assert lines[-1].endswith(last)
    assert "--force" not in "".join(lines), "a driver that is dead need not be outvoted again"
    assert ("Left:   15 of 40 frames, in 2 of 4 videos" in lines) == (state != "finished")


def test_videos_that_could_be_read_in_part_are_named() -> None:
    lines = RunOutcome("finished", "/out", unreadable=[UnreadableVideo("all", "cut", 58, 49)]).lines()
    (note,) = (line for line in lines if line.startswith("Note:"))
    assert note == "Note:   1 video partly unreadable: all/cut (49 of 58 frames); `phoenix-ray failures /out` says more"


def test_a_run_that_nobody_typed_is_gone_on_with_by_the_same_command() -> None:
    assert RunOutcome("stopped", "/out").lines()[-1] == "Next:   the same command   # goes on from here"


@pytest.mark.parametrize("state", ["finished", "incomplete", "stopped", "failed"])
def test_a_run_that_a_program_called_is_gone_on_with_by_the_same_call(state: str) -> None:
    said = "\n".join(RunOutcome(state, "/my out", Remainder(15, 40, 2, 4, 0), 2, in_python=True).lines())
    assert "phoenix-ray" not in said
    assert ("phoenix_ray.open('/my out')" in said) == (state == "finished")
    assert ("the same call" in said) == (state != "finished")


@pytest.mark.parametrize(
    ("array", "said", "following"),
    [
        (ArrayState(Share(1, 4), 0, 0, 0), "whole: every frame of all 4 shares has its row", "phoenix-ray view /out"),
        (
            ArrayState(Share(1, 4), 7, 2, 3),
            "7 videos of all shares lack frames, 2 of them failed; 3 other shares at work",
            "phoenix-ray status /out",
        ),
        (
            ArrayState(Share(1, 4), 1, 0, 0),
            "incomplete: 1 video of all shares lacks frames; no other share is at work",
            "phoenix-ray status /out",
        ),
        (
            ArrayState(Share(1, 4), 2, 2, 0),
            "incomplete: 2 videos of all shares lack frames and failed; no other share is at work",
            "phoenix-ray failures /out",
        ),
    ],
)
def test_an_element_says_how_far_all_shares_are(array: ArrayState, said: str, following: str) -> None:
    lines = RunOutcome("finished", "/out", array=array).lines()
    assert lines[0] == "Finished share 1/4: every frame of its videos has its row."
    assert lines[1] == f"Dataset: {said}"
    assert following in lines[-1]
