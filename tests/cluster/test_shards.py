from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phoenix_ray.cluster.driver import MAX_LOSSES_IN_A_ROW
from phoenix_ray.cluster.shards import (
    CONFIRMATIONS,
    MAX_LOSSES_IN_SEARCH,
    MAX_SEARCH_DEATHS,
    Blame,
    GivenUp,
    ShardState,
    Trouble,
    halves,
)
from phoenix_ray.cluster.speculation import patience
from phoenix_ray.dataset.shards import Shard
from phoenix_ray.sources.base import Video

DEATH = Trouble("model", "the worker died", fatal=True)
LOSS = Trouble("model", "the GPU is lost", fatal=True, device_lost=True)
VIDEO = Video("train", "v", "frame_folder", "/", 4_000, "s")


def spend(blame: Blame, shard: Shard, trouble: Trouble = DEATH) -> list[GivenUp]:
    """Let a shard and all its ranges fail until nothing is left to try."""
    queue, given_up = [ShardState(shard)], []
    while queue:
        outcome = blame.charge(queue.pop(0), trouble)
        if isinstance(outcome, GivenUp):
            given_up.append(outcome)
        else:
            queue += [state for state in outcome if not state.condemned]
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
    state, raised = ShardState(Shard(VIDEO, 0, 8)), Trouble("model", "RuntimeError: broken")
    assert blame.charge(state, raised) == [state]
    assert blame.charge(state, raised) == GivenUp(state.shard, raised, 2)


def test_memory_that_runs_out_is_searched_for_the_frame_that_takes_it() -> None:
    blame = Blame(max_attempts=1, batch_size=4)
    parts = blame.charge(ShardState(Shard(VIDEO, 0, 8)), Trouble("memory", "MemoryError"))
    assert isinstance(parts, list)
    assert [part.shard for part in parts] == [Shard(VIDEO, 0, 4), Shard(VIDEO, 4, 8)]
    assert all(part.is_suspect for part in parts)


def test_a_frame_is_condemned_only_when_it_has_killed_again() -> None:
    blame = Blame(max_attempts=1, batch_size=4)
    state = ShardState(Shard(VIDEO, 7, 8))
    for death in range(1, CONFIRMATIONS + 1):
        assert state.condemned is None
        assert blame.charge(state, DEATH) == [state]
        assert state.charges == death
    assert state.condemned == DEATH


def test_the_search_in_one_shard_ends_and_gives_up_what_still_kills() -> None:
    blame = Blame(max_attempts=1, batch_size=4)
    given_up = spend(blame, Shard(VIDEO, 0, 512))
    assert 0 < len(given_up) <= MAX_SEARCH_DEATHS + 1


def test_no_other_shard_is_searched_when_nothing_at_all_survives() -> None:
    broken = Blame(max_attempts=1, batch_size=4)
    spend(broken, Shard(VIDEO, 0, 512))
    other = Shard(VIDEO, 512, 1024)
    assert broken.charge(ShardState(other), DEATH) == GivenUp(other, DEATH, 1)

    sound = Blame(max_attempts=1, batch_size=4)
    sound.record_survivor()
    spend(sound, Shard(VIDEO, 0, 512))
    assert isinstance(sound.charge(ShardState(other), DEATH), list)


@given(frames=st.integers(1, 600), survived=st.booleans())
def test_a_gpu_that_is_always_lost_condemns_no_frame(frames: int, survived: bool) -> None:
    blame = Blame(max_attempts=3, batch_size=4)
    if survived:
        blame.record_survivor()
    queue, given_up, losses = [ShardState(Shard(VIDEO, 0, frames))], 0, 0
    while queue:
        outcome = blame.charge(queue.pop(0), LOSS)
        losses += 1
        if isinstance(outcome, GivenUp):
            given_up += outcome.shard.frames
        else:
            queue += outcome
            assert not any(state.condemned for state in outcome)
    assert given_up == frames
    assert losses <= 3 + 2 * MAX_LOSSES_IN_SEARCH
    assert 2 * losses < MAX_LOSSES_IN_A_ROW, "two bad videos end the run before the third is tried"


def test_a_frame_with_which_a_gpu_is_lost_while_others_survive_is_condemned() -> None:
    blame = Blame(max_attempts=1, batch_size=1)
    cut = blame.charge(ShardState(Shard(VIDEO, 0, 2)), LOSS)
    assert isinstance(cut, list)
    left, right = cut
    blame.record_survivor()
    assert blame.charge(right, LOSS) == [right]
    assert blame.charge(right, LOSS) == [right]
    assert (left.condemned, right.condemned) == (None, LOSS)


def test_a_charged_shard_is_a_suspect() -> None:
    state = ShardState(Shard(VIDEO, 0, 8))
    assert not state.is_suspect
    Blame(max_attempts=3, batch_size=4).charge(state, DEATH)
    assert state.is_suspect


def test_a_range_has_its_share_of_the_time_and_a_frame_all_of_it_before_it_is_condemned() -> None:
    blame = Blame(max_attempts=1, batch_size=4)
    whole = ShardState(Shard(VIDEO, 0, 2))
    assert patience(whole, 60.0) == 60.0
    parts = blame.charge(whole, DEATH)
    assert isinstance(parts, list)
    assert [patience(part, 60.0) for part in parts] == [30.0, 30.0]
    blame.charge(parts[0], DEATH)
    assert patience(parts[0], 60.0) == 60.0
