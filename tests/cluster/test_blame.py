from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.cluster.blame import CONFIRMATIONS, MAX_SEARCH_DEATHS, Blame, Condemned, GivenUp, Trouble, TryAlone
from phoenix_ray.cluster.shards import halves
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.sources.base import Video

DEATH = Trouble("model", "the worker died", fatal=True)
VIDEO = Video("train", "v", "frame_folder", "/", 4_000, "s")


def spend(blame: Blame, shard: Shard) -> list[GivenUp]:
    """Let a shard and all its ranges fail until nothing is left to try."""
    queue, given_up = [shard], []
    while queue:
        match blame.charge(queue.pop(0), DEATH):
            case TryAlone(shards):
                queue += shards
            case GivenUp() as one:
                given_up.append(one)
            case Condemned():
                pass
    return given_up


@given(first=st.integers(0, 999), frames=st.integers(2, 600), batch_size=st.integers(1, 64))
def test_halves_are_cut_between_batches_while_there_are_several(first: int, frames: int, batch_size: int) -> None:
    left, right = halves(Shard(VIDEO, first, first + frames), batch_size)
    assert (left.first, left.last, right.last) == (first, right.first, first + frames)
    assert left.frames > 0
    assert right.frames > 0
    several = first // batch_size != (first + frames - 1) // batch_size
    assert (left.last % batch_size == 0) if several else abs(left.frames - right.frames) <= 1


def test_a_model_that_raises_on_every_frame_of_a_shard_is_not_searched() -> None:
    blame = Blame(max_attempts=2, batch_size=4)
    shard, raised = Shard(VIDEO, 0, 8), Trouble("model", "RuntimeError: broken")
    assert blame.charge(shard, raised) == TryAlone((shard,))
    assert blame.charge(shard, raised) == GivenUp(shard, raised, 2)


def test_memory_that_runs_out_is_searched_for_the_frame_that_takes_it() -> None:
    blame = Blame(max_attempts=1, batch_size=4)
    assert blame.charge(Shard(VIDEO, 0, 8), Trouble("memory", "MemoryError")) == TryAlone(
        (Shard(VIDEO, 0, 4), Shard(VIDEO, 4, 8))
    )


def test_a_frame_is_condemned_only_when_it_has_killed_again() -> None:
    blame = Blame(max_attempts=1, batch_size=4)
    frame = Shard(VIDEO, 7, 8)
    answers = [blame.charge(frame, DEATH) for _ in range(CONFIRMATIONS)]
    assert answers == [TryAlone((frame,)), Condemned(frame, DEATH)]


def test_the_search_in_one_shard_ends_and_gives_up_what_still_kills() -> None:
    blame = Blame(max_attempts=1, batch_size=4)
    shard = Shard(VIDEO, 0, 512)
    given_up = spend(blame, shard)
    assert 0 < len(given_up) <= MAX_SEARCH_DEATHS + 1


def test_no_other_shard_is_searched_when_nothing_at_all_survives() -> None:
    broken = Blame(max_attempts=1, batch_size=4)
    spend(broken, Shard(VIDEO, 0, 512))
    assert broken.charge(Shard(VIDEO, 512, 1024), DEATH) == GivenUp(Shard(VIDEO, 512, 1024), DEATH, 1)

    sound = Blame(max_attempts=1, batch_size=4)
    sound.acquit(Shard(VIDEO, 2048, 2052))
    spend(sound, Shard(VIDEO, 0, 512))
    assert isinstance(sound.charge(Shard(VIDEO, 512, 1024), DEATH), TryAlone)


def test_a_suspect_is_none_any_more_once_it_is_committed() -> None:
    blame = Blame(max_attempts=3, batch_size=4)
    shard = Shard(VIDEO, 0, 8)
    blame.charge(shard, DEATH)
    assert blame.is_suspect(shard)
    blame.acquit(shard)
    assert not blame.is_suspect(shard)


def test_a_range_has_its_share_of_the_time_and_a_frame_all_of_it_before_it_is_condemned() -> None:
    blame = Blame(max_attempts=1, batch_size=4)
    whole, frame = Shard(VIDEO, 0, 2), Shard(VIDEO, 0, 1)
    assert blame.patience(whole, 60.0) == 60.0
    blame.charge(whole, DEATH)
    assert blame.patience(frame, 60.0) == 30.0
    blame.charge(frame, DEATH)
    assert blame.patience(frame, 60.0) == 60.0
